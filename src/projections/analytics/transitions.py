"""How often bookings went from one status to another, and how long they had the first."""

from collections.abc import Sequence
from datetime import date
from typing import Literal, NamedTuple

import psycopg

from projections.analytics.days import by_days
from projections.analytics.question import (
    MILLISECONDS,
    SETTINGS,
    Moment,
    conditions,
    is_about_somebody,
    settings,
)
from projections.queries import Filter

GroupBy = Literal["day", "changedBy"]

_DURATION = MILLISECONDS.format(end='entry."createdAt"', start='before."createdAt"')

# First entries have no duration; left out of the join, they need not be looked for in it.
# OFFSET 0 keeps a duration from being worked out anew for each figure.
TRANSITIONS = f"""
    SELECT grouped, "fromStatus", "toStatus", count(*),
        sum(duration::bigint)::bigint, min(duration)::bigint, max(duration)::bigint,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY duration)
    FROM (
        SELECT {{group}} AS grouped, entry."fromStatus", entry."toStatus", {_DURATION} AS duration
        FROM "BookingStatusHistory" AS entry
        JOIN "BookingStatusHistory" AS before
            ON before."bookingId" = entry."bookingId" AND before.version = entry.version - 1
        WHERE entry.version > 1 AND entry.position <= %s{{where}}
        OFFSET 0
    ) AS change
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT {{group}}, NULL, entry."toStatus", count(*), NULL, NULL, NULL, NULL
    FROM "BookingStatusHistory" AS entry
    WHERE entry.version = 1 AND entry.position <= %s{{where}}
    GROUP BY 1, 2, 3
"""
# A median for each pair is found quicker by itself than by sorting with the statuses; for each day
# and pair there are too many.
BY_DAYS = """
    WITH days AS ({days}), pair AS (
        SELECT {group} AS grouped, from_status, to_status, sum(changes)::bigint AS changes,
            sum(total)::bigint AS total, min(shortest) AS shortest, max(longest) AS longest
        FROM days GROUP BY 1, 2, 3
    ){medians}
    SELECT grouped, nullif(from_status, ''), to_status, changes, total, shortest, longest, {median}
    FROM {pairs}
"""
MEDIAN_OF_ALL = """(
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY duration) FROM (
            SELECT unnest(durations) AS duration FROM days
            WHERE (days.from_status, days.to_status) = (pair.from_status, pair.to_status)
        ) AS one
    )"""
MEDIANS_BY_DAY = """, medians AS (
        SELECT day AS grouped, from_status, to_status,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY duration) AS median
        FROM days, unnest(durations) AS duration GROUP BY 1, 2, 3
    )"""
GROUPS = {None: "NULL::text", "day": 'entry."createdAt"::date', "changedBy": 'entry."changedBy"'}


class Transition(NamedTuple):
    """Figures of one transition (and day, or actor). Durations in milliseconds, None for the
    entry into a first status; they are below zero where times contradict the order."""

    group: date | str | None
    from_status: str | None
    to_status: str
    changes: int
    total: int | None
    shortest: int | None
    longest: int | None
    median: float | None


def transitions(
    connection: psycopg.Connection, at: Moment, chosen: Filter, group_by: GroupBy | None = None
) -> Sequence[Transition]:
    """By group, from, to, nulls first. The filter chooses changes, as in the list of history."""
    if at.by_days and group_by != "changedBy" and not is_about_somebody(chosen):
        return _by_days(connection, chosen, group_by)
    where, values = conditions(chosen, "entry")
    statement = TRANSITIONS.format(group=GROUPS[group_by], where=where)
    with connection.transaction():
        connection.execute(settings(chosen))
        asked = [at.position, *values]
        rows = connection.execute(statement, [*asked, *asked]).fetchall()
    return sorted((Transition(*row) for row in rows), key=_order)


def _by_days(
    connection: psycopg.Connection, chosen: Filter, group_by: GroupBy | None
) -> Sequence[Transition]:
    days, values = by_days("change", chosen, chosen.from_status, chosen.status)
    if group_by is None:
        parts = {"group": "NULL::text", "medians": "", "median": MEDIAN_OF_ALL, "pairs": "pair"}
    else:
        joined = "pair LEFT JOIN medians USING (grouped, from_status, to_status)"
        parts = {"group": "day", "medians": MEDIANS_BY_DAY, "median": "median", "pairs": joined}
    with connection.transaction():
        connection.execute(SETTINGS)
        rows = connection.execute(BY_DAYS.format(days=days, **parts).encode(), values).fetchall()
    return sorted((Transition(*row) for row in rows), key=_order)


def _order(row: Transition) -> tuple[str, str, str, bool]:
    group = "" if row.group is None else str(row.group)
    return group, row.from_status or "", row.to_status, row.group is not None
