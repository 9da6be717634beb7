"""Changes while some follow the live feed and do not read what they are sent.

What they could be sent before they were full has been sent by then.
"""

import socket
from collections.abc import Iterator
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
    seen: dict[str, list[Stretch]] = {"none": [], "ten": []}

    def measure(name: str) -> None:
        seen[name].append(load.closed(server.url, requests, CLIENTS, size.seconds))
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
    return [
        compare(SUBJECT, f"change, 32 clients, beside {READERS} of them", "/s",
                [one.rate for one in seen["ten"]], "nobody follows",
                [one.rate for one in seen["none"]], Goal("≥", 0.9)),
        compare(SUBJECT, "p99 of a change", "ms", [one.p99 for one in seen["ten"]],
                "nobody follows", [one.p99 for one in seen["none"]]),
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
