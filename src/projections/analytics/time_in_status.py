"""How long bookings stay in each status."""

from collections.abc import Sequence
from typing import NamedTuple

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

_CLOSED = MILLISECONDS.format(end='after."createdAt"', start='entry."createdAt"')
_OPEN = MILLISECONDS.format(end="%s::timestamp", start="entered")

TIME_IN_STATUS = f"""
    SELECT status, count(*), count(duration),
        sum(duration::bigint)::bigint, min(duration)::bigint, max(duration)::bigint,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY duration),
        sum({_OPEN}::bigint) FILTER (WHERE duration IS NULL)::bigint
    FROM (
        SELECT entry."toStatus" AS status, entry."createdAt" AS entered, {_CLOSED} AS duration
        FROM "BookingStatusHistory" AS entry
        LEFT JOIN "BookingStatusHistory" AS after
            ON after."bookingId" = entry."bookingId" AND after.version = entry.version + 1
            AND after.version > 1 AND after.position <= %s
        WHERE entry.position <= %s{{where}}{{left_to}}
        OFFSET 0
    ) AS stay
    GROUP BY 1
"""


# How long those that entered have lasted until now, whether they have ended or not: of these and
# of those that ended the difference is what the open ones have lasted.
_LASTED = """sum(changes * round(date_part('epoch', %s::timestamp - day) * 1000)::bigint
        - since_midnight)"""
ENTERED = f"""
    SELECT to_status, sum(changes)::bigint, {_LASTED}::bigint FROM ({{days}}) AS days GROUP BY 1
"""
STAYED = f"""
    WITH days AS ({{days}}), stayed AS (
        SELECT from_status AS status, sum(changes)::bigint AS closed, sum(total)::bigint AS total,
            min(shortest) AS shortest, max(longest) AS longest, {_LASTED}::bigint AS lasted
        FROM days GROUP BY 1
    )
    SELECT status, closed, total, shortest, longest, (
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY duration) FROM (
            SELECT unnest(durations) AS duration FROM days WHERE days.from_status = stayed.status
        ) AS one
    ), lasted FROM stayed
"""


class TimeInStatus(NamedTuple):
    """Figures of the stays in a status; durations in milliseconds.

    `closed` are the stays that have ended, and total, shortest, longest and median are theirs;
    `open_total` is how long the others have lasted. None where there are none of the kind.
    """

    status: str
    visits: int
    closed: int
    total: int | None
    shortest: int | None
    longest: int | None
    median: float | None
    open_total: int | None


def time_in_status(
    connection: psycopg.Connection, at: Moment, chosen: Filter, to_status: str | None = None
) -> Sequence[TimeInStatus]:
    """By status; one that nobody had is absent. The filter chooses stays by how they began.

    With `to_status`, only stays that ended in it.
    """
    if at.by_days and chosen.from_status is None and not is_about_somebody(chosen):
        return _by_days(connection, at, chosen, to_status)
    where, values = conditions(chosen, "entry")
    left_to = "" if to_status is None else ' AND after."toStatus" = %s'
    ended_in = [] if to_status is None else [to_status]
    with connection.transaction():
        connection.execute(settings(chosen))
        rows = connection.execute(
            TIME_IN_STATUS.format(where=where, left_to=left_to),
            [at.recorded_at, at.position, at.position, *values, *ended_in],
        ).fetchall()
    return sorted(TimeInStatus(*row) for row in rows)


def _by_days(
    connection: psycopg.Connection, at: Moment, chosen: Filter, to_status: str | None
) -> Sequence[TimeInStatus]:
    """As above: stays that have ended from their days, and beside them all that began."""
    days, values = by_days("stay", chosen, chosen.status, to_status)
    entries, entry_values = by_days("change", chosen, None, chosen.status)
    now = at.recorded_at
    with connection.transaction():
        connection.execute(SETTINGS)
        stayed = connection.execute(STAYED.format(days=days).encode(), [*values, now]).fetchall()
        entered = connection.execute(
            ENTERED.format(days=entries).encode(), [now, *entry_values]
        ).fetchall()
    ended = {status: figures for status, *figures in stayed}
    none = (0, None, None, None, None, 0)
    found = []
    for status, visits, lasted in entered:
        closed, total, shortest, longest, median, closed_lasted = ended.get(status, none)
        if to_status is not None:  # only stays that ended
            visits = closed  # noqa: PLW2901
        open_total = lasted - closed_lasted if visits > closed else None
        if visits:
            durations = (total, shortest, longest, median)
            found.append(TimeInStatus(status, visits, closed, *durations, open_total))
    return sorted(found)
