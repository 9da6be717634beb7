"""How many bookings came from one status to another, at once or by others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import psycopg

from projections.analytics.question import SETTINGS, Moment, conditions
from projections.queries import Filter

SEPARATOR = "\x1f"
"""No status holds control characters."""

# Of many bookings few paths are different, so the rest is done here on those.
PATHS = f"""
    WITH path AS (
        SELECT string_agg("toStatus", '{SEPARATOR}' ORDER BY version) AS statuses
        FROM "BookingStatusHistory" WHERE position <= %s{{cohort}} GROUP BY "bookingId"
    )
    SELECT statuses, count(*) FROM path GROUP BY statuses
"""
COHORT = """
    AND "bookingId" IN (
        SELECT entry."bookingId" FROM "BookingStatusHistory" AS entry
        WHERE entry.version = 1 AND entry.position <= %s{where}
    )
"""


class Reached(NamedTuple):
    """A status: how many bookings ever had it, and how many have it now."""

    status: str
    bookings: int
    current: int


class Conversion(NamedTuple):
    """Two statuses: how many bookings had the first, how many of them the second at some time
    after it, and how many the second right after it."""

    from_status: str
    to_status: str
    bookings: int
    converted: int
    direct: int


@dataclass(frozen=True)
class Funnel:
    """`reopened` bookings came back to a status that they had left."""

    bookings: int
    reopened: int
    statuses: Sequence[Reached]
    conversions: Sequence[Conversion]


def funnel(connection: psycopg.Connection, at: Moment, opened: Filter) -> Funnel:
    """Of the bookings whose first entry fits; `opened.status` means: that ever had this status."""
    where, values = conditions(_without_status(opened), "entry")
    cohort: list[Any] = [at.position, *values] if values else []
    statement = PATHS.format(cohort=COHORT.format(where=where) if values else "")
    with connection.transaction():
        connection.execute(SETTINGS)
        rows = connection.execute(statement, [at.position, *cohort]).fetchall()
    paths = {tuple(text.split(SEPARATOR)): count for text, count in rows}
    if opened.status is not None:
        paths = {path: count for path, count in paths.items() if opened.status in path}
    return count_paths(paths)


def count_paths(paths: Mapping[tuple[str, ...], int]) -> Funnel:
    """The funnel of paths and how many bookings have each."""
    reached, current, reopened = Counter[str](), Counter[str](), 0
    later, direct = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for path, count in paths.items():
        statuses = set(path)
        current[path[-1]] += count
        reopened += count if len(path) > len(statuses) else 0
        for status in statuses:
            reached[status] += count
            for after in set(path[path.index(status) + 1 :]) - {status}:
                later[status, after] += count
        for step in set(pairwise(path)):
            direct[step] += count
    return Funnel(
        sum(paths.values()),
        reopened,
        [Reached(status, reached[status], current[status]) for status in sorted(reached)],
        [Conversion(*pair, reached[pair[0]], later[pair], direct[pair]) for pair in sorted(later)],
    )


def _without_status(opened: Filter) -> Filter:
    return Filter(
        booking_id=opened.booking_id,
        changed_by=opened.changed_by,
        since=opened.since,
        until=opened.until,
    )
