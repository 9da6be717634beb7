"""Find bookings: by the beginning of their id, by what they are, or by a change that they had."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from projections.queries import (
    Condition,
    Filter,
    Page,
    all_of,
    history_conditions,
    indexed_values,
)
from projections.rows import BookingRow, milliseconds
from projections.stretches import IN_ORDER, LOOKED_THROUGH, Walk, counts, stretch_of, walk_rarest

LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True)
class Search:
    """What is looked for; None asks nothing. `since` is inclusive, `until` exclusive.

    With `changed_by`, `from_status` or `to_status` these bound the change that they describe,
    with `any_change` any change, else the latest change of the booking.
    """

    prefix: str | None = None
    status: str | None = None
    changed_by: str | None = None
    from_status: str | None = None
    to_status: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    any_change: bool = False

    @property
    def of_change(self) -> bool:
        return self.any_change or (self.changed_by, self.from_status, self.to_status) != (
            None,
            None,
            None,
        )

    @property
    def times(self) -> Filter:
        return Filter(since=self.since, until=self.until)

    @property
    def change(self) -> Filter:
        return Filter(
            status=self.to_status,
            from_status=self.from_status,
            changed_by=self.changed_by,
            since=self.since,
            until=self.until,
        )


class Found(NamedTuple):
    """A booking, who changed it last and why, and its place in the list: a time and a tie-breaker.

    The time is that of the change which was looked for, the latest of them; without one, of the
    booking's latest change.
    """

    booking: BookingRow
    changed_by: str | None
    reason: str | None
    at: datetime
    tie_breaker: int | str


Place = tuple[datetime, int | str]


class FoundPage(NamedTuple):
    """Bookings in order, and where the next page begins; None where there is nothing more.

    It may have fewer than asked for, even none, and a next page all the same.
    """

    found: Sequence[Found]
    next: Place | None


_BOOKING = ", ".join(f'booking."{name}"' for name in BookingRow._fields)
_BY_LATEST = f'SELECT {_BOOKING}, "updatedAt" AS at, id AS tie FROM "Booking" AS booking'
_LATEST_KEY = ('"updatedAt"', "id")
_CHANGE = '"BookingStatusHistory" AS change'
_CHANGE_KEY = ('change."createdAt"', "change.position")
_NEWEST_FIRST = "at DESC, tie DESC"
# Only the rows of the page are joined with their latest change.
_WITH_LATEST = """
    WITH found AS ({found} LIMIT %s)
    SELECT found.*, latest."changedBy", latest.reason
    FROM found JOIN "BookingStatusHistory" AS latest
        ON latest."bookingId" = found.id AND latest.version = found.version
    ORDER BY {order}
"""
# A booking is shown at the latest of the changes that were looked for: at the first that is met.
# OFFSET 0, here and below: what is met is looked up one by one; never is a whole table joined.
_OF_CHANGES = """
    SELECT {booking}, met."createdAt" AS at, met.position AS tie
    FROM (
        SELECT DISTINCT ON (change."bookingId") change.*
        FROM (SELECT * FROM {change} {walked} OFFSET 0) AS change
        {compared}
        ORDER BY change."bookingId", change."createdAt" DESC, change.position DESC
    ) AS met
    CROSS JOIN LATERAL (SELECT * FROM "Booking" WHERE id = met."bookingId" OFFSET 0) AS booking
    WHERE {asked}
    ORDER BY at DESC, tie DESC
"""


def find_bookings(
    connection: psycopg.Connection,
    search: Search,
    size: int,
    after: Place | None = None,
    looked_through: int = LOOKED_THROUGH,
) -> FoundPage:
    """By id where its beginning is given, else the newest change first.

    Each walks an index from where the page before ended. What that index does not answer is asked
    of its rows one by one, but only of so many for a page.
    """
    if not search.of_change and search.prefix is None:
        rows = _page_of_latest(connection, search, size, after)
        return _page(rows, size, None)
    with connection.transaction():
        connection.execute(IN_ORDER)
        for count in counts(size, looked_through):
            if search.prefix is None:
                rows, end = _by_change(connection, search, size, after, count)
            else:
                rows, end = _by_id(connection, search, search.prefix, size, after, count)
            if end is None or len(rows) > size:
                break
    return _page(rows, size, end)


def _page(rows: Sequence[Found], size: int, end: Place | None) -> FoundPage:
    found = rows[:size]
    return FoundPage(found, (found[-1].at, found[-1].tie_breaker) if len(rows) > size else end)


def _page_of_latest(
    connection: psycopg.Connection, search: Search, size: int, after: Place | None
) -> Sequence[Found]:
    """One more than the page holds, if there is."""
    stretch = stretch_of(Page(size, "desc", after), search.times, _LATEST_KEY, before_all="")
    asked, values = stretch.asked(("status = %s", search.status))
    return _found(connection, f"{_BY_LATEST} {asked}", values, _NEWEST_FIRST, size)


def _by_id(
    connection: psycopg.Connection,
    search: Search,
    prefix: str,
    size: int,
    after: Place | None,
    count: int,
) -> tuple[Sequence[Found], Place | None]:
    """Among so many bookings whose id begins so; and the last of these, if there are so many."""
    ids = _where(
        [
            ("id >= %s", prefix),
            ("id < %s", after_all(prefix)),
            ("id > %s", None if after is None else after[1]),
        ]
    )
    last = 'SELECT "updatedAt", id FROM "Booking" {} ORDER BY id OFFSET %s LIMIT 1'
    end = connection.execute(last.format(ids[0]).encode(), [*ids[1], count - 1]).fetchone()
    conditions = [("id <= %s", None if end is None else end[1])]
    exists: tuple[str, list[Any]] = ("", [])
    if search.of_change:
        conditions.append(("status = %s", search.status))
        of_booking = history_conditions(search.change, "change")
        some, values = _where([('change."bookingId" = booking.id', ()), *of_booking])
        exists = f"AND EXISTS (SELECT FROM {_CHANGE} {some} OFFSET 0)", values
    else:
        conditions += _booking_conditions(search)
    asked, values = all_of(conditions)
    every = f"{_BY_LATEST} {ids[0]}{' AND ' if asked else ''}{asked} {exists[0]} ORDER BY id"
    rows = _found(connection, every, [*ids[1], *values, *exists[1]], "id", size)
    return rows, None if end is None else (end[0], end[1])


def _by_change(
    connection: psycopg.Connection, search: Search, size: int, after: Place | None, count: int
) -> tuple[Sequence[Found], Place | None]:
    """Of so many changes that fit; and where these end, if there are so many."""
    page = Page(size, "desc", after)
    stretch = stretch_of(page, search.times, _CHANGE_KEY, before_all=0)
    equal = indexed_values(search.change, "change")
    walk = walk_rarest(connection, _CHANGE, stretch, equal, count)
    statement, values = _of_changes(search, walk, after)
    return _found(connection, statement, values, _NEWEST_FIRST, size), walk.end


def _of_changes(search: Search, walk: Walk, after: Place | None) -> tuple[str, list[Any]]:
    walked, values = walk.stretch.asked()
    compared, compared_values = _where(walk.others)
    asked, asked_values = all_of([("booking.status = %s", search.status)])
    if after is not None:
        # It was on a page before, at a later change.
        earlier = [
            ('earlier."bookingId" = met."bookingId"', ()),
            ('(earlier."createdAt", earlier.position) >= (%s, %s)', after),
        ]
        met, met_values = _where([*earlier, *history_conditions(search.change, "earlier")])
        met = f'NOT EXISTS (SELECT FROM "BookingStatusHistory" AS earlier {met} OFFSET 0)'
        asked = f"{asked} AND {met}" if asked else met
        asked_values += met_values
    statement = _OF_CHANGES.format(
        booking=_BOOKING,
        change=_CHANGE,
        walked=walked,
        compared=compared,
        asked=asked or "true",
    )
    return statement, [*values, *compared_values, *asked_values]


def _found(
    connection: psycopg.Connection, found: str, values: Sequence[Any], order: str, size: int
) -> Sequence[Found]:
    """One more than the page holds, if there is."""
    statement = _WITH_LATEST.format(found=found, order=order)
    width = len(BookingRow._fields)
    rows = connection.execute(statement.encode(), [*values, size + 1])
    return [
        Found(BookingRow(*row[:width]), row[width + 2], row[width + 3], row[width], row[width + 1])
        for row in rows
    ]


def _booking_conditions(search: Search) -> list[Condition]:
    return [
        ("status = %s", search.status),
        ('"updatedAt" >= %s', None if search.since is None else milliseconds(search.since)),
        ('"updatedAt" < %s', None if search.until is None else milliseconds(search.until)),
    ]


def _where(conditions: Sequence[Condition]) -> tuple[str, list[Any]]:
    """The conditions that ask something, and their values."""
    where, values = all_of(conditions)
    return (f"WHERE {where}" if where else ""), values


def after_all(prefix: str) -> str | None:
    """The first text, in the order of code points, that comes after all with this beginning.

    None where there is none.
    """
    kept = prefix.rstrip(LAST_CHARACTER)
    if not kept:
        return None
    successor = ord(kept[-1]) + 1
    if 0xD800 <= successor <= 0xDFFF:  # no characters, but halves of such
        successor = 0xE000
    return kept[:-1] + chr(successor)
