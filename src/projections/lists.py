"""Lists of bookings and of the history of all bookings, with filters, page by page."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from projections.queries import Filter, Page, all_of, columns_of, indexed_values
from projections.rows import BookingRow, HistoryRow
from projections.stretches import IN_ORDER, LOOKED_THROUGH, Walk, counts, stretch_of, walk_rarest

TABLE = '"BookingStatusHistory"'
SELECT = f"SELECT {columns_of(HistoryRow)} FROM {TABLE}"

Place = tuple[datetime, int]


class HistoryPage(NamedTuple):
    """Rows in order, and where the next page begins; None where there is nothing more.

    It may have fewer rows than asked for, even none, and a next page all the same.
    """

    rows: Sequence[HistoryRow]
    next: Place | None


def list_bookings(
    connection: psycopg.Connection, chosen: Filter, page: Page
) -> Sequence[BookingRow]:
    """Bookings by the time of their latest change; one more than the page holds, if there is."""
    stretch = stretch_of(page, chosen, ('"updatedAt"', "id"), before_all="")
    asked, values = stretch.asked(("status = %s", chosen.status))
    statement = f'SELECT {columns_of(BookingRow)} FROM "Booking" {asked} LIMIT %s'
    rows = connection.execute(statement.encode(), [*values, page.size + 1])
    return [BookingRow(*row) for row in rows]


def list_history(
    connection: psycopg.Connection,
    chosen: Filter,
    page: Page,
    looked_through: int = LOOKED_THROUGH,
) -> HistoryPage:
    """History rows of all bookings by the time they occurred.

    Each filter has an index in this order, so one of them costs what the page holds. No index
    serves several at once: the rows of one are compared with the others, but only so many of
    them for a page.
    """
    stretch = stretch_of(page, chosen, ('"createdAt"', "position"), before_all=0)
    equal = indexed_values(chosen)
    if chosen.booking_id is not None or len(equal) < 2:
        also = [(f"{column} = %s", value) for column, value in equal]
        asked = stretch.asked(('"bookingId" = %s', chosen.booking_id), *also)
        return _page(_rows(connection, asked, page), page, None)
    with connection.transaction():
        connection.execute(IN_ORDER)
        for count in counts(page.size, looked_through):
            walk = walk_rarest(connection, TABLE, stretch, equal, count)
            rows = _compared(connection, walk, page)
            if walk.end is None or len(rows) > page.size:
                break
    return _page(rows, page, walk.end)


def _rows(
    connection: psycopg.Connection, asked: tuple[str, list[Any]], page: Page
) -> list[tuple[Any, ...]]:
    """One more than the page holds, if there is."""
    conditions, values = asked
    statement = f"{SELECT} {conditions} LIMIT %s"
    return connection.execute(statement.encode(), [*values, page.size + 1]).fetchall()


def _compared(connection: psycopg.Connection, walk: Walk, page: Page) -> list[tuple[Any, ...]]:
    """The rows that are looked through and fit the others too."""
    looked, values = walk.stretch.asked()
    where, others = all_of(walk.others)
    # OFFSET 0 keeps the filters apart. PostgreSQL would rather guess which is the rarest.
    statement = f"SELECT * FROM ({SELECT} {looked} OFFSET 0) AS {TABLE} WHERE {where} LIMIT %s"
    found = connection.execute(statement.encode(), [*values, *others, page.size + 1])
    return found.fetchall()


def _page(rows: Sequence[tuple[Any, ...]], page: Page, end: Place | None) -> HistoryPage:
    found = [HistoryRow(*row) for row in rows[: page.size]]
    if len(rows) > page.size:
        return HistoryPage(found, (found[-1].createdAt, found[-1].position))
    return HistoryPage(found, end)
