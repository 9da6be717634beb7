"""What people ask the read model: filters, order, pages, and how fresh it is."""

import itertools
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from plans import TWENTY_THOUSAND, Explaining, assert_indexed, rows_at_most
from scenes import change_status, open_booking, projecting, record, stored_events

from ledger.database import Database
from projections.catch_up import catch_up
from projections.lists import list_bookings, list_history
from projections.queries import (
    Filter,
    Order,
    Page,
    ProjectionBehind,
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
        return [row.position for row in list_history(asked, chosen, Page(100, order)).rows]

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
    first, _ = list_history(asked, Filter(booking_id="room-12"), ALL).rows

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


def walk_history(
    connection: psycopg.Connection, chosen: Filter, page: Page, **options: int
) -> list[HistoryRow]:
    rows: list[HistoryRow] = []
    while True:
        found = list_history(connection, chosen, page, **options)
        assert len(found.rows) <= page.size
        rows += found.rows
        if found.next is None:
            return rows
        assert page.after != found.next
        page = Page(page.size, page.order, found.next)


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
    every_entry = list_history(connection, Filter(), ALL).rows
    every_booking = list_bookings(connection, Filter(), ALL)
    assert every_entry == sorted(every_entry, key=history_key)
    assert every_booking == sorted(every_booking, key=booking_key)
    assert len({row.id for row in every_entry}) == len({row.id for row in every_booking}) == 17

    def bookings(page: Page) -> Sequence[BookingRow]:
        return list_bookings(connection, Filter(), page)

    for size in (1, 3, 10):
        entries = walk_history(connection, Filter(status="pending"), Page(size, "asc"))
        assert entries == every_entry
        entries = walk_history(connection, Filter(status="pending"), Page(size, "desc"))
        assert entries == every_entry[::-1]
        assert walk(bookings, booking_key, Page(size, "asc")) == every_booking
        assert walk(bookings, booking_key, Page(size, "desc")) == every_booking[::-1]


def test_what_arrives_while_one_pages_is_not_seen_twice(
    database: Database, asked: psycopg.Connection
) -> None:
    first = list_history(asked, Filter(), Page(2, "desc")).rows
    record(database, change_status("room-14", "confirmed", occurred_at=day(6)))
    catch_up(database)

    rest = list_history(asked, Filter(), Page(10, "desc", history_key(first[-1]))).rows

    assert [row.position for row in (*first, *rest)] == [5, 4, 3, 2, 1]


SEVERAL = [
    {name: value for name, value in given.items() if value is not None}
    for given in (
        {"status": status, "from_status": from_status, "changed_by": changed_by}
        for status in (None, "confirmed")
        for from_status in (None, "pending")
        for changed_by in (None, "ana", "ben", "nobody")
    )
]


@pytest.mark.parametrize("looked_through", [1, 3, 7])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_of_several_filters_visit_each_row_once_however_few_are_looked_through(
    database: Database, connection: psycopg.Connection, order: Order, looked_through: int
) -> None:
    """24 bookings; times that are equal, two who change in turns, and one who rarely does."""
    changes = [
        open_booking(f"room-{n}", occurred_at=day(n % 5), changed_by="ana") for n in range(24)
    ]
    for n in range(24):
        who = "ben" if n % 11 == 0 else ("ana", "cem")[n % 2]
        occurred = day(5 + n % 3)
        changes += [change_status(f"room-{n}", "confirmed", occurred_at=occurred, changed_by=who)]
    record(database, *changes)
    catch_up(database)
    every = list_history(connection, Filter(), Page(100, order)).rows

    for given in SEVERAL:
        for since, until in ((None, None), (day(2), day(6))):
            expected = [
                row
                for row in every
                if given.get("status") in (None, row.toStatus)
                and given.get("from_status") in (None, row.fromStatus)
                and given.get("changed_by") in (None, row.changedBy)
                and (since is None or row.createdAt >= since.replace(tzinfo=None))
                and (until is None or row.createdAt < until.replace(tzinfo=None))
            ]
            chosen = Filter(**given, since=since, until=until)
            for size in (1, 4, 100):
                page = Page(size, order)
                found = walk_history(connection, chosen, page, looked_through=looked_through)
                assert found == expected, (given, since, size)


class Arriving(psycopg.Connection):
    """Something new arrives after each of its statements."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        rows = super().execute(query, params, **options)
        number = next(self.numbers)
        with psycopg.connect(self.info.dsn, options="-c search_path=ledger") as other:
            other.execute(ONE_MORE, (number, number))
        return rows

    numbers = itertools.count(100)


ONE_MORE = """
    INSERT INTO "BookingStatusHistory"
    SELECT gen_random_uuid(), 'room-0', 'pending', 'confirmed', 'ana', NULL, NULL,
        timestamp '2026-06-01', %s, %s, timestamp '2026-06-01', 'system', 'test', NULL, false
"""


def test_what_arrives_while_one_looks_through_hides_nothing(
    database: Database, connection: psycopg.Connection
) -> None:
    changes = [open_booking(f"room-{n}", occurred_at=day(n), changed_by="ana") for n in range(9)]
    changes += [
        change_status(f"room-{n}", "confirmed", occurred_at=day(9 + n), changed_by="ana")
        for n in range(9)
    ]
    record(database, *changes)
    catch_up(database)
    chosen = Filter(from_status="pending", changed_by="ana")

    with Arriving.connect(database.conninfo, autocommit=True) as arriving:
        found = walk_history(arriving, chosen, Page(2, "desc"), looked_through=4)

    known = [row.position for row in found if row.position < 100]
    assert known == list(range(18, 9, -1))


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


def test_to_wait_for_a_position_does_not_wait_for_more(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("1"))
    catch_up(database)
    record(database, open_booking("2"))

    assert wait_until_fresh(connection, 0.01, newest=1) == 1
    with pytest.raises(ProjectionBehind):
        wait_until_fresh(connection, 0.01, newest=2)


# --- plans ------------------------------------------------------------------------------------

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


def test_a_page_of_several_filters_looks_at_so_many_rows_at_most(database: Database) -> None:
    """Of two that many rows have, and none both."""
    middle = datetime(2026, 1, 8)  # noqa: DTZ001
    chosen = Filter(status="s7", changed_by="u8")
    with Explaining.connect(database.conninfo, autocommit=True) as connection:
        psycopg.Connection.execute(connection, TWENTY_THOUSAND)
        for order in ("asc", "desc"):
            for after in (None, (middle, 10_000)):
                found = list_history(connection, chosen, Page(50, order, after), looked_through=20)

                assert found.rows == []
                assert found.next is not None
                assert_indexed(connection.plan, sorts=False)
                assert connection.rows_read == 20


BURST = """
    INSERT INTO "BookingStatusHistory"
    SELECT gen_random_uuid(), 'b1', 'f1', 's7', 'u7', NULL, NULL,
        t, n, n, t, 'system', 'test', NULL, false
    FROM generate_series(30001, 35000) AS n, LATERAL (
        SELECT timestamp '2026-01-08' + n * interval '1 millisecond') AS at (t)
"""


def test_also_where_more_rows_are_than_expected_only_so_many_are_looked_at(
    database: Database,
) -> None:
    """5,000 of one person within seconds, of which no statistic tells."""
    chosen = Filter(status="s7", from_status="f2", changed_by="u7")
    with Explaining.connect(database.conninfo, autocommit=True) as connection:
        psycopg.Connection.execute(connection, TWENTY_THOUSAND)
        psycopg.Connection.execute(connection, BURST)
        for order in ("asc", "desc"):
            list_history(connection, chosen, Page(5, order), looked_through=1_000)

    assert len(connection.plans) > 4
    for plan in connection.plans:
        assert rows_at_most(plan) <= 1_000, plan


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_rarest_of_several_filters_is_looked_through(
    database: Database, connection: psycopg.Connection, order: Order
) -> None:
    connection.execute(TWENTY_THOUSAND.encode())
    connection.execute('UPDATE "BookingStatusHistory" SET "fromStatus" = \'all\'')
    chosen = Filter(status="s7", from_status="all", changed_by="u8")

    found = list_history(connection, chosen, Page(50, order), looked_through=20)

    assert found.next is not None
    begin = 0 if order == "asc" else 20_000
    assert 1_900 < abs(found.next[1] - begin) < 2_100, "one in a hundred, and not all"
