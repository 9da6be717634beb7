// The log-in has ended while the page was open: says so, with a way back to just this page.
const REFUSED = [401, 403];

export const isRefused = (answer) => REFUSED.includes(answer.status);

export function sayEnded() {
  const notice = document.getElementById("ended");
  notice.querySelector("a").href = location.pathname + location.search;
  notice.hidden = false;
}
