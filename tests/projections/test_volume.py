"""Changes over time, and the position that a time had."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from scenes import change_status, open_booking, record, writing

from ledger.database import Database
from projections.analytics.question import moment
from projections.analytics.volume import volume
from projections.catch_up import catch_up
from projections.feed import position_at
from projections.queries import Filter

FIRST = datetime(2026, 1, 5, 10, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("last", "unit", "count"),
    [
        (FIRST + timedelta(days=3), "day", 4),
        (FIRST + timedelta(days=120), "week", 18),
        (FIRST + timedelta(days=1200), "month", 40),
    ],
)
def test_buckets_have_no_gaps_and_the_smallest_unit_that_fits(
    database: Database, connection: psycopg.Connection, last: datetime, unit: str, count: int
) -> None:
    record(
        database,
        open_booking("a", occurred_at=FIRST, changed_by="anna"),
        open_booking("b", occurred_at=FIRST),
        change_status("a", "confirmed", occurred_at=last),
    )
    catch_up(database)

    found, buckets = volume(connection, moment(connection, None), Filter())

    assert (found, len(buckets)) == (unit, count)
    assert (buckets[0].opened, buckets[0].changes) == (2, 2)
    assert (buckets[-1].opened, buckets[-1].changes) == (0, 1)
    assert sum(one.changes for one in buckets) == 3
    assert all(one.start.hour == 0 for one in buckets)
    chosen = Filter(changed_by="anna", since=FIRST, until=FIRST + timedelta(days=1))
    assert [one[1:] for one in volume(connection, moment(connection, None), chosen)[1]] == [(1, 1)]


def test_nothing_gives_no_buckets(database: Database, connection: psycopg.Connection) -> None:
    del database
    assert volume(connection, moment(connection, None), Filter()) == ("day", [])


def test_the_position_that_a_time_had(database: Database, connection: psycopg.Connection) -> None:
    times = iter(FIRST + timedelta(minutes=number) for number in range(10))
    with writing(database, clock=lambda: next(times)) as writer:
        for number in range(10):
            writer.execute([open_booking(f"b{number}")])

    assert position_at(connection, FIRST) == 0
    assert position_at(connection, FIRST + timedelta(seconds=1)) == 1
    assert position_at(connection, FIRST + timedelta(minutes=4, seconds=30)) == 5
    assert position_at(connection, FIRST + timedelta(days=1)) == 10
