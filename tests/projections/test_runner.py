"""The projector: exactly once and in order (G4), loud when it fails, and nobody's burden (G8)."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.errors import UndefinedTable
from scenes import (
    ANY_CHANGE,
    change_status,
    eventually,
    folded_tables,
    histories,
    live_tables,
    open_booking,
    projecting,
    record,
    writing,
)

from ledger.database import Database
from ledger.workflow import DEFAULT
from projections import tables
from projections.catch_up import catch_up
from projections.follower import ProjectionMissing
from projections.queries import read_lag, wait_until_fresh
from projections.runner import INTERVAL_SECONDS, PAUSE_SECONDS, Projector, ensure


def traffic(database: Database, threads: int = 4, steps: int = 40) -> None:
    """Two writers and some threads that open bookings and change some that all of them share."""
    shared = [f"shared-{n}" for n in range(5)]
    with writing(database, ANY_CHANGE) as one, writing(database, ANY_CHANGE) as other:
        one.execute([open_booking(booking_id) for booking_id in shared])

        def work(thread: int) -> None:
            writer = (one, other)[thread % 2]
            for step in range(steps):
                status = DEFAULT.statuses[(thread + step) % 5]
                writer.execute([open_booking(f"own-{thread}-{step}")])
                writer.execute([change_status(shared[step % 5], status, changed_by=f"t{thread}")])

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))


def projector_backends(connection: psycopg.Connection, database: Database) -> list[int]:
    """Who holds the projector's lock."""
    key = database.lock_key("projector") & 0xFFFF_FFFF_FFFF_FFFF
    rows = connection.execute(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND classid::bigint = %s AND objid::bigint = %s",
        (key >> 32, key & 0xFFFF_FFFF),
    )
    return [pid for (pid,) in rows]


def failure(connection: psycopg.Connection) -> tuple[bool, str | None]:
    row = connection.execute(
        "SELECT failed_at IS NOT NULL, failure FROM projection WHERE name = 'status_history'"
    ).fetchone()
    assert row is not None
    return row


# --- exactly once and in order (G4) -----------------------------------------------------------


def test_g4_every_event_reaches_the_tables_once_and_in_order(
    database: Database, connection: psycopg.Connection
) -> None:
    """Two projectors at once, two writers, four threads."""
    with projecting(database), projecting(database):
        traffic(database)
        assert wait_until_fresh(connection, 20) == sum(map(len, histories(connection).values()))
        assert len(projector_backends(connection, database)) == 1

    assert live_tables(connection) == folded_tables(connection)


def test_g4_projectors_that_die_at_any_point_double_and_lose_nothing(
    database: Database, connection: psycopg.Connection
) -> None:
    stop = threading.Event()

    def supervise() -> int:
        """Start it again whenever it dies, as its supervisor does; how often it died."""
        deaths = 0
        while not stop.is_set():
            try:
                Projector(database).run(stop)
            except psycopg.OperationalError:
                deaths += 1
        return deaths

    with ThreadPoolExecutor(2) as pool:
        supervised = pool.submit(supervise)
        writing_ = pool.submit(traffic, database, 4, 60)
        while not writing_.done():
            for pid in projector_backends(connection, database):
                connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        writing_.result()
        wait_until_fresh(connection, 20)
        stop.set()
        assert supervised.result() >= 3

    assert live_tables(connection) == folded_tables(connection)


def test_a_batch_is_written_with_its_position_or_not_at_all(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"), change_status("room-12", "confirmed"))
    connection.execute("ALTER TABLE projection ADD CHECK (position = 0)")

    with pytest.raises(psycopg.errors.CheckViolation):
        Projector(database).project(connection)

    assert live_tables(connection) == ({}, {})


def test_more_than_one_batch_is_projected_at_once(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, *(open_booking(f"room-{n}") for n in range(2_100)))
    projector = Projector(database)

    counts = [projector.project(connection) for _ in range(3)]

    assert counts == [2_000, 100, 0]
    assert live_tables(connection) == folded_tables(connection)


def test_a_write_is_projected_soon_not_at_the_next_round(
    database: Database, connection: psycopg.Connection
) -> None:
    """The projector is woken; without that each of these would take up to 5 seconds."""
    with projecting(database), writing(database) as writer:
        for number in range(30):
            writer.execute([open_booking(f"room-{number}")])
            wait_until_fresh(connection, 2.5)


class Timed(Projector):
    """Each of its batches has an event and takes so long; it stops after twelve."""

    def __init__(self, database: Database, seconds: float, stop: threading.Event) -> None:
        super().__init__(database)
        self.seconds, self.stop = seconds, stop
        self.begins: list[float] = []
        self.ends: list[float] = []

    def project(self, connection: psycopg.Connection) -> int:
        del connection
        self.begins.append(time.monotonic())
        time.sleep(self.seconds)
        if len(self.begins) == 12:
            self.stop.set()
        self.ends.append(time.monotonic())
        return 1


@pytest.mark.parametrize("seconds", [0, 0.02])
def test_while_events_keep_coming_batches_are_apart_with_a_pause_between(
    database: Database, connection: psycopg.Connection, seconds: float
) -> None:
    stop = threading.Event()
    projector, began = Timed(database, seconds, stop), time.monotonic()

    projector.follow(connection, stop)

    # The first comes before all others, whatever there is.
    pauses = [
        begin - end for end, begin in zip(projector.ends[1:-1], projector.begins[2:], strict=True)
    ]
    assert min(pauses) >= PAUSE_SECONDS
    assert projector.begins[-1] - began >= 10 * INTERVAL_SECONDS


# --- one is active, others stand by -----------------------------------------------------------


def test_the_standby_takes_over_when_the_active_one_stops(
    database: Database, connection: psycopg.Connection
) -> None:
    stop_first, stop_second = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(Projector(database).run, stop_first)
        eventually(lambda: bool(projector_backends(connection, database)), "the first")
        (active,) = projector_backends(connection, database)
        second = pool.submit(Projector(database).run, stop_second)
        record(database, open_booking("room-12"))
        wait_until_fresh(connection)
        assert projector_backends(connection, database) == [active]

        stop_first.set()
        first.result(20)
        record(database, change_status("room-12", "confirmed"))

        assert wait_until_fresh(connection) == 2
        assert projector_backends(connection, database) != [active]
        stop_second.set()
        second.result(20)

    assert live_tables(connection) == folded_tables(connection)


def test_a_standby_can_be_stopped(database: Database, connection: psycopg.Connection) -> None:
    with projecting(database):
        eventually(lambda: bool(projector_backends(connection, database)), "the active one")
        with projecting(database) as standby:
            pass
        standby.result(20)


# --- failing loudly (G8) ----------------------------------------------------------------------


def test_g8_a_failing_projector_says_so_and_writes_go_on_until_it_catches_up(
    database: Database, connection: psycopg.Connection
) -> None:
    connection.execute('ALTER TABLE "BookingStatusHistory" RENAME TO "Gone"')

    with projecting(database) as running:
        record(database, open_booking("room-12"))
        with pytest.raises(UndefinedTable):
            running.result(20)

    has_time, message = failure(connection)
    assert has_time
    assert message is not None
    assert message.startswith('UndefinedTable: relation "BookingStatusHistory" does not exist')
    assert read_lag(connection).failure == message
    (changed,) = record(database, change_status("room-12", "confirmed"))
    assert changed.position == 2
    assert read_lag(connection).events == 2

    connection.execute('ALTER TABLE "Gone" RENAME TO "BookingStatusHistory"')
    with projecting(database):
        assert wait_until_fresh(connection) == 2
        eventually(lambda: failure(connection) == (False, None), "the failure to be cleared")
    assert live_tables(connection) == folded_tables(connection)


def test_g8_what_is_in_the_tables_already_is_an_error_not_a_second_row(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"), change_status("room-12", "confirmed"))
    catch_up(database)
    connection.execute("UPDATE projection SET position = 1")

    with pytest.raises(psycopg.errors.UniqueViolation):
        Projector(database).run(threading.Event())

    assert live_tables(connection) == folded_tables(connection)


def test_a_failure_is_cleared_when_its_cause_is_gone_though_no_event_comes(
    database: Database, connection: psycopg.Connection
) -> None:
    """Such as a connection that was lost while nothing happened."""
    with projecting(database) as running:
        record(database, open_booking("room-12"))
        wait_until_fresh(connection)
        (pid,) = projector_backends(connection, database)
        connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        with pytest.raises(psycopg.OperationalError):
            running.result(20)
    assert failure(connection)[0]

    with projecting(database):
        eventually(lambda: failure(connection) == (False, None), "the failure to be cleared")


def test_a_ledger_without_a_read_model_is_an_error(
    database: Database, connection: psycopg.Connection
) -> None:
    connection.execute("DELETE FROM projection")

    with pytest.raises(ProjectionMissing):
        Projector(database).run(threading.Event())


# --- setting up -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dropped",
    [
        '"BookingStatusHistory"',
        '"Booking"',
        '"Booking", "BookingStatusHistory"',
    ],
)
def test_what_was_dropped_is_set_up_again_from_position_0(
    database: Database, connection: psycopg.Connection, dropped: str
) -> None:
    record(database, open_booking("room-12"), change_status("room-12", "confirmed"))
    catch_up(database)
    connection.execute(f"DROP TABLE {dropped} CASCADE")

    ensure(database)

    assert read_lag(connection).position == 0
    catch_up(database)
    assert live_tables(connection) == folded_tables(connection)
    views = connection.execute(
        "SELECT (SELECT count(*) FROM booking), (SELECT count(*) FROM booking_status_history)"
    ).fetchone()
    assert views == (1, 2)


def test_what_is_there_is_left_as_it_is(database: Database, connection: psycopg.Connection) -> None:
    record(database, open_booking("room-12"))
    catch_up(database)

    ensure(database)

    assert read_lag(connection).position == 1
    assert live_tables(connection) == folded_tables(connection)


def test_a_read_model_of_an_older_version_is_rebuilt(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"))
    catch_up(database)
    connection.execute(
        "UPDATE projection SET version = 0 WHERE name = 'status_history';"
        'ALTER TABLE "Booking" ADD COLUMN old int'
    )

    with projecting(database):
        eventually(
            lambda: (
                connection.execute(
                    "SELECT version FROM projection WHERE name = 'status_history'"
                ).fetchone()
                == (tables.VERSION,)
            ),
            "the rebuild",
        )

    assert live_tables(connection) == folded_tables(connection)


def test_a_read_model_of_a_newer_version_is_left_alone(
    database: Database, connection: psycopg.Connection
) -> None:
    """Two releases at once would otherwise rebuild it in turns, or mix their rows."""
    record(database, open_booking("room-12"))
    catch_up(database)
    connection.execute("UPDATE projection SET version = 99 WHERE name = 'status_history'")
    record(database, open_booking("room-13"))

    with pytest.raises(tables.OtherReadModel, match="made by a newer release"):
        catch_up(database)
    with pytest.raises(tables.OtherReadModel, match="Use that one"):
        Projector(database).run(threading.Event())

    found = connection.execute(
        "SELECT version, position, failure FROM projection WHERE name = 'status_history'"
    ).fetchone()
    assert found is not None
    assert found[:2] == (99, 1)
    assert "OtherReadModel" in found[2]


def test_catching_up_leaves_it_to_a_projector_that_is_running(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"), open_booking("room-13"))
    seen: list[tuple[int, int]] = []

    assert catch_up(database, lambda *progress: seen.append(progress)) == 2
    assert seen == [(2, 2)]
    with projecting(database):
        eventually(lambda: bool(projector_backends(connection, database)), "the projector")
        assert catch_up(database) == 0
