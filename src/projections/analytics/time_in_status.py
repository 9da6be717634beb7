"""How long bookings stay in each status."""

from collections.abc import Sequence
from typing import NamedTuple

import psycopg

from projections.analytics.question import MILLISECONDS, SETTINGS, Moment, conditions
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
    where, values = conditions(chosen, "entry")
    left_to = "" if to_status is None else ' AND after."toStatus" = %s'
    ended_in = [] if to_status is None else [to_status]
    with connection.transaction():
        connection.execute(SETTINGS)
        rows = connection.execute(
            TIME_IN_STATUS.format(where=where, left_to=left_to),
            [at.recorded_at, at.position, at.position, *values, *ended_in],
        ).fetchall()
    return sorted(TimeInStatus(*row) for row in rows)
