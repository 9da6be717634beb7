"""The library's own path on our tables: the same order, the same density, the same bytes."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import IntegrityError
from psycopg import sql
from scenes import (
    NOON,
    change,
    change_status,
    eventually,
    histories,
    open_booking,
    record,
    stored_events,
    writing,
)
from tests.support.master_key import MASTER_KEY

from ledger.booking import Booking
from ledger.database import Database
from ledger.event_store import BookingLedger, lock_statement
from ledger.schema import analyst_role, app_role, migrate
from ledger.workflow import DEFAULT
from projections.feed import events_after
from projections.runner import ensure


@contextmanager
def library(database: Database, pool_size: int = 4) -> Iterator[BookingLedger]:
    ledger = BookingLedger(database, pool_size=pool_size)
    try:
        yield ledger
    finally:
        ledger.close()


def a_booking(booking_id: str) -> Booking:
    return Booking.open(booking_id, change("pending"), NOON)


def test_the_library_reads_what_the_writer_wrote(database: Database) -> None:
    record(database, open_booking("room-12"), change_status("room-12", "confirmed"))

    with library(database) as ledger:
        booking = ledger.repository.get("room-12")
        notifications = ledger.notification_log.select(start=1, limit=10)

        assert (booking.status, booking.version) == ("confirmed", 2)  # type: ignore[attr-defined]
        assert [(n.id, n.originator_id, n.originator_version, n.topic) for n in notifications] == [
            (1, "room-12", 1, "Booking.Created"),
            (2, "room-12", 2, "Booking.StatusChanged"),
        ]
        with pytest.raises(AggregateNotFoundError):
            ledger.repository.get("room-13")


def test_a_past_version_can_be_read(database: Database) -> None:
    record(database, open_booking("room-12"), change_status("room-12", "confirmed"))

    with library(database) as ledger:
        past = ledger.repository.get("room-12", version=1)

    assert (past.status, past.version) == ("pending", 1)  # type: ignore[attr-defined]


def test_the_writer_goes_on_from_what_the_library_saved(
    database: Database, connection: psycopg.Connection
) -> None:
    with library(database) as ledger:
        booking = a_booking("room-12")
        booking.change_status(change("confirmed"), DEFAULT, NOON)
        (first, second) = ledger.save(booking)

    (changed,) = record(database, change_status("room-12", "in_progress"))

    assert [first.notification.id, second.notification.id, changed.position] == [1, 2, 3]
    assert histories(connection) == {"room-12": ["pending", "confirmed", "in_progress"]}


def test_a_second_event_of_a_version_is_refused_and_leaves_no_gap(
    database: Database, connection: psycopg.Connection
) -> None:
    with library(database) as ledger:
        ledger.save(a_booking("room-12"))
        with pytest.raises(IntegrityError):
            ledger.save(a_booking("room-13"), a_booking("room-12"))
        ledger.save(a_booking("room-14"))

    assert histories(connection) == {"room-12": ["pending"], "room-14": ["pending"]}


def test_g4_a_reader_that_follows_positions_misses_none_of_eight_writing_threads(
    database: Database, connection: psycopg.Connection
) -> None:
    """Positions become visible in order: what is not there at once never comes later."""
    each = 40
    with library(database, pool_size=9) as ledger, ThreadPoolExecutor(9) as pool:
        written = threading.Event()

        def follow() -> list[int]:
            seen: list[int] = []
            with database.connect() as own:
                while True:
                    last_look = written.is_set()
                    after = seen[-1] if seen else 0
                    events = events_after(own, ledger.mapper, after, 10_000)
                    seen += [one.position for one in events]
                    if last_look:
                        return seen

        def write(thread: int) -> None:
            for number in range(each):
                ledger.save(a_booking(f"room-{thread}-{number}"))

        reader = pool.submit(follow)
        for writing_thread in [pool.submit(write, thread) for thread in range(8)]:
            writing_thread.result()
        written.set()

        assert reader.result() == list(range(1, 8 * each + 1))
    assert len(histories(connection)) == 8 * each


def test_library_and_writer_append_in_turn(
    database: Database, connection: psycopg.Connection
) -> None:
    with library(database) as ledger, writing(database) as writer, ThreadPoolExecutor(4) as pool:
        saved = [pool.submit(ledger.save, a_booking(f"saved-{n}")) for n in range(40)]
        told = [pool.submit(writer.execute, [open_booking(f"told-{n}")]) for n in range(40)]
        for done in (*saved, *told):
            done.result()

    assert len(histories(connection)) == 80


def test_listeners_are_told_of_each_append(
    database: Database, connection: psycopg.Connection
) -> None:
    def is_notified() -> bool:
        return any(True for _ in connection.notifies(timeout=10, stop_after=1))

    connection.execute("LISTEN ledger_events")

    record(database, open_booking("room-12"))
    assert is_notified()
    with library(database) as ledger:
        ledger.save(a_booking("room-13"))
    assert is_notified()


def test_where_nothing_is_recorded_nobody_is_woken(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"))
    connection.execute("LISTEN ledger_events")

    record(database, change_status("room-12", "pending"))

    assert list(connection.notifies(timeout=0)) == []


# --- two ledgers in one database --------------------------------------------------------------


@pytest.fixture
def other(database: Database) -> Iterator[Database]:
    found = Database(database.url, "other", MASTER_KEY)
    migrate(found)
    ensure(found)
    yield found
    with database.connect() as connection:
        for role in (app_role("other"), analyst_role("other")):
            # They belong to the server; another database of it may still use them.
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))


def test_two_schemas_are_two_ledgers(
    database: Database, other: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"), open_booking("room-13"))
    (opened,) = record(other, open_booking("room-12", "confirmed"))

    assert opened.position == 1
    assert histories(connection) == {"room-12": ["pending"], "room-13": ["pending"]}
    with other.connect() as others:
        assert histories(others) == {"room-12": ["confirmed"]}
        assert [topic for *_, topic, _ in stored_events(others)] == ["Booking.Created"]
    with library(other) as ledger:
        assert ledger.repository.get("room-12").status == "confirmed"  # type: ignore[attr-defined]


def test_two_ledgers_have_locks_and_channels_of_their_own(
    database: Database, other: Database, connection: psycopg.Connection
) -> None:
    connection.execute("LISTEN ledger_events")
    with other.connect() as others, others.transaction():
        others.execute(lock_statement(other))
        (opened,) = record(database, open_booking("room-12"))
        assert opened.position == 1
        assert any(True for _ in connection.notifies(timeout=10, stop_after=1))

    record(other, open_booking("room-12"))

    assert list(connection.notifies(timeout=0)) == []
    purposes = ("append", "migrate", "projector", "projection setup", "rebuild")
    keys = [ledger.lock_key(purpose) for ledger in (database, other) for purpose in purposes]
    assert len(set(keys)) == 10


def test_whoever_appends_waits_for_the_append_lock(
    database: Database, connection: psycopg.Connection
) -> None:
    with library(database) as ledger, writing(database) as writer, ThreadPoolExecutor(2) as pool:
        with connection.transaction():
            connection.execute(lock_statement(database))
            told = pool.submit(writer.execute, [open_booking("room-12")])
            saved = pool.submit(ledger.save, a_booking("room-13"))
            eventually(lambda: waiting_for_locks(connection) == 2, "both to wait")
            assert stored_events(connection) == []
        told.result(20)
        saved.result(20)

    assert len(histories(connection)) == 2


def waiting_for_locks(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    assert row is not None
    return int(row[0])
