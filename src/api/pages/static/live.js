// The newest changes: asks for the page anew when the live feed tells of some, a few times a second
// at most. What it shows comes from the server's own page, so it is escaped there.
const EVERY = 400;
const connection = document.getElementById("connection");
const pause = document.getElementById("pause");
const changes = () => document.getElementById("changes");
let waiting = false;
let paused = false;
let missed = 0;

function say(state, words) {
  connection.className = `connection ${state}`;
  connection.textContent = words;
}

async function refresh() {
  waiting = false;
  if (paused) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return location.reload();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = page.getElementById("changes");
  if (!next) return location.reload();
  const before = Number(changes().dataset.head);
  for (const one of next.querySelectorAll("li")) {
    if (Number(one.dataset.position) > before) one.classList.add("new");
  }
  changes().replaceWith(document.adoptNode(next));
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Go on" : "Pause";
  if (!paused) {
    missed = 0;
    say("on", "Live");
    refresh();
  }
});

const feed = new EventSource(`/api/events/stream?after=${changes().dataset.head}`);
feed.addEventListener("open", () => say("on", "Live"));
feed.addEventListener("error", () => say("off", "Connection lost, trying again"));
feed.addEventListener("message", () => {
  if (paused) {
    missed += 1;
    say("on", `Paused; ${missed} more since`);
  } else if (!waiting) {
    waiting = true;
    setTimeout(refresh, EVERY);
  }
});
addEventListener("pagehide", () => feed.close());
