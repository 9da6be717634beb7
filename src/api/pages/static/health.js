// Asks for the page anew every few seconds while somebody looks at it.
const EVERY = 5000;

async function refresh() {
  if (document.hidden || document.getElementById("health").contains(document.activeElement)) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer?.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = page.getElementById("health");
  if (next) document.getElementById("health").replaceWith(document.adoptNode(next));
}

setInterval(refresh, EVERY);
