// One part of a page as the server shows it now: what scripts show is escaped there.
// Null where the answer is another page (a log-in, a problem). Rejects where the server cannot be
// reached or is busy: the same request may succeed later.
export async function latest(address, id) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (answer.status >= 500 || answer.status === 429) throw new Error(`answered ${answer.status}`);
  return answer.ok ? take(answer, id) : null;
}

export async function take(answer, id) {
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return page.getElementById(id);
}

export function replace(shown, next) {
  shown.replaceWith(document.adoptNode(next));
}
