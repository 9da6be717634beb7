"""The history of all bookings, with filters, page by page, at a cost that has a bound."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from projections.queries import (
    Condition,
    Filter,
    Page,
    columns_of,
    history_conditions,
    in_order,
)
from projections.rows import HistoryRow

LOOKED_THROUGH = 10_000
"""Rows of one filter that are compared with the other filters for a page."""

FEW = 20
"""By how much fewer are tried at first."""

IN_ORDER = "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off"
"""The indexes have the order. Where PostgreSQL expects few rows it would read and sort all."""

KEY = ('"createdAt"', "position")
TABLE = '"BookingStatusHistory"'
SELECT = f"SELECT {columns_of(HistoryRow)} FROM {TABLE}"

Place = tuple[datetime, int]


class HistoryPage(NamedTuple):
    """Rows in order, and where the next page begins; None where there is nothing more.

    It may have fewer rows than asked for, even none, and a next page all the same.
    """

    rows: Sequence[HistoryRow]
    next: Place | None


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
    conditions = history_conditions(chosen)
    of_booking, *equal, since, until = conditions
    equal = [condition for condition in equal if condition[1] is not None]
    if of_booking[1] is not None or len(equal) < 2:
        asked, values = in_order(conditions, KEY, page)
        found = connection.execute(f"{SELECT} {asked} LIMIT %s".encode(), [*values, page.size + 1])
        return _page(found.fetchall(), page, None)
    # Mostly many have both, and the first few fill the page.
    few = min(looked_through, max(looked_through // FEW, 2 * page.size))
    with connection.transaction():
        connection.execute(IN_ORDER)
        rows, end = _look_through(connection, equal, [since, until], page, few)
        if end is not None and len(rows) <= page.size and few < looked_through:
            rows, end = _look_through(connection, equal, [since, until], page, looked_through)
    return _page(rows, page, end)


def _look_through(
    connection: psycopg.Connection,
    equal: Sequence[Condition],
    times: Sequence[Condition],
    page: Page,
    count: int,
) -> tuple[list[Any], Place | None]:
    """The rows of a page among so many of one filter, and the last of these if there are so
    many."""
    ends = [_end(connection, [one, *times], page, count) for one in equal]
    reached = [place for place in ends if place is not None]
    # The rarest takes us furthest; or to the end, with fewer rows than may be looked through.
    end = None if None in ends else max(reached) if page.order == "asc" else min(reached)
    one = equal[ends.index(end)]
    compare = "<=" if page.order == "asc" else ">="
    up_to = (f"({', '.join(KEY)}) {compare} (%s, %s)", end)
    others = [other for other in equal if other is not one]
    return _compared(connection, [one, *times, up_to], others, page), end


def _end(
    connection: psycopg.Connection, conditions: list[Condition], page: Page, count: int
) -> Place | None:
    """The last of so many rows of one filter; None where it has fewer."""
    asked, values = in_order(conditions, KEY, page)
    statement = f"SELECT {', '.join(KEY)} FROM {TABLE} {asked} OFFSET %s LIMIT 1"
    return connection.execute(statement.encode(), [*values, count - 1]).fetchone()


def _compared(
    connection: psycopg.Connection, one: list[Condition], others: list[Condition], page: Page
) -> list[Any]:
    """The rows of one filter that fit the others too."""
    looked, values = in_order(one, KEY, page)
    asked, more_values = in_order(others, KEY, Page(page.size, page.order))
    # OFFSET 0 keeps the filters apart. PostgreSQL would rather guess which is the rarest.
    statement = f"SELECT * FROM ({SELECT} {looked} OFFSET 0) AS {TABLE} {asked} LIMIT %s"
    found = connection.execute(statement.encode(), [*values, *more_values, page.size + 1])
    return found.fetchall()


def _page(rows: Sequence[tuple[Any, ...]], page: Page, end: Place | None) -> HistoryPage:
    found = [HistoryRow(*row) for row in rows[: page.size]]
    if len(rows) > page.size:
        return HistoryPage(found, (found[-1].createdAt, found[-1].position))
    return HistoryPage(found, end)
