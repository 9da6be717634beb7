"""How many changes occurred, over time."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple

import psycopg

from projections.analytics.days import by_days
from projections.analytics.question import Moment, conditions, is_about_somebody
from projections.queries import Filter

Unit = Literal["day", "week", "month"]

DAYS_MAX, WEEKS_MAX = timedelta(days=92), timedelta(days=3 * 365)
VOLUME = """
    SELECT entry."createdAt"::date, count(*), count(*) FILTER (WHERE entry.version = 1)
    FROM "BookingStatusHistory" AS entry WHERE entry.position <= %s{where}
    GROUP BY 1
"""
BY_DAYS = """
    SELECT day, sum(changes)::bigint,
        coalesce(sum(changes) FILTER (WHERE from_status = ''), 0)::bigint
    FROM ({days}) AS days GROUP BY 1
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
    if at.by_days and chosen.from_status is None and not is_about_somebody(chosen):
        days, values = by_days("change", chosen, None, chosen.status)
        rows = connection.execute(BY_DAYS.format(days=days).encode(), values).fetchall()
    else:
        where, given = conditions(chosen, "entry")
        statement = VOLUME.format(where=where).encode()
        rows = connection.execute(statement, [at.position, *given]).fetchall()
    if not rows:
        return "day", []
    return _buckets({day: (opened, changes) for day, changes, opened in rows})


def _buckets(days: Mapping[date, tuple[int, int]]) -> tuple[Unit, Sequence[Bucket]]:
    first, last = min(days), max(days)
    unit: Unit = "month"
    if last - first <= WEEKS_MAX:
        unit = "day" if last - first <= DAYS_MAX else "week"
    counted: dict[date, tuple[int, int]] = {}
    start = beginning(first, unit)
    while start <= last:
        counted[start] = (0, 0)
        start = following(start, unit)
    for day, (opened, changes) in days.items():
        start = beginning(day, unit)
        so_far = counted[start]
        counted[start] = (so_far[0] + opened, so_far[1] + changes)
    return unit, [
        Bucket(datetime(one.year, one.month, one.day), *count)  # noqa: DTZ001  # naive, as in the tables
        for one, count in counted.items()
    ]


def beginning(day: date, unit: Unit) -> date:
    if unit == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if unit == "week" else day


def following(start: date, unit: Unit) -> date:
    """The beginning of the next bucket."""
    if unit == "month":
        return (start.replace(day=1) + timedelta(days=31)).replace(day=1)
    return start + timedelta(days=7 if unit == "week" else 1)
