"""The days that figures are added up from: the same however they came about, and the same figures
as from the history itself."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hotel import load_hotel
from scenes import ANY_CHANGE, NOON, change_status, open_booking, record, writing

from ledger.commands import DecideOnPersonalData
from ledger.database import Database
from ledger.personal_data import Decision
from projections import flow_days, runner, tables
from projections.analytics.question import Moment, newest
from projections.analytics.time_in_status import time_in_status
from projections.analytics.transitions import transitions
from projections.analytics.volume import volume
from projections.audit import audit
from projections.catch_up import catch_up
from projections.queries import Filter
from projections.rebuild import rebuild


def days(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("TABLE flow_day ORDER BY 1, 2, 3, 4, 5").fetchall()


def fill(database: Database, bookings: int = 40) -> None:
    """Some come back to a status, one takes back time, all are recorded in mixed order."""
    for number in range(bookings):
        opened = NOON + timedelta(hours=number * 5)
        record(
            database,
            open_booking(f"b{number}", occurred_at=opened, changed_by="anna"),
            change_status(f"b{number}", "confirmed", occurred_at=opened + timedelta(hours=number)),
            workflow=ANY_CHANGE,
        )
    for number in range(0, bookings, 3):
        back = NOON + timedelta(hours=number * 4, milliseconds=number)
        record(
            database,
            change_status(f"b{number}", "cancelled", occurred_at=back - timedelta(days=1)),
            change_status(f"b{number}", "confirmed", occurred_at=back),
            workflow=ANY_CHANGE,
        )


@pytest.mark.parametrize("batch", [1, 7, 2000])
def test_rows_do_not_depend_on_the_batches_that_they_came_in(
    database: Database,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
) -> None:
    fill(database)
    monkeypatch.setattr(runner, "BATCH_EVENTS", batch)
    catch_up(database)
    live = days(connection)

    rebuild(database)

    assert days(connection) == live
    assert sum(row[5] for row in live if row[1] == "change") == 80 + 2 * 14
    assert sum(row[5] for row in live if row[1] == "stay") == 40 + 2 * 14


def test_a_busy_day_has_several_rows(database: Database, connection: psycopg.Connection) -> None:
    count = flow_days.BLOCK + 300
    for first in range(0, count, 400):
        some = [f"b{number}" for number in range(first, min(first + 400, count))]
        record(database, *[open_booking(one, occurred_at=NOON) for one in some])
        record(database, *[change_status(one, "confirmed", occurred_at=NOON) for one in some])
        catch_up(database)
    live = days(connection)

    rebuild(database)

    assert days(connection) == live
    assert [(*row[1:6], len(row[10])) for row in live] == [
        ("change", "", "pending", 0, 1024, 0),
        ("change", "", "pending", 1, 300, 0),
        ("change", "pending", "confirmed", 0, 1024, 1024),
        ("change", "pending", "confirmed", 1, 300, 300),
        ("stay", "pending", "confirmed", 0, 1024, 1024),
        ("stay", "pending", "confirmed", 1, 300, 300),
    ]
    assert audit(database).sound


def asked(connection: psycopg.Connection, at: Moment, chosen: Filter) -> list[Any]:
    return [
        transitions(connection, at, chosen),
        transitions(connection, at, chosen, "day"),
        time_in_status(connection, at, chosen),
        time_in_status(connection, at, chosen, "Canceled"),
        time_in_status(connection, at, chosen, "confirmed"),
        volume(connection, at, chosen),
    ]


def at_day(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, 5, day, hour, minute, tzinfo=UTC)


PERIODS = [
    Filter(),
    Filter(since=at_day(5)),
    Filter(until=at_day(7)),
    Filter(since=at_day(5), until=at_day(8)),
    Filter(since=at_day(4, 15), until=at_day(8, 13, 30)),
    Filter(since=at_day(5, 1), until=at_day(5, 20)),
    Filter(since=at_day(5, 1), until=at_day(6, 20)),
    Filter(since=at_day(5, 1), until=at_day(6)),
    Filter(since=at_day(6), until=at_day(5)),
    Filter(since=at_day(6, 5), until=at_day(5, 3)),
    Filter(since=at_day(20)),
    Filter(status="confirmed"),
    Filter(status="confirmed", since=at_day(5, 3)),
    Filter(from_status="cancelled"),
    Filter(from_status="pending", status="confirmed", until=at_day(6, 12)),
    Filter(changed_by="anna"),
    Filter(booking_id="b3"),
]


@pytest.mark.parametrize("chosen", PERIODS, ids=str)
def test_figures_are_those_of_the_history(
    database: Database, connection: psycopg.Connection, chosen: Filter
) -> None:
    fill(database)
    catch_up(database)

    with newest(connection) as at:
        assert at.by_days
        found = asked(connection, at, chosen)
        assert found == asked(connection, replace(at, by_days=False), chosen)


def test_figures_of_the_hotel_are_those_of_the_history(
    database: Database, connection: psycopg.Connection
) -> None:
    load_hotel(database)
    year = Filter(since=datetime(2016, 2, 3, 4, tzinfo=UTC), until=datetime(2017, 2, 3, tzinfo=UTC))
    for chosen in (Filter(), year, Filter(status="Canceled")):
        with newest(connection) as at:
            found = asked(connection, at, chosen)
            assert found[0]
            assert found == asked(connection, replace(at, by_days=False), chosen)


def test_what_comes_while_they_are_asked_for_is_not_in_them(
    database: Database, connection: psycopg.Connection
) -> None:
    fill(database, 3)
    catch_up(database)
    with newest(connection) as at:
        before = asked(connection, at, Filter())
        record(database, open_booking("late", occurred_at=NOON))
        catch_up(database)
        assert asked(connection, at, Filter()) == before
    with newest(connection) as later:
        assert later.position == at.position + 1
        assert asked(connection, later, Filter()) != before


def test_tables_of_an_older_version_have_no_days_and_the_same_figures(
    database: Database, connection: psycopg.Connection
) -> None:
    fill(database, 3)
    catch_up(database)
    with newest(connection) as at:
        found = asked(connection, at, Filter())
    connection.execute("DROP TABLE flow_day")
    connection.execute("UPDATE projection SET version = 3 WHERE name = %s", (tables.NAME,))
    with newest(connection) as at:
        assert not at.by_days
        assert asked(connection, at, Filter()) == found


def test_an_erasure_leaves_them_as_they_are(
    database: Database, connection: psycopg.Connection
) -> None:
    fill(database, 3)
    catch_up(database)
    before = days(connection)
    decision = Decision(
        verdict="erase", reason="request 7", decided_by=None, actor="system", source="test"
    )
    with writing(database) as writer:
        writer.execute([DecideOnPersonalData("b0", decision)])
    catch_up(database)

    assert days(connection) == before
    rebuild(database)
    assert days(connection) == before


def test_the_audit_finds_what_was_altered(
    database: Database, connection: psycopg.Connection
) -> None:
    fill(database, 3)
    catch_up(database)
    assert audit(database).sound
    connection.execute(
        "UPDATE flow_day SET durations[1] = durations[1] + 1"
        " WHERE measure = 'stay' AND to_status = 'cancelled'"
    )
    (finding,) = audit(database).findings
    assert finding.kind == "different_value"
    assert "the stay from 'confirmed' to 'cancelled' on 2026-05-04" in finding.detail
    connection.execute("DELETE FROM flow_day")
    assert not audit(database).sound
