import { isRefused, sayEnded } from "./ended.js";
import { replace, take } from "./part.js";

// Asks for the page anew every few seconds while somebody looks at it, until the log-in ends.
const EVERY = 5000;

async function refresh() {
  if (document.hidden || document.getElementById("health").contains(document.activeElement)) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (answer && isRefused(answer)) {
    clearInterval(timer);
    return sayEnded();
  }
  const next = answer?.ok ? await take(answer, "health") : null; // else asked again soon
  if (next) replace(document.getElementById("health"), next);
}

const timer = setInterval(refresh, EVERY);
