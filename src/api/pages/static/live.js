// The newest changes: asks for the page anew when the live feed tells of some, a few times a second
// at most, and again later where that fails: the feed tells of each change once.
import { AGAIN, follow } from "./feed.js";
import { latest, replace } from "./part.js";

const EVERY = 400;
const LOST = "Connection lost, trying again";
const connection = document.getElementById("connection");
const pause = document.getElementById("pause");
const changes = () => document.getElementById("changes");
const head = (part) => Number(part.dataset.head);
let waiting = false;
let paused = false;
let missed = 0;

function say(state, words) {
  connection.className = `connection ${state}`;
  connection.textContent = words;
}

function soon(delay = EVERY) {
  if (waiting) return;
  waiting = true;
  setTimeout(refresh, delay);
}

async function refresh() {
  waiting = false;
  if (paused) return;
  let next;
  try {
    next = await latest(location.href, "changes");
  } catch {
    say("off", LOST);
    return soon(AGAIN);
  }
  if (!next) return location.reload();
  if (paused || head(next) < head(changes())) return; // a later answer was quicker
  for (const one of next.querySelectorAll("li")) {
    if (Number(one.dataset.position) > head(changes())) one.classList.add("new");
  }
  replace(changes(), next);
  say("on", "Live");
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Go on" : "Pause";
  missed = 0;
  if (paused) say("on", "Paused");
  else refresh();
});

follow(head(changes()), {
  open: () => say("on", paused ? "Paused" : "Live"),
  lost: () => say("off", LOST),
  ended: () => say("off", "Logged out"),
  message: () => {
    if (!paused) return soon();
    missed += 1;
    say("on", `Paused; ${missed} more since`);
  },
});
