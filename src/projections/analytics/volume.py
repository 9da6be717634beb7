"""How many changes occurred, over time."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import psycopg

from projections.analytics.question import Moment, conditions
from projections.queries import Filter

Unit = Literal["day", "week", "month"]

DAYS_MAX, WEEKS_MAX = timedelta(days=92), timedelta(days=3 * 365)
SPAN = """
    SELECT min("createdAt"), max("createdAt") FROM "BookingStatusHistory" AS entry
    WHERE true{where}
"""
VOLUME = """
    WITH counted AS (
        SELECT date_trunc(%s, entry."createdAt") AS start, count(*) AS changes,
            count(*) FILTER (WHERE entry.version = 1) AS opened
        FROM "BookingStatusHistory" AS entry WHERE entry.position <= %s{where}
        GROUP BY 1
    )
    SELECT start, coalesce(opened, 0), coalesce(changes, 0)
    FROM (
        SELECT generate_series(min(start), max(start), ('1 ' || %s)::interval) AS start FROM counted
    ) AS every LEFT JOIN counted USING (start)
    ORDER BY start
"""


class Bucket(NamedTuple):
    """A day, a week from Monday on, or a month, by its beginning in UTC (naive)."""

    start: datetime
    opened: int
    changes: int
    """Those that opened a booking included."""


def volume(
    connection: psycopg.Connection, at: Moment, chosen: Filter
) -> tuple[Unit, Sequence[Bucket]]:
    """Changes by when they occurred, without gaps, in the smallest unit that gives some hundred
    numbers at most."""
    where, values = conditions(chosen, "entry")
    row = connection.execute(SPAN.format(where=where).encode(), values).fetchone()
    first, last = row or (None, None)
    if first is None or last is None:
        return "day", []
    unit: Unit = "month"
    if last - first <= WEEKS_MAX:
        unit = "day" if last - first <= DAYS_MAX else "week"
    asked = [unit, at.position, *values, unit]
    rows = connection.execute(VOLUME.format(where=where).encode(), asked)
    return unit, [Bucket(*row) for row in rows]
