"""Changes while some follow the live feed and do not read what they are sent.

What they could be sent before they were full has been sent by then.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from benchmarks.context import Context, settle
from benchmarks.filling import open_bookings
from benchmarks.load import Stretch
from benchmarks.requests import changes, request
from benchmarks.results import Goal, Row, compare

SUBJECT = "slow readers"
CLIENTS = 32
READERS = 10


def run(context: Context) -> list[Row]:
    size, load = context.size, context.load
    ids = [f"readers-{number:06}" for number in range(size.bookings)]
    database = context.databases.ledger()
    open_bookings(database, context.workflow, ids)
    requests = load.define(changes(ids, CLIENTS))
    # Without any a second time, to see what the figures are worth.
    seen: dict[str, list[Stretch]] = {"none": [], "ten": [], "none again": []}
    used: dict[str, list[float]] = {name: [] for name in seen}

    def measure(name: str) -> None:
        before = server.processor_seconds()
        stretch = load.closed(server.url, requests, CLIENTS, size.seconds)
        seconds = server.processor_seconds() - before
        seen[name].append(stretch)
        used[name].append(seconds / stretch.answered * 1_000_000)
        settle(database)

    with context.ours(database) as server:
        settle(database)
        for number in context.rounds(SUBJECT, context.size.few_rounds):
            for name in seen if number % 2 == 0 else reversed(seen):
                with ExitStack() as stack:
                    for _ in range(READERS if name == "ten" else 0):
                        stack.enter_context(_following(server.url))
                    server.wait_until_idle()
                    measure(name)
    context.keep(SUBJECT, {name: [vars(one) for one in found] for name, found in seen.items()})
    return _rows(seen, used)


def _rows(seen: Mapping[str, list[Stretch]], used: Mapping[str, list[float]]) -> list[Row]:
    def rates(name: str) -> list[float]:
        return [one.rate for one in seen[name]]

    def p99(name: str) -> list[float]:
        return [one.p99 for one in seen[name]]

    beside, nobody = f"change, 32 clients, beside {READERS} of them", "nobody follows"
    again = "nobody follows, measured again"
    return [
        compare(SUBJECT, beside, "/s", rates("ten"), nobody, rates("none"), Goal("≥", 0.9)),
        compare(SUBJECT, "p99 of a change", "ms", p99("ten"), nobody, p99("none")),
        compare(SUBJECT, "a change: processor time of the service", "µs", used["ten"], nobody,
                used["none"]),
        compare(SUBJECT, again, "/s", rates("none again"), nobody, rates("none")),
        compare(SUBJECT, f"p99 of a change, {again}", "ms", p99("none again"), nobody,
                p99("none")),
    ]  # fmt: skip


@contextmanager
def _following(url: str) -> Iterator[None]:
    """Asks for all that there is, and reads no more than the first bytes of the answer."""
    address = urlsplit(url)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.settimeout(30)
        reader.connect((address.hostname, address.port))
        reader.sendall(request("GET", "/api/events/stream?after=0"))
        if reader.recv(15) != b"HTTP/1.1 200 OK":
            raise RuntimeError("the live feed does not answer")
        yield
