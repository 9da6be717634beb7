"""Find bookings: by the beginning of their id, by what they are, or by a change that they had."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from projections.queries import Condition, Filter, all_of, history_conditions
from projections.rows import BookingRow, milliseconds

LOOKED_THROUGH = 10_000
"""Changes that are looked through one by one for bookings with a status, before all are."""
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

_NEWEST_FIRST = "at DESC, tie DESC"
_BOOKING = ", ".join(f'booking."{name}"' for name in BookingRow._fields)
# Only the rows of the page are joined with their latest change.
_WITH_LATEST = """
    WITH found AS ({found})
    SELECT found.*, latest."changedBy", latest.reason
    FROM found JOIN "BookingStatusHistory" AS latest
        ON latest."bookingId" = found.id AND latest.version = found.version
    ORDER BY {order}
"""


def find_bookings(
    connection: psycopg.Connection, search: Search, size: int, after: Place | None = None
) -> Sequence[Found]:
    """One more than the page holds, if there is: by id where its beginning is given, else the
    newest change first. Each of these walks an index from where the page before ended.

    The exception is a change and a status now that few bookings have together: when the newest
    changes do not fill the page, all of that kind are put beside all bookings of that status.
    """
    if search.prefix is not None:
        return _page(connection, _by_id(search, search.prefix, after), "id", size)
    if not search.of_change:
        return _page(connection, _by_latest(search, after), _NEWEST_FIRST, size)
    if search.status is not None:
        rows = _page(connection, _by_change(search, after, LOOKED_THROUGH), _NEWEST_FIRST, size)
        if len(rows) > size:
            return rows
        found, values = _by_change(search, after)
        # For all of them, not for the first few, PostgreSQL is to find the best way.
        found = f"SELECT * FROM ({found} OFFSET 0) AS every"
        return _page(connection, (found, values), _NEWEST_FIRST, size)
    return _page(connection, _by_change(search, after), _NEWEST_FIRST, size)


def _page(
    connection: psycopg.Connection, asked: tuple[str, list[Any]], order: str, size: int
) -> Sequence[Found]:
    found, values = asked
    statement = _WITH_LATEST.format(found=f"{found} ORDER BY {order} LIMIT %s", order=order)
    width = len(BookingRow._fields)
    rows = connection.execute(statement.encode(), [*values, size + 1])
    return [
        Found(BookingRow(*row[:width]), row[width + 2], row[width + 3], row[width], row[width + 1])
        for row in rows
    ]


def _by_latest(search: Search, after: Place | None) -> tuple[str, list[Any]]:
    found = f'SELECT {_BOOKING}, "updatedAt" AS at, id AS tie FROM "Booking" AS booking'
    conditions = _booking_conditions(search)
    if after is not None:
        conditions.append(('("updatedAt", id) < (%s, %s)', after))
    return _where(found, conditions)


def _by_id(search: Search, prefix: str, after: Place | None) -> tuple[str, list[Any]]:
    found = f'SELECT {_BOOKING}, "updatedAt" AS at, id AS tie FROM "Booking" AS booking'
    conditions: list[Condition] = [("id >= %s", prefix)]
    end = after_all(prefix)
    if end is not None:
        conditions.append(("id < %s", end))
    if after is not None:
        conditions.append(("id > %s", after[1]))
    if not search.of_change:
        return _where(found, conditions + _booking_conditions(search))
    some, values = _where(
        'SELECT FROM "BookingStatusHistory" AS change WHERE change."bookingId" = booking.id',
        history_conditions(search.change, "change"),
    )
    conditions.append(("status = %s", search.status))
    statement, given = _where(found, conditions)
    return f"{statement} AND EXISTS ({some})", [*given, *values]


def _by_change(
    search: Search, after: Place | None, newest: int | None = None
) -> tuple[str, list[Any]]:
    """Changes that fit, but of each booking only the latest of them. With `newest`, so many
    changes at most are looked at."""
    conditions = history_conditions(search.change, "change")
    if after is not None:
        conditions.append(('(change."createdAt", change.position) < (%s, %s)', after))
    changes, values = _where('SELECT * FROM "BookingStatusHistory" AS change', conditions)
    if newest is not None:
        changes += ' ORDER BY change."createdAt" DESC, change.position DESC LIMIT %s'
        values.append(newest)
    found = f"""
        SELECT {_BOOKING}, change."createdAt" AS at, change.position AS tie
        FROM ({changes}) AS change JOIN "Booking" AS booking ON booking.id = change."bookingId"
        WHERE true
    """
    if search.status is not None:
        found += " AND booking.status = %s"
        values.append(search.status)
    same = 'later."bookingId" = change."bookingId"'
    later, later_values = _where(
        f'SELECT FROM "BookingStatusHistory" AS later WHERE {same}',
        history_conditions(search.change, "later"),
    )
    newer = '(later."createdAt", later.position) > (change."createdAt", change.position)'
    found += f" AND NOT EXISTS ({later} AND {newer})"
    return found, [*values, *later_values]


def _booking_conditions(search: Search) -> list[Condition]:
    return [
        ("status = %s", search.status),
        ('"updatedAt" >= %s', None if search.since is None else milliseconds(search.since)),
        ('"updatedAt" < %s', None if search.until is None else milliseconds(search.until)),
    ]


def _where(select: str, conditions: Sequence[Condition]) -> tuple[str, list[Any]]:
    """A statement with the conditions that ask something, and their values."""
    where, values = all_of(conditions)
    begun = "AND" if " WHERE " in select else "WHERE"
    return (f"{select} {begun} {where}" if where else select), values


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
