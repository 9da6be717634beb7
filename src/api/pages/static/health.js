import { latest, replace } from "./part.js";

// Asks for the page anew every few seconds while somebody looks at it.
const EVERY = 5000;

async function refresh() {
  if (document.hidden || document.getElementById("health").contains(document.activeElement)) return;
  const next = await latest(location.href, "health").catch(() => null); // asked again soon
  if (next) replace(document.getElementById("health"), next);
}

setInterval(refresh, EVERY);
