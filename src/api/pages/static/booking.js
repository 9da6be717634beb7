// A booking's page: steps through time without loading the frame anew, and follows the live feed.
// Everything works without it; what it shows comes from the server's own page.
import { AGAIN, follow } from "./feed.js";
import { latest, replace } from "./part.js";

document.documentElement.classList.add("scripted");

const announcement = document.getElementById("announcement");
const shown = () => document.getElementById("booking");
let wanted = 0;

async function show(address, { remember = true } = {}) {
  const mine = ++wanted;
  const focused = document.activeElement;
  const held = focused?.id || focused?.rel;
  const next = await latest(address, "booking");
  if (mine !== wanted) return; // somebody was quicker
  if (!next) return location.assign(address);
  replace(shown(), next);
  if (remember) history.pushState(null, "", address);
  const again = held && (document.getElementById(held) ?? document.querySelector(`[rel="${held}"]`));
  (again ?? document.getElementById("version"))?.focus({ preventScroll: true });
}

// What somebody asked for: where it cannot be had, the browser says why.
function go(address, options) {
  return show(address, options).catch(() => location.assign(address));
}

// What the feed told of, which it does once: until it is shown.
async function catchUp(words) {
  try {
    await show(location.href, { remember: false });
    if (words) tell(words);
  } catch {
    setTimeout(catchUp, AGAIN, words);
  }
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
function travel(slider) {
  const query = new URLSearchParams(new FormData(slider.form));
  const form = new URL(slider.form.action);
  // The newest is not "as it was": it goes on with what comes.
  if (slider.value === slider.max) query.delete("version");
  return go(`${form.pathname}?${query}`.replace(/\?$/, "")).then(() => tell(`Version ${slider.value}`));
}

document.addEventListener("change", (event) => {
  if (event.target.id === "version") travel(event.target);
});
document.addEventListener("click", (event) => {
  const link = event.target.closest(".steps a, .then a");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});
addEventListener("popstate", () => go(location.href, { remember: false }));

// Somebody may have moved the slider before this ran.
const slider = document.getElementById("version");
if (slider && slider.value !== slider.defaultValue) travel(slider);

const { id, head } = shown().dataset;
follow(head, {
  message: (event) => {
    if (event.bookingId !== id) return;
    if (!event.toStatus) {
      catchUp();
    } else if (shown().dataset.past === "yes") {
      tell(`This booking has changed to ${event.toStatus} meanwhile.`);
    } else {
      // The newest version goes on with what comes, whatever address it has been opened by.
      const here = new URL(location.href);
      here.searchParams.delete("version");
      history.replaceState(null, "", here);
      catchUp(`Status is now ${event.toStatus}.`);
    }
  },
});
