// Follows the live feed for as long as the page is there. After a lost connection an EventSource
// comes back by itself; after an answer that is no stream (a 503 while the server starts) it gives
// up for good, so a new one is made.
export const AGAIN = 2000;

export function follow(after, { open = () => {}, lost = () => {}, message }) {
  let last = after;
  let feed;
  let timer;

  function start() {
    feed = new EventSource(`/api/events/stream?after=${last}`);
    feed.addEventListener("open", open);
    feed.addEventListener("message", (event) => {
      last = event.lastEventId || last;
      message(JSON.parse(event.data));
    });
    feed.addEventListener("error", () => {
      lost();
      if (feed.readyState === EventSource.CLOSED) timer = setTimeout(start, AGAIN);
    });
  }

  start();
  addEventListener("pagehide", () => {
    clearTimeout(timer);
    feed.close();
  });
  // Shown again by "back", as it was left.
  addEventListener("pageshow", (event) => event.persisted && start());
}
