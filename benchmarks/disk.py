"""What a ledger takes on disk, and how the system gets it into memory."""

from contextlib import suppress
from pathlib import Path

import psycopg

from ledger.database import Database

TABLES = (
    *("ledger_events", "imported_row", "booking_key", "Booking", "BookingStatusHistory"),
    *("flow_day", "log_tile", "log_latest", "log_checkpoint"),
)
SIZES = """
    SELECT pg_table_size(%(name)s::regclass), pg_indexes_size(%(name)s::regclass)
"""
KEYED = """
    INSERT INTO idempotency (scope, key, request_hmac, answer)
    SELECT 'benchmark', gen_random_uuid()::text, sha256(number::text::bytea), %s
    FROM generate_series(1, %s) AS number
"""
KEYS = 20_000
READ_BYTES = 4 * 1024 * 1024
ANSWER = (
    b'[{"kind":"changed","booking_id":"H1-00000001","status":"Check-Out","version":3,'
    b'"opened_at":"2015-07-01T12:00:00+00:00","changed_at":"2015-07-01T12:00:00+00:00",'
    b'"position":10000000}]'
)


def bytes_per_event(database: Database) -> dict[str, float]:
    found: dict[str, float] = {}
    with database.connect() as connection:
        row = connection.execute("SELECT count(*) FROM ledger_events").fetchone()
        assert row is not None
        events = int(row[0])
        for name in TABLES:
            sizes = connection.execute(SIZES, {"name": f'"{name}"'}).fetchone()
            assert sizes is not None
            found[name] = sizes[0] / events
            found[f"{name}, indexes"] = sizes[1] / events
        found["all of it"] = sum(found.values())
        # Taken back: it must not be in the figures that follow.
        with connection.transaction(force_rollback=True):
            before = _size(connection, "idempotency")
            connection.execute(KEYED, (ANSWER, KEYS))
            taken = _size(connection, "idempotency") - before
            found["an idempotency key, where one is sent"] = taken / KEYS
    return found


def read_into_memory(database: Database) -> None:
    """Have the system read all files of the server's databases, as if they had been in use."""
    with database.connect() as connection:
        row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
    for file in Path(row[0], "base").glob("*/*"):
        # A file may be dropped meanwhile.
        with suppress(FileNotFoundError), file.open("rb", buffering=0) as opened:
            while opened.read(READ_BYTES):
                pass


def _size(connection: psycopg.Connection, name: str) -> int:
    """With its indexes."""
    sizes = connection.execute(SIZES, {"name": name}).fetchone()
    assert sizes is not None
    return int(sum(sizes))
