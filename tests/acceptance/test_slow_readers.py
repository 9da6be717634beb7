"""Who follows the live feed and does not read holds nobody up, and misses nothing."""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import psutil
import pytest
from ledger_processes import ADMIN_KEY, Processes, Server, wait_for

from ledger.database import Database

pytestmark = pytest.mark.acceptance

READERS = 10
CALLS, PER_CALL = 16, 500
EVENTS = CALLS * PER_CALL
NOTE = "x" * 2_000
"""A reader's share is 16 MB then: several times what the kernel takes for him."""
ID = re.compile(rb"^id: (\d+)\r?$", re.MULTILINE)


@contextmanager
def following(server: Server) -> Iterator[socket.socket]:
    """A reader that has been answered, of whose answer nothing but the head was read."""
    address = urlsplit(server.url)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.settimeout(30)
        reader.connect((address.hostname, address.port))
        reader.sendall(
            b"GET /api/events/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer " + ADMIN_KEY.encode() + b"\r\n\r\n"
        )
        assert reader.recv(15) == b"HTTP/1.1 200 OK"
        yield reader


def record(server: Server, status: str, call: int) -> None:
    body = [
        {"bookingId": f"b{call}-{number}", "status": status, "metadata": {"note": NOTE}}
        for number in range(PER_CALL)
    ]
    with server.client() as client:
        answer = client.post("/api/status-changes", json={"changes": body})
    assert answer.status_code == 200, answer.text
    assert {one["outcome"] for one in answer.json()["results"]} == {"opened"}


def positions(reader: socket.socket) -> Iterator[int]:
    """Of the events that come, now that somebody reads."""
    rest = b""
    while part := reader.recv(1 << 16):
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if found := ID.match(line):
                yield int(found[1])


def test_readers_that_do_not_read(started: Processes, module_database: Database) -> None:
    server = started.serve(module_database)
    server.wait_until("ready")
    process = psutil.Process(server.pid)
    with ExitStack() as stack:
        readers = [stack.enter_context(following(server)) for _ in range(READERS)]
        record(server, "pending", 0)
        before = process.memory_info().rss
        for call in range(1, CALLS):
            record(server, "pending", call)

        with server.client() as client:
            behind = f"/api/bookings/b{CALLS - 1}-0/status-history"
            wait_for(lambda: client.get(behind).status_code == 200, "the last booking")
            quick = client.get("/api/events", params={"after": EVENTS - 1}).json()
        assert [one["position"] for one in quick["events"]] == [EVENTS]
        # All that they have not read would be 160 MB.
        assert process.memory_info().rss - before < 80_000_000

        for reader in (readers[0], readers[-1]):
            seen = positions(reader)
            assert [next(seen) for _ in range(EVENTS)] == list(range(1, EVENTS + 1))
        with server.client() as client:
            assert client.get("/healthz").status_code == 200
