"""Short words for tests of the transparency log."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
from scenes import open_booking, writing

from ledger.database import Database
from ledger.master_key import MasterKey
from ledger.record import entry
from projections.log.merkle import Frontier, leaf_hash
from projections.log.projector import LogProjector, catch_up_log

MASTER_KEY = MasterKey(b"m" * 32)
ORIGIN = "log.example/bookings"


def log_all(database: Database) -> int:
    return catch_up_log(database, MASTER_KEY, ORIGIN)


@contextmanager
def logging_on(database: Database) -> Iterator[Future[None]]:
    """A projector of the log in a thread; its future has the failure that it died of."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(LogProjector(database, MASTER_KEY, ORIGIN).run, stop)
        try:
            yield running
        finally:
            stop.set()


def open_many(database: Database, count: int, prefix: str = "b") -> None:
    with writing(database) as writer:
        for first in range(0, count, 1_000):
            some = range(first, min(count, first + 1_000))
            writer.execute([open_booking(f"{prefix}-{n}") for n in some])


def entries(connection: psycopg.Connection) -> list[bytes]:
    rows = connection.execute(
        "SELECT notification_id, originator_id, originator_version, topic, state"
        " FROM ledger_events ORDER BY notification_id"
    )
    return [entry(*row) for row in rows]


def root_of_events(connection: psycopg.Connection, size: int | None = None) -> bytes:
    """The root of the first events, hashed one by one."""
    frontier = Frontier()
    for one in entries(connection)[:size]:
        frontier.append(leaf_hash(one))
    return frontier.root()


def latest_root_of_events(connection: psycopg.Connection, size: int) -> bytes:
    """As docs/record-format.md has it, in the plainest way: from the entries, without our code."""
    latest = {json.loads(one)["booking"]: at for at, one in enumerate(entries(connection)[:size])}
    bitmap = bytearray(-(-size // 8192) * 1024)
    for index in latest.values():
        bitmap[index // 8] |= 1 << index % 8
    frontier = Frontier()
    for start in range(0, len(bitmap), 1024):
        frontier.append(leaf_hash(bytes(bitmap[start : start + 1024])))
    return frontier.root()


@contextmanager
def tampering(database: Database) -> Iterator[psycopg.Connection]:
    """A superuser with all triggers of the log and the events switched off."""
    tables = ("ledger_events", "log_checkpoint", "log_cosignature", "log_key")
    with database.connect() as connection:
        for table in tables:
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        yield connection
        for table in tables:
            connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
