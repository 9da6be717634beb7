"""G7: a read model that is dropped and rebuilt gives the same rows, while the service goes on."""

import itertools
import logging
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from scenes import (
    ANY_CHANGE,
    NOON,
    change_status,
    eventually,
    folded_tables,
    import_row,
    importing,
    live_tables,
    open_booking,
    projecting,
    record,
    rows_of,
    writing,
)

from ledger.database import Database
from ledger.workflow import DEFAULT
from projections import tables
from projections.audit import audit
from projections.catch_up import catch_up
from projections.feed import Positioned, head
from projections.lists import list_bookings, list_history
from projections.queries import (
    Filter,
    Page,
    read_lag,
    wait_until_fresh,
)
from projections.rebuild import RebuildRunning, _Build, rebuild
from projections.rows import Batch, batch_rows

NAMES = """
    SELECT 'relation', relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace
    UNION SELECT 'constraint', conname FROM pg_constraint
        WHERE connamespace = current_schema()::regnamespace
    UNION SELECT 'type', typname FROM pg_type WHERE typnamespace = current_schema()::regnamespace
    UNION SELECT 'privilege', relacl::text FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace
"""


JOIN = """
    SELECT count(*) FROM booking_status_history AS entry JOIN booking USING (booking_id)
"""


def names(connection: psycopg.Connection) -> set[tuple[str, str]]:
    return {(kind, name) for kind, name in connection.execute(NAMES)}


@pytest.fixture
def filled(database: Database) -> Database:
    """All kinds of rows: opened, changed, imported, disputed, with and without what was said."""
    record(
        database,
        open_booking("Zimmer 12 ✓", changed_by="Zoë", metadata={"z": 1, "a": ["ä"]}, reason="x\ny"),
        change_status("Zimmer 12 ✓", "confirmed", occurred_at=NOON - timedelta(days=400)),
        change_status("Zimmer 12 ✓", "in_progress"),
        *(open_booking(f"many-{n}") for n in range(300)),
    )
    with importing(database) as writer:
        writer.record(
            rows_of(
                import_row("room-13", "completed", 1, "pending", reason="x"),
                import_row("room-13", "pending", 2, "cancelled"),
            )
        )
    catch_up(database)
    return database


def test_g7_a_rebuild_gives_the_same_rows_and_the_same_names(
    filled: Database, connection: psycopg.Connection
) -> None:
    """Ids included; names of indexes, constraints, views and grants too."""
    rows, named = live_tables(connection), names(connection)
    progress: list[tuple[int, int]] = []

    report = rebuild(filled, lambda *seen: progress.append(seen))

    assert report.events == 305
    assert live_tables(connection) == rows == folded_tables(connection)
    assert names(connection) == named
    assert progress[-1] == (305, 305)
    assert read_lag(connection).position == 305


@pytest.mark.parametrize(
    "harm",
    [
        'DELETE FROM "BookingStatusHistory"; DELETE FROM "Booking"',
        'TRUNCATE "Booking" CASCADE',
        """UPDATE "BookingStatusHistory" SET "changedBy" = 'nobody', "createdAt" = now()""",
        'DROP TABLE "BookingStatusHistory" CASCADE',
        'DROP TABLE "Booking" CASCADE',
        'DROP TABLE "Booking", "BookingStatusHistory" CASCADE; DELETE FROM projection',
        'DROP INDEX "BookingStatusHistory_changedBy_idx"; DROP VIEW booking',
    ],
)
def test_g7_whatever_was_done_to_the_tables_a_rebuild_undoes(
    filled: Database, connection: psycopg.Connection, harm: str
) -> None:
    rows, named = live_tables(connection), names(connection)
    connection.execute(harm)

    rebuild(filled)

    assert live_tables(connection) == rows
    assert names(connection) == named
    record(filled, open_booking("room-99"))
    assert catch_up(filled) == 1
    assert live_tables(connection) == folded_tables(connection)


def test_a_rebuild_of_an_empty_ledger_is_empty(
    database: Database, connection: psycopg.Connection
) -> None:
    named = names(connection)

    assert rebuild(database).events == 0

    assert live_tables(connection) == ({}, {})
    assert names(connection) == named


# --- while the service goes on ----------------------------------------------------------------


def test_g7_writers_and_the_live_projector_go_on_meanwhile(
    filled: Database, connection: psycopg.Connection
) -> None:
    done, is_writing = threading.Event(), threading.Semaphore(0)
    shared = [f"shared-{n}" for n in range(5)]

    def write() -> int:
        with writing(filled, ANY_CHANGE) as writer:
            writer.execute([open_booking(booking_id) for booking_id in shared])
            step = 0
            while not done.is_set():
                step += 1
                status = DEFAULT.statuses[step % 5]
                writer.execute([change_status(shared[step % 4], status)])
                writer.execute([open_booking(f"new-{step}")])
                is_writing.release()
        return step

    with projecting(filled) as projector, ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        try:
            for _ in range(4):
                assert is_writing.acquire(timeout=20)
                rebuild(filled)
        finally:
            done.set()
        assert written.result(20) > 4
        wait_until_fresh(connection, 20)
        assert not projector.done()

    assert live_tables(connection) == folded_tables(connection)
    assert audit(filled).findings == ()  # days and all


@pytest.mark.timeout(30)
def test_g7_a_rebuild_ends_while_something_is_recorded_at_every_moment(
    filled: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()

    def while_somebody_records(stream: Iterable[Positioned]) -> Batch:
        batch = batch_rows(stream)
        record(filled, open_booking(f"meanwhile-{next(numbers)}"))
        return batch

    monkeypatch.setattr("projections.rebuild.batch_rows", while_somebody_records)
    rebuild(filled)

    assert read_lag(connection).events == 1
    catch_up(filled)
    assert live_tables(connection) == folded_tables(connection)
    assert audit(filled).findings == ()


def test_g7_what_was_projected_for_a_switch_that_failed_is_not_projected_again(
    filled: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or every attempt would keep the live projector waiting for longer."""
    waited: list[int] = []

    def wait(_: float) -> None:
        record(filled, *(open_booking(f"meanwhile-{len(waited)}-{n}") for n in range(3)))
        waited.append(3)

    def refuse_twice(live: psycopg.Connection, attempt: int) -> None:
        if attempt < 3:
            raise psycopg.errors.LockNotAvailable
        lock_live(live, attempt)

    def count(self: Any) -> int:
        found = project(self)
        status = self._connection.info.transaction_status
        counted.append(found)
        assert status == psycopg.pq.TransactionStatus.INTRANS
        return found

    counted: list[int] = []
    lock_live, project = tables.lock_live, _Build._project
    monkeypatch.setattr(tables, "lock_live", refuse_twice)
    monkeypatch.setattr("projections.rebuild.time.sleep", wait)
    monkeypatch.setattr(_Build, "_project", count)
    report = rebuild(filled)

    assert waited == [3, 3]
    assert sum(counted) == 6, "each once"
    assert report.events == head(connection)
    assert live_tables(connection) == folded_tables(connection)


def test_g7_readers_never_see_an_error_or_an_empty_table(
    filled: Database, connection: psycopg.Connection
) -> None:
    """Single statements, prepared ones, views, joins, and transactions in either order."""
    done = threading.Event()
    connection.execute("CREATE VIEW report AS SELECT count(*) FROM booking_status_history")

    def single() -> int:
        with filled.connect() as own:
            reads = 0
            while not done.is_set():
                reads += 1
                assert len(list_history(own, Filter(), Page(400)).rows) == 305
                assert len(list_bookings(own, Filter(status="pending"), Page(400))) == 301
        return reads

    def views(*relations: str) -> int:
        with filled.connect() as own:
            reads = 0
            while not done.is_set():
                reads += 1
                assert own.execute("SELECT * FROM report").fetchone() == (305,)
                assert own.execute(JOIN).fetchone() == (305,)
                with own.transaction():
                    counts = [
                        own.execute(f"SELECT count(*) FROM {name}").fetchone() for name in relations
                    ]
                assert sorted(counts) == [(302,), (305,), (305,)]
        return reads

    with ThreadPoolExecutor(4) as pool:
        relations = ("booking_status_history", "booking", '"BookingStatusHistory"')
        readers = [
            pool.submit(single),
            pool.submit(single),
            pool.submit(views, *relations),
            pool.submit(views, *reversed(relations)),
        ]
        try:
            for _ in range(2):
                rebuild(filled)
        finally:
            done.set()
        assert all(reader.result(20) > 4 for reader in readers)


def test_a_reader_that_holds_the_old_tables_delays_the_switch_and_others_only_for_a_moment(
    filled: Database, connection: psycopg.Connection
) -> None:
    """The switch gives up again and again rather than let readers queue behind it."""
    both = 'SELECT count(*) FROM "BookingStatusHistory", (SELECT FROM "Booking" LIMIT 1) AS one'
    with ThreadPoolExecutor(1) as pool:
        with filled.connect() as holding, holding.transaction():
            holding.execute(both)
            rebuilding = pool.submit(rebuild, filled)
            for _ in range(3):
                eventually(lambda: is_switching(connection), "the switch to wait")
                assert connection.execute(both).fetchone() == (305,)
                assert not rebuilding.done()
        assert rebuilding.result(20).events == 305


def test_what_comes_while_the_switch_is_delayed_is_projected(
    filled: Database,
    connection: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In so many batches that the driver prepares a statement of its own: then it gives up all
    that are prepared, ours too, at the next rollback."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("projections.rebuild.BATCH_EVENTS", 1)

    def has_tried(attempt: int) -> bool:
        return f"attempt {attempt} to switch" in caplog.text

    with ThreadPoolExecutor(1) as pool:
        with filled.connect() as holding, holding.transaction():
            holding.execute('SELECT FROM "BookingStatusHistory"')
            rebuilding = pool.submit(rebuild, filled)
            for attempt in (1, 2, 3):
                eventually(partial(has_tried, attempt), f"attempt {attempt}")
                record(filled, *(open_booking(f"late-{attempt}-{n}") for n in range(8)))
        assert rebuilding.result(20).events == 305 + 24
    assert live_tables(connection) == folded_tables(connection)
    assert audit(filled).findings == ()  # days and all


def is_switching(connection: psycopg.Connection) -> bool:
    return connection.execute(
        """
        SELECT EXISTS (
            SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'
                AND relation IN ('"BookingStatusHistory"'::regclass, '"Booking"'::regclass)
        )
        """
    ).fetchone() == (True,)


def test_an_analysts_own_view_survives(filled: Database, connection: psycopg.Connection) -> None:
    connection.execute(
        "CREATE VIEW cancellations AS SELECT booking_id, metadata FROM booking_status_history"
        " WHERE to_status = 'cancelled'"
    )

    rebuild(filled)
    record(filled, change_status("many-7", "cancelled", metadata={"fee": 20}))
    catch_up(filled)

    assert connection.execute("SELECT * FROM cancellations").fetchall() == [("many-7", {"fee": 20})]


# --- one at a time, and crashes ---------------------------------------------------------------


def test_a_second_rebuild_at_the_same_time_is_refused(filled: Database) -> None:
    refused: list[Exception] = []

    def begin_another(*_: int) -> None:
        with pytest.raises(RebuildRunning) as running:
            rebuild(filled)
        refused.append(running.value)

    rebuild(filled, begin_another)

    assert refused
    assert rebuild(filled).events == 305


def test_the_next_may_begin_as_soon_as_one_has_ended(
    filled: Database, connection: psycopg.Connection
) -> None:
    """The lock is let go of, not left to the server, which may be slow to end a connection."""
    with filled.connect() as other:
        with filled.try_lock(other, "rebuild") as alone:
            assert alone
            with filled.try_lock(connection, "rebuild") as also:
                assert not also
        assert rebuild(filled).events == 305


def test_a_crash_before_the_switch_leaves_the_old_tables_and_hinders_no_later_rebuild(
    filled: Database, connection: psycopg.Connection
) -> None:
    rows, named = live_tables(connection), names(connection)

    def crash(*_: int) -> None:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    with pytest.raises(psycopg.OperationalError):
        rebuild(filled, crash)

    assert tables.exist(connection)
    assert live_tables(connection) == rows
    left_over = {name for _, name in names(connection) - named}
    assert {"Booking_rebuild", "BookingStatusHistory_rebuild"} <= left_over
    rebuild(filled)
    assert live_tables(connection) == rows
    assert names(connection) == named


def test_a_crash_within_the_switch_undoes_it(
    filled: Database, connection: psycopg.Connection
) -> None:
    """The last statement of the switch fails: everything before it must be undone."""
    rows = live_tables(connection)
    connection.execute(
        "ALTER TABLE projection ADD CONSTRAINT stuck CHECK (position <> 305) NOT VALID"
    )

    with pytest.raises(psycopg.errors.CheckViolation):
        rebuild(filled)

    assert live_tables(connection) == rows
    connection.execute("ALTER TABLE projection DROP CONSTRAINT stuck")
    rebuild(filled)
    assert live_tables(connection) == rows
