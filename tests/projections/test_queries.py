"""What people ask the read model: filters, order, pages, and how fresh it is."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from scenes import change_status, open_booking, projecting, record, stored_events

from ledger.database import Database
from projections.catch_up import catch_up
from projections.queries import (
    Filter,
    Order,
    Page,
    ProjectionBehind,
    list_bookings,
    list_history,
    read_lag,
    wait_until_fresh,
)
from projections.rows import BookingRow, HistoryRow

MAY = datetime(2026, 5, 1, tzinfo=UTC)
ALL = Page(100, "asc")


def day(number: int, microseconds: int = 0) -> datetime:
    return MAY + timedelta(days=number, microseconds=microseconds)


@pytest.fixture
def asked(database: Database, connection: psycopg.Connection) -> psycopg.Connection:
    """Three bookings with five entries on the days 1 to 5."""
    record(
        database,
        open_booking("room-12", occurred_at=day(1, 400), changed_by="ana"),
        open_booking("room-13", "confirmed", occurred_at=day(2)),
        change_status("room-12", "confirmed", occurred_at=day(3), changed_by="ben"),
        open_booking("room-14", occurred_at=day(4), changed_by="ana"),
        change_status("room-13", "in_progress", occurred_at=day(5)),
    )
    catch_up(database)
    return connection


def test_history_is_filtered_and_ordered_by_when_it_occurred(asked: psycopg.Connection) -> None:
    """`since` is inclusive to the millisecond, `until` exclusive."""
    expected = [
        (Filter(), [1, 2, 3, 4, 5]),
        (Filter(booking_id="room-12"), [1, 3]),
        (Filter(booking_id="room-99"), []),
        (Filter(status="pending"), [1, 4]),
        (Filter(from_status="pending"), [3]),
        (Filter(changed_by="ana"), [1, 4]),
        (Filter(since=day(3)), [3, 4, 5]),
        (Filter(until=day(3)), [1, 2]),
        (Filter(since=day(1, 400), until=day(2)), [1]),
        (Filter(since=day(1, 999)), [1, 2, 3, 4, 5]),
        (Filter(since=day(1, 1000)), [2, 3, 4, 5]),
        (Filter(status="confirmed", changed_by="ben", since=day(3), until=day(4)), [3]),
        (Filter(status="confirmed", changed_by="ana"), []),
    ]

    def positions(chosen: Filter, order: Order) -> list[int]:
        return [row.position for row in list_history(asked, chosen, Page(100, order))]

    assert [(chosen, positions(chosen, "asc")) for chosen, _ in expected] == expected
    assert [(chosen, positions(chosen, "desc")[::-1]) for chosen, _ in expected] == expected


def test_bookings_are_filtered_and_ordered_by_their_latest_change(
    asked: psycopg.Connection,
) -> None:
    expected = [
        (Filter(), ["room-12", "room-14", "room-13"]),
        (Filter(status="pending"), ["room-14"]),
        (Filter(status="confirmed"), ["room-12"]),
        (Filter(since=day(4)), ["room-14", "room-13"]),
        (Filter(until=day(4)), ["room-12"]),
        (Filter(status="completed"), []),
    ]

    def booking_ids(chosen: Filter, order: Order) -> list[str]:
        return [row.id for row in list_bookings(asked, chosen, Page(100, order))]

    assert [(chosen, booking_ids(chosen, "asc")) for chosen, _ in expected] == expected
    assert [(chosen, booking_ids(chosen, "desc")[::-1]) for chosen, _ in expected] == expected


def test_rows_come_with_all_their_columns(asked: psycopg.Connection) -> None:
    (booking,) = list_bookings(asked, Filter(status="confirmed"), ALL)
    first, _ = list_history(asked, Filter(booking_id="room-12"), ALL)

    assert isinstance(first, HistoryRow)
    assert (first.bookingId, first.fromStatus, first.toStatus) == ("room-12", None, "pending")
    assert (first.changedBy, first.version, first.position) == ("ana", 1, 1)
    assert booking == BookingRow(
        "room-12", "confirmed", 2, day(1).replace(tzinfo=None), day(3).replace(tzinfo=None), 3
    )


# --- pages ------------------------------------------------------------------------------------


def history_key(row: HistoryRow) -> tuple[datetime, int | str]:
    return row.createdAt, row.position


def booking_key(row: BookingRow) -> tuple[datetime, int | str]:
    return row.updatedAt, row.id


def walk(
    list_: Callable[[Page], Sequence[Any]], key: Callable[[Any], Any], page: Page
) -> list[Any]:
    """All rows, page by page, as a client with cursors gets them."""
    rows: list[Any] = []
    while True:
        found = list_(page)
        assert len(found) <= page.size + 1
        rows += found[: page.size]
        if len(found) <= page.size:
            return rows
        page = Page(page.size, page.order, key(rows[-1]))


def test_pages_visit_each_row_once_also_where_times_are_equal(
    database: Database, connection: psycopg.Connection
) -> None:
    """17 bookings of which 12 changed in the same millisecond."""
    times = [day(1, number % 5) if number < 12 else day(number) for number in range(17)]
    record(
        database,
        *(open_booking(f"Room-{n % 2}-{n}", occurred_at=t) for n, t in enumerate(times)),
    )
    catch_up(database)

    # Whatever the plan: without an index, nothing but ORDER BY tells equal times apart.
    connection.execute("SET enable_indexscan = off")
    connection.execute("SET enable_bitmapscan = off")
    every_entry = list_history(connection, Filter(), ALL)
    every_booking = list_bookings(connection, Filter(), ALL)
    assert every_entry == sorted(every_entry, key=history_key)
    assert every_booking == sorted(every_booking, key=booking_key)
    assert len({row.id for row in every_entry}) == len({row.id for row in every_booking}) == 17

    def entries(page: Page) -> Sequence[HistoryRow]:
        return list_history(connection, Filter(status="pending"), page)

    def bookings(page: Page) -> Sequence[BookingRow]:
        return list_bookings(connection, Filter(), page)

    for size in (1, 3, 10):
        assert walk(entries, history_key, Page(size, "asc")) == every_entry
        assert walk(entries, history_key, Page(size, "desc")) == every_entry[::-1]
        assert walk(bookings, booking_key, Page(size, "asc")) == every_booking
        assert walk(bookings, booking_key, Page(size, "desc")) == every_booking[::-1]


def test_what_arrives_while_one_pages_is_not_seen_twice(
    database: Database, asked: psycopg.Connection
) -> None:
    first = list_history(asked, Filter(), Page(2, "desc"))[:2]
    record(database, change_status("room-14", "confirmed", occurred_at=day(6)))
    catch_up(database)

    rest = list_history(asked, Filter(), Page(10, "desc", history_key(first[-1])))

    assert [row.position for row in (*first, *rest)] == [5, 4, 3, 2, 1]


# --- how fresh --------------------------------------------------------------------------------


def test_g5_whoever_waits_sees_what_was_committed_before(
    database: Database, connection: psycopg.Connection
) -> None:
    with projecting(database):
        for number in range(20):
            (opened,) = record(database, open_booking(f"room-{number}"))
            assert wait_until_fresh(connection) >= opened.position
            assert list_history(connection, Filter(booking_id=f"room-{number}"), ALL)


def test_the_wait_ends_when_a_projector_comes(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"))

    with projecting(database):
        assert wait_until_fresh(connection, 20) == 1


def test_an_empty_ledger_is_fresh(connection: psycopg.Connection) -> None:
    assert wait_until_fresh(connection, 0) == 0


def test_without_a_projector_the_wait_ends_with_both_positions(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"))
    catch_up(database)
    record(database, *(open_booking(f"room-{n}") for n in range(3)))
    started = time.monotonic()

    with pytest.raises(ProjectionBehind) as behind:
        wait_until_fresh(connection, 0.2)

    assert (behind.value.position, behind.value.head) == (1, 4)
    assert "position 1" in str(behind.value)
    assert "at 4" in str(behind.value)
    assert 0.2 <= time.monotonic() - started < 2


def test_lag_counts_events_and_the_age_of_the_oldest(
    database: Database, connection: psycopg.Connection
) -> None:
    assert read_lag(connection).events == 0
    assert read_lag(connection).seconds == 0
    record(database, open_booking("room-12", occurred_at=day(-9)), open_booking("room-13"))

    lag = read_lag(connection)

    ((*_, oldest), _) = stored_events(connection)
    age = datetime.now(UTC) - datetime.fromisoformat(oldest["timestamp"])
    assert (lag.position, lag.head, lag.events, lag.failure) == (0, 2, 2, None)
    assert 0 < lag.seconds <= age.total_seconds() < 60


def test_a_read_model_that_was_never_set_up_is_said_to_be(
    database: Database, connection: psycopg.Connection
) -> None:
    connection.execute("DELETE FROM projection")

    assert read_lag(connection).failure == "it was never set up"


# --- plans ------------------------------------------------------------------------------------

TWENTY_THOUSAND = """
    INSERT INTO "Booking"
    SELECT 'b' || n, 's' || n % 100, 1, t, t, n
    FROM generate_series(1, 20000) AS n, LATERAL (
        SELECT timestamp '2026-01-01' + n * interval '1 minute') AS at (t);
    INSERT INTO "BookingStatusHistory"
    SELECT gen_random_uuid(), 'b' || n, 'f' || n % 100, 's' || n % 100, 'u' || n % 100, NULL, NULL,
        t, 1, n, t, 'system', 'test', NULL, false
    FROM generate_series(1, 20000) AS n, LATERAL (
        SELECT timestamp '2026-01-01' + n * interval '1 minute') AS at (t);
    ANALYZE "Booking", "BookingStatusHistory";
"""


class Explaining(psycopg.Connection):
    """Remembers the plan of each statement before it runs it."""

    plan = ""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        lines = super().execute(f"EXPLAIN {query}", params).fetchall()
        self.plan = "\n".join(line for (line,) in lines)
        return super().execute(query, params, **options)


HISTORY_FILTERS = (
    Filter(booking_id="b77"),
    Filter(status="s7"),
    Filter(from_status="f7"),
    Filter(changed_by="u7"),
    Filter(since=datetime(2026, 1, 14, tzinfo=UTC)),
    Filter(until=datetime(2026, 1, 2, tzinfo=UTC)),
    Filter(),
)
BOOKING_FILTERS = (
    Filter(status="s7"),
    Filter(since=datetime(2026, 1, 14, tzinfo=UTC)),
    Filter(until=datetime(2026, 1, 2, tzinfo=UTC)),
    Filter(),
)


def test_every_single_filter_is_served_by_an_index_in_its_order(database: Database) -> None:
    """At the beginning and further on, both ways, nothing is scanned whole and nothing sorted,
    but for the few rows of one booking."""
    middle = datetime(2026, 1, 8)  # noqa: DTZ001
    with Explaining.connect(database.conninfo, autocommit=True) as connection:
        psycopg.Connection.execute(connection, TWENTY_THOUSAND)
        for order in ("asc", "desc"):
            for after in (None, middle):
                for chosen in HISTORY_FILTERS:
                    page = Page(50, order, None if after is None else (after, 10_000))
                    list_history(connection, chosen, page)
                    assert_indexed(connection.plan, sorts=chosen.booking_id is not None)
                for chosen in BOOKING_FILTERS:
                    page = Page(50, order, None if after is None else (after, "b10000"))
                    list_bookings(connection, chosen, page)
                    assert_indexed(connection.plan, sorts=False)


def assert_indexed(plan: str, *, sorts: bool) -> None:
    assert "Index" in plan, plan
    assert "Seq Scan" not in plan, plan
    assert sorts or "Sort" not in plan, plan
