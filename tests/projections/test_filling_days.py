"""The days of a rebuild are filled beside its indexes: all of them, or the rebuild fails."""

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from scenes import (
    PATIENCE_SECONDS,
    change_status,
    eventually,
    live_tables,
    open_booking,
    record,
)

from ledger.database import Database
from projections import filling_days, flow_days, tables
from projections.catch_up import catch_up
from projections.filling import FillFailed, set_up
from projections.filling_days import days_beside
from projections.rebuild import rebuild

DAYS = "SELECT * FROM flow_day{s} ORDER BY day, measure, from_status, to_status, block"
SLEEPING = """
    SELECT FROM pg_stat_activity
    WHERE state = 'active' AND query = 'SELECT pg_sleep(20)' AND datname = current_database()
"""
ANALYSED = "SELECT count(*) FROM pg_stats WHERE tablename = 'BookingStatusHistory_rebuild'"


@pytest.fixture
def filled(database: Database) -> Database:
    record(database, open_booking("a"), change_status("a", "confirmed"), open_booking("b"))
    catch_up(database)
    return database


@pytest.fixture
def history(filled: Database, connection: psycopg.Connection) -> Database:
    """The tables of a rebuild, of which only the history is filled."""
    tables.create(connection, tables.REBUILD)
    connection.execute('INSERT INTO "BookingStatusHistory_rebuild" TABLE "BookingStatusHistory"')
    return filled


@pytest.fixture
def beside(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect() as connection:
        set_up(connection)
        yield connection


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("days")]


def test_they_are_there_at_the_end_as_the_projector_has_them(
    history: Database, connection: psycopg.Connection, beside: psycopg.Connection
) -> None:
    with days_beside(connection, beside):
        tables.derive_bookings(connection, tables.REBUILD)
        tables.create_indexes(connection, tables.REBUILD)

    days = connection.execute(DAYS.replace("{s}", "_rebuild")).fetchall()
    assert len(days) >= 3  # kinds of change and stay; 4 over a midnight
    assert days == connection.execute(DAYS.replace("{s}", "")).fetchall()
    assert connection.execute(ANALYSED).fetchone() != (0,)


def test_no_index_waits_for_them_nor_does_the_check_that_each_entry_has_its_booking(
    history: Database,
    connection: psycopg.Connection,
    beside: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the history's own key does, which keeps everybody out of the table."""
    tables.derive_bookings(connection, tables.REBUILD)
    has_read, nothing_else_left = threading.Event(), threading.Event()
    seen: list[bool] = []
    fill = flow_days.fill

    def fill_long(beside: psycopg.Connection, suffix: str) -> None:
        fill(beside, suffix)
        has_read.set()
        seen.append(nothing_else_left.wait(PATIENCE_SECONDS))

    monkeypatch.setattr(filling_days.flow_days, "fill", fill_long)
    statements = [one for one in tables._sql("indexes", tables.REBUILD).split(";") if one.strip()]
    with days_beside(connection, beside):
        assert has_read.wait(PATIENCE_SECONDS)
        for statement in statements[:-1]:
            connection.execute(statement)
        nothing_else_left.set()
        connection.execute(statements[-1])

    assert seen == [True]


def test_a_rebuild_whose_days_cannot_be_filled_fails_and_leaves_the_tables_as_they_were(
    filled: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = live_tables(connection)
    broken = flow_days._FILL.replace("round(", "no_such_function(")
    monkeypatch.setattr(filling_days.flow_days, "_FILL", broken)

    with pytest.raises(psycopg.errors.UndefinedFunction):
        rebuild(filled)

    assert live_tables(connection) == rows
    assert not threads()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """What ended the filling, which does not end by itself."""
    ended: list[type[BaseException]] = []

    def sleep(beside: psycopg.Connection, _: str) -> None:
        try:
            beside.execute("SELECT pg_sleep(20)")
        except psycopg.Error as error:
            ended.append(type(error))
            raise
        ended.append(TimeoutError)

    monkeypatch.setattr(filling_days.flow_days, "fill", sleep)
    return ended


def sleeps(connection: psycopg.Connection) -> Callable[[], bool]:
    return lambda: connection.execute(SLEEPING).fetchone() is not None


@pytest.mark.parametrize("at_work", [True, False])
def test_they_are_broken_off_where_all_else_fails(
    history: Database,
    connection: psycopg.Connection,
    beside: psycopg.Connection,
    ended: list[type[BaseException]],
    at_work: bool,
) -> None:
    """Also before they are at work: the database drops what asks to end a statement while there
    is none."""
    days = days_beside(connection, beside)
    days.__enter__()
    if at_work:
        eventually(sleeps(connection), "the filling")
    assert not days.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)

    broken_off = [psycopg.errors.QueryCanceled]
    assert ended == broken_off or (not at_work and not ended)  # ended before they began
    assert not threads()


def test_a_rebuild_whose_second_connection_is_lost_fails(
    filled: Database, connection: psycopg.Connection, ended: list[type[BaseException]]
) -> None:
    rows, failed = live_tables(connection), []

    def run() -> None:
        try:
            rebuild(filled)
        except psycopg.OperationalError as error:
            failed.append(type(error))

    running = threading.Thread(target=run)
    running.start()
    eventually(sleeps(connection), "the filling")
    terminate = SLEEPING.replace("SELECT FROM", "SELECT pg_terminate_backend(pid) FROM", 1)
    connection.execute(terminate)
    running.join(PATIENCE_SECONDS)

    assert failed == ended == [psycopg.errors.AdminShutdown]
    assert live_tables(connection) == rows
    assert not threads()


def test_those_of_another_rebuild_are_left_alone(
    history: Database, connection: psycopg.Connection, beside: psycopg.Connection
) -> None:
    """Ours has died meanwhile, and its name is that of another's table."""
    with history.connect() as other:
        with other.transaction():
            other.execute('LOCK TABLE "BookingStatusHistory_rebuild"')
            days = days_beside(connection, beside)
            days.__enter__()  # and waits for the lock, to analyse the history
            tables.drop(other, tables.REBUILD)
            tables.create(other, tables.REBUILD)
        with pytest.raises(FillFailed, match="another rebuild"):
            days.__exit__(None, None, None)

    assert connection.execute(DAYS.replace("{s}", "_rebuild")).fetchall() == []


def test_a_rebuild_waits_for_itself_where_its_owner_waits_for_no_lock(
    filled: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = connection.info.dbname
    connection.execute(f'ALTER DATABASE "{name}" SET lock_timeout = 1')
    fill = flow_days.fill

    def fill_slowly(beside: psycopg.Connection, suffix: str) -> None:
        fill(beside, suffix)
        beside.execute("SELECT pg_sleep(0.2)")

    monkeypatch.setattr(filling_days.flow_days, "fill", fill_slowly)

    assert rebuild(filled).events == 3
