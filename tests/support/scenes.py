"""Short words for tests of the write side and the read side: commands, writers, projectors."""

import base64
import gc
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.booking import Change
from ledger.commands import ChangeStatus, OpenBooking, Outcome
from ledger.database import Database
from ledger.import_writer import ImportWriter
from ledger.imported_rows import ImportedRows
from ledger.personal_data import Decision
from ledger.workflow import DEFAULT, Workflow
from ledger.writer import Writer
from projections.rows import history_id
from projections.runner import Projector

NOON = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
PATIENCE_SECONDS = 20.0

ANY_CHANGE = Workflow("any", DEFAULT.statuses, "pending", None)
ERASE = Decision(verdict="erase", reason="asked", decided_by=None, actor="api-key", source="key")


@contextmanager
def no_garbage_collector() -> Iterator[None]:
    """What only the collector would find stays, as it does for some time otherwise."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def change(status: str, **said: Any) -> Change:
    return Change(status=status, **{"actor": "api-key", "source": "front desk", **said})


def open_booking(booking_id: str, status: str = "pending", **said: Any) -> OpenBooking:
    return OpenBooking(booking_id, change(status, **said))


def change_status(
    booking_id: str, status: str, versions: frozenset[int] | None = None, **said: Any
) -> ChangeStatus:
    return ChangeStatus(booking_id, change(status, **said), versions)


ImportedRow = tuple[str, str, str | None, str, str | None, int]


def import_row(
    booking_id: str,
    to_status: str,
    fingerprint: int,
    claimed_from: str | None = None,
    occurred_at: str = "2026-05-04T12:00:00.123456Z",
    **said: Any,
) -> ImportedRow:
    personal = orjson.dumps(said).decode() if said else None
    return (booking_id, to_status, claimed_from, occurred_at, personal, fingerprint)


def rows_of(*rows: ImportedRow) -> ImportedRows:
    made = ImportedRows()
    for row in rows:
        made.append(*row)
    return made


@contextmanager
def importing(
    database: Database, workflow: Workflow = DEFAULT, **options: Any
) -> Iterator[ImportWriter]:
    with closing(ImportWriter(database, workflow, "hotel.csv", **options)) as writer:
        yield writer


@contextmanager
def writing(database: Database, workflow: Workflow = DEFAULT, **options: Any) -> Iterator[Writer]:
    writer = Writer(database, workflow, **options)
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def append_lock_held(database: Database, connection: psycopg.Connection) -> Iterator[None]:
    """Nobody can append meanwhile."""
    key = database.lock_key("append")
    connection.execute("SELECT pg_advisory_lock(%s)", (key,))
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (key,))


def record(database: Database, *commands: Any, workflow: Workflow = DEFAULT) -> list[Outcome]:
    """Record commands in one request; all must be carried out."""
    with writing(database, workflow) as writer:
        answers = writer.execute(commands)
    assert all(isinstance(answer, Outcome) for answer in answers), answers
    return answers  # type: ignore[return-value]


@contextmanager
def projecting(database: Database) -> Iterator[Future[None]]:
    """A projector in a thread; its future has the failure that it died of."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(Projector(database).run, stop)
        try:
            yield running
        finally:
            stop.set()


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE_SECONDS} s in vain: {what}")
        time.sleep(0.002)


Event = tuple[int, str, int, str, dict[str, Any]]


def stored_events(connection: psycopg.Connection) -> list[Event]:
    """Position, booking, version, topic and state of every event, read without our own code."""
    rows = connection.execute(
        "SELECT notification_id, originator_id, originator_version, topic, state"
        " FROM ledger_events ORDER BY notification_id"
    )
    return [(*row[:4], json.loads(row[4])) for row in rows]


def histories(connection: psycopg.Connection) -> dict[str, list[str]]:
    """The statuses of each booking in order; fails unless the whole ledger is sound.

    Positions are 1..n, versions of each booking 1..n, and its chain is unbroken.
    """
    events = stored_events(connection)
    assert [position for position, *_ in events] == list(range(1, len(events) + 1))
    found: dict[str, list[str]] = {}
    for _, booking_id, version, topic, state in events:
        statuses = found.setdefault(booking_id, [])
        assert version == len(statuses) + 1
        assert topic == ("Booking.Created" if version == 1 else "Booking.StatusChanged")
        assert state["from_status"] == (statuses[-1] if statuses else None)
        statuses.append(state["to_status"])
    return found


def folded_tables(connection: psycopg.Connection) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the two tables must hold, by id, derived here from the events in the plainest way."""
    bookings: dict[str, Any] = {}
    history: dict[str, Any] = {}
    for position, booking_id, version, topic, state in stored_events(connection):
        if not topic.startswith("Booking."):
            continue
        said = _opened(connection, booking_id, version, state["sealed"])
        erased, said = said is None, said or {}
        occurred = _stored_time(state["occurred_at"])
        opened = bookings[booking_id][2] if booking_id in bookings else occurred
        bookings[booking_id] = (state["to_status"], version, opened, occurred, position)
        history[history_id(booking_id, version, position)] = (
            booking_id,
            state["from_status"],
            state["to_status"],
            said.get("changed_by"),
            said.get("reason"),
            said.get("metadata"),
            occurred,
            version,
            position,
            _stored_time(state["timestamp"]),
            state["actor"],
            state["source"],
            state["claimed_from_status"],
            erased,
        )
    return bookings, history


def live_tables(connection: psycopg.Connection) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the two tables do hold, in the same form."""
    bookings = connection.execute('SELECT * FROM "Booking"').fetchall()
    history = connection.execute('SELECT * FROM "BookingStatusHistory"').fetchall()
    return (
        {id_: tuple(facts) for id_, *facts in bookings},
        {
            id_: (*facts[:5], facts[5] if facts[5] is None else json.loads(facts[5]), *facts[6:])
            for id_, *facts in history
        },
    )


def _opened(
    connection: psycopg.Connection, booking_id: str, version: int, sealed: str | None
) -> dict[str, Any] | None:
    """What is sealed in an event, in the terms of docs/record-format.md; None if it is erased."""
    if sealed is None:
        return {}
    row = connection.execute(
        "SELECT wrapped FROM booking_key WHERE booking_id = %s", (booking_id,)
    ).fetchone()
    if row is None:
        return None
    purpose = b"key of booking " + booking_id.encode()
    key = AESGCM(bytes(32)).decrypt(row[0][:12], row[0][12:], purpose)
    event_key = hmac.digest(key, str(version).encode(), "sha256")
    content = base64.b64decode(sealed)
    if content[:32] != hashlib.sha256(event_key).digest():
        return None
    return dict(json.loads(AESGCM(event_key).decrypt(content[32:44], content[44:], None)))


def _stored_time(text: str) -> datetime:
    time_ = datetime.fromisoformat(text)
    assert time_.utcoffset() is not None
    return time_.replace(microsecond=time_.microsecond // 1000 * 1000, tzinfo=None)
