// A booking's page: steps through time without loading the frame anew, and follows the live feed.
// Everything works without it; what it shows comes from the server's own page.
document.documentElement.classList.add("scripted");

const announcement = document.getElementById("announcement");
const shown = () => document.getElementById("booking");
let wanted = 0;

async function show(address, { remember = true } = {}) {
  const mine = ++wanted;
  const focused = document.activeElement;
  const held = focused?.id || focused?.rel;
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (!answer.ok) return location.assign(address);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = page.getElementById("booking");
  if (mine !== wanted) return; // somebody was quicker
  if (!next) return location.assign(address);
  shown().replaceWith(document.adoptNode(next));
  if (remember) history.pushState(null, "", address);
  const again = held && (document.getElementById(held) ?? document.querySelector(`[rel="${held}"]`));
  (again ?? document.getElementById("version"))?.focus({ preventScroll: true });
}

function tell(words) {
  announcement.textContent = words;
}

document.addEventListener("input", (event) => {
  if (event.target.id === "version") {
    document.querySelector("label[for=version]").textContent =
      `Version ${event.target.value} of ${event.target.max}`;
  }
});
document.addEventListener("change", (event) => {
  if (event.target.id !== "version") return;
  const query = new URLSearchParams(new FormData(event.target.form));
  const form = new URL(event.target.form.action);
  show(`${form.pathname}?${query}`).then(() => tell(`Version ${event.target.value}`));
});
document.addEventListener("click", (event) => {
  const link = event.target.closest(".steps a, .then a");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  show(link.getAttribute("href"));
});
addEventListener("popstate", () => show(location.href, { remember: false }));

const { id, head } = shown().dataset;
const feed = new EventSource(`/api/events/stream?after=${head}`);
feed.addEventListener("message", (message) => {
  const event = JSON.parse(message.data);
  if (event.bookingId !== id) return;
  if (!event.toStatus) {
    show(location.href, { remember: false });
  } else if (shown().dataset.past === "yes") {
    tell(`This booking has changed to ${event.toStatus} meanwhile.`);
  } else {
    show(location.href, { remember: false }).then(() => tell(`Status is now ${event.toStatus}.`));
  }
});
addEventListener("pagehide", () => feed.close());
