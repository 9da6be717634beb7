// Follows the live feed for as long as the page is there. After a lost connection an EventSource
// comes back by itself; after an answer that is no stream it gives up for good, and does not say
// what the answer was. So that is asked: refused, it is over; else (a 503 while the server starts)
// a new one is made.
import { isRefused, sayEnded } from "./ended.js";

export const AGAIN = 2000;

export function follow(after, { open = () => {}, lost = () => {}, ended = () => {}, message }) {
  let last = after;
  let feed;
  let timer;

  const address = () => `/api/events/stream?after=${last}`;

  function start() {
    feed = new EventSource(address());
    feed.addEventListener("open", open);
    feed.addEventListener("message", (event) => {
      last = event.lastEventId || last;
      message(JSON.parse(event.data));
    });
    feed.addEventListener("error", () => {
      lost();
      if (feed.readyState === EventSource.CLOSED) timer = setTimeout(ask, AGAIN);
    });
  }

  async function ask() {
    const stop = new AbortController();
    const answer = await fetch(address(), { signal: stop.signal }).catch(() => null);
    stop.abort(); // a stream that is there after all is the EventSource's to read
    if (!answer || !isRefused(answer)) return start();
    sayEnded();
    ended();
  }

  start();
  addEventListener("pagehide", () => {
    clearTimeout(timer);
    feed.close();
  });
  // Shown again by "back", as it was left.
  addEventListener("pageshow", (event) => event.persisted && start());
}
