"""The days of a rebuild are filled beside its indexes: all of them, or the rebuild fails."""

import threading
from collections.abc import Callable

import psycopg
import pytest
from scenes import change_status, live_tables, open_booking, record

from ledger.database import Database
from projections import filling_days, flow_days, tables
from projections.catch_up import catch_up
from projections.filling import FillFailed
from projections.filling_days import days_beside
from projections.rebuild import rebuild

DAYS = "SELECT * FROM flow_day{s} ORDER BY day, measure, from_status, to_status, block"


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


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("days")]


def test_they_are_there_at_the_end_as_the_projector_has_them(
    history: Database, connection: psycopg.Connection
) -> None:
    with days_beside(connection, history):
        tables.derive_bookings(connection, tables.REBUILD)
        tables.create_indexes(connection, tables.REBUILD)

    days = connection.execute(DAYS.replace("{s}", "_rebuild")).fetchall()
    assert len(days) == 3
    assert days == connection.execute(DAYS.replace("{s}", "")).fetchall()


def test_no_index_waits_for_them(
    history: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the constraints do, which keep everybody out of the tables."""
    tables.derive_bookings(connection, tables.REBUILD)
    has_read, indexed = threading.Event(), threading.Event()
    seen: list[bool] = []
    fill = flow_days.fill

    def fill_long(beside: psycopg.Connection, suffix: str) -> None:
        fill(beside, suffix)
        has_read.set()
        seen.append(indexed.wait(5))

    monkeypatch.setattr(filling_days.flow_days, "fill", fill_long)
    with days_beside(connection, history):
        statements = tables._sql("indexes", tables.REBUILD).split(";")
        last = max(at for at, one in enumerate(statements) if "INDEX " in one and "ON " in one)
        assert has_read.wait(10)
        for at, statement in enumerate(statements):
            connection.execute(statement)
            if at == last:
                indexed.set()

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


def test_they_are_broken_off_where_all_else_fails(
    history: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep = threading.Event()
    ended: list[type[BaseException]] = []

    def sleep(beside: psycopg.Connection, _: str) -> None:
        asleep.set()
        try:
            beside.execute("SELECT pg_sleep(60)")
        except psycopg.Error as error:
            ended.append(type(error))
            raise

    monkeypatch.setattr(filling_days.flow_days, "fill", sleep)
    beside = days_beside(connection, history)
    beside.__enter__()
    assert asleep.wait(10)
    _wait_for(connection, "SELECT pg_sleep(60)")
    assert not beside.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)

    assert ended == [psycopg.errors.QueryCanceled]
    assert not threads()


def _wait_for(connection: psycopg.Connection, query: str) -> None:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = %s"
    while connection.execute(asked, (query,)).fetchone() == (0,):
        pass


def test_those_of_another_rebuild_are_left_alone(
    history: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours has died meanwhile, and its name is that of another's table."""
    replaced = threading.Event()
    set_up: Callable[[psycopg.Connection], None] = filling_days.set_up

    def replace(beside: psycopg.Connection) -> None:
        set_up(beside)
        tables.drop(connection, tables.REBUILD)
        tables.create(connection, tables.REBUILD)
        replaced.set()

    monkeypatch.setattr(filling_days, "set_up", replace)
    with pytest.raises(FillFailed, match="another rebuild"), days_beside(connection, history):
        assert replaced.is_set()

    assert connection.execute(DAYS.replace("{s}", "_rebuild")).fetchall() == []
