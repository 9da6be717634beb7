"""More than can be served: some are told to come back, at once, and what was promised is kept."""

import asyncio
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from ledger_processes import ADMIN_KEY, Processes, Server, read_events, wait_for
from scenes import append_lock_held

from api.admission import REQUESTS_MAX
from ledger.database import Database
from ledger.writer import BATCH_COMMANDS_MAX, QUEUE_COMMANDS_MAX

pytestmark = pytest.mark.acceptance

CALLERS = REQUESTS_MAX + 200
PER_CALL = 1_000
CALLS = (BATCH_COMMANDS_MAX + QUEUE_COMMANDS_MAX) // PER_CALL + 5


class Answered(NamedTuple):
    booking_id: str
    status: int
    headers: dict[str, str]
    body: str


async def flood(server: Server) -> list[Answered]:
    """Each caller has a connection already; then all of them ask at once."""
    address = urlsplit(server.url)
    connected = [
        await asyncio.open_connection(address.hostname, address.port) for _ in range(CALLERS)
    ]
    try:
        for number, (_, writer) in enumerate(connected):
            writer.write(opening(f"b{number}"))
        async with asyncio.timeout(60):
            return [
                await answer(f"b{number}", reader) for number, (reader, _) in enumerate(connected)
            ]
    finally:
        for _, writer in connected:
            writer.close()


def opening(booking_id: str) -> bytes:
    body = json.dumps({"id": booking_id}).encode()
    return (
        b"POST /api/bookings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
        % (ADMIN_KEY.encode(), len(body), body)
    )


async def answer(booking_id: str, reader: asyncio.StreamReader) -> Answered:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Answered(booking_id, int(first.split()[1]), headers, body.decode())


def is_busy(status: int, headers: httpx.Headers | dict[str, str], body: str) -> bool:
    said = json.loads(body)
    return (status, said["type"], headers["retry-after"]) == (503, "/problems/busy", "1")


def test_too_many_at_once(started: Processes, database: Database) -> None:
    server = started.serve(database)
    server.wait_until("ready")
    answers = asyncio.run(flood(server))
    statuses = Counter(one.status for one in answers)

    assert set(statuses) == {201, 503}, statuses
    assert statuses[201] >= REQUESTS_MAX
    refused = [one for one in answers if one.status == 503]
    assert all(is_busy(one.status, one.headers, one.body) for one in refused)
    with server.client() as client:
        recorded = {one["bookingId"] for one in read_events(client)}
        assert recorded == {one.booking_id for one in answers if one.status == 201}
        again = client.post("/api/bookings", json={"id": refused[0].booking_id})
        assert again.status_code == 201


def test_more_commands_than_may_wait(
    started: Processes, database: Database, connection: psycopg.Connection
) -> None:
    """While the database holds everybody up; the calls are large, and pass the framework by."""
    server = started.serve(database)
    server.wait_until("ready")

    def record(client: httpx.Client, call: int) -> httpx.Response:
        changes = [
            {"bookingId": f"call-{call}-{number}", "status": "pending"}
            for number in range(PER_CALL)
        ]
        return client.post("/api/status-changes", json={"changes": changes}, timeout=60)

    with server.client() as client, ThreadPoolExecutor(CALLS) as pool:
        with append_lock_held(database, connection):
            calling = [pool.submit(record, client, call) for call in range(CALLS)]
            wait_for(lambda: sum(one.done() for one in calling) >= 5, "those that are refused")
            early = [one.result() for one in calling if one.done()]
            assert all(is_busy(one.status_code, one.headers, one.text) for one in early)
        answers = [one.result() for one in calling]

        recorded = {one["bookingId"] for one in read_events(client)}
    statuses = Counter(one.status_code for one in answers)
    assert set(statuses) == {200, 503}, statuses
    for call, one in enumerate(answers):
        held = {f"call-{call}-{number}" for number in range(PER_CALL)}
        assert (held <= recorded) if one.status_code == 200 else not (held & recorded)
