"""Figures added up from days: over long periods far fewer rows than changes.

Days are kept only as they are now, so these answer for the newest position alone (see
`question.newest`). What a period has of its first and last day is added up from the history.
"""

from datetime import date, datetime, time, timedelta
from typing import Any, Literal

from projections.queries import Filter
from projections.rows import milliseconds

Measure = Literal["change", "stay"]

_COLUMNS = """day, from_status, to_status, changes, since_midnight, total, shortest, longest,
    durations"""
_DURATION = """round(date_part('epoch', {end}."createdAt" - {start}."createdAt") * 1000)"""
_PART = """
    SELECT entry."createdAt"::date, {from_status}, {to_status}, count(*),
        sum((date_part('epoch', entry."createdAt" - entry."createdAt"::date) * 1000)::bigint),
        sum({duration}::bigint), min({duration}), max({duration}),
        coalesce(array_agg({duration}) FILTER (WHERE {duration} IS NOT NULL), '{{}}')
    FROM "BookingStatusHistory" AS entry
    {join}
    WHERE entry."createdAt" >= %s AND entry."createdAt" < %s
    GROUP BY 1, 2, 3
"""
_PARTS: dict[Measure, str] = {
    "change": _PART.format(
        from_status="""coalesce(entry."fromStatus", '')""",
        to_status='entry."toStatus"',
        duration=_DURATION.format(end="entry", start="before"),
        join="""LEFT JOIN "BookingStatusHistory" AS before
        ON before."bookingId" = entry."bookingId" AND before.version = entry.version - 1""",
    ),
    "stay": _PART.format(
        from_status='entry."toStatus"',
        to_status='after."toStatus"',
        duration=_DURATION.format(end="after", start="entry"),
        join="""JOIN "BookingStatusHistory" AS after
        ON after."bookingId" = entry."bookingId" AND after.version = entry.version + 1""",
    ),
}


def by_days(
    measure: Measure, chosen: Filter, from_status: str | None, to_status: str | None
) -> tuple[str, list[Any]]:
    """SQL that gives rows as those of flow_day, those that a period has in part included, and its
    values. Of the filter only the period is looked at. `from_status` is empty for first entries."""
    first, end, parts = _whole_days(chosen)
    statement = f"SELECT {_COLUMNS} FROM flow_day WHERE measure = %s"
    values: list[Any] = [measure]
    for condition, bound in (("day >= %s", first), ("day < %s", end)):
        if bound is not None:
            statement, values = f"{statement} AND {condition}", [*values, bound]
    for part in parts:
        statement, values = f"{statement} UNION ALL {_PARTS[measure]}", [*values, *part]
    statement = f"SELECT * FROM ({statement}) AS days WHERE true"
    for condition, status in (("from_status = %s", from_status), ("to_status = %s", to_status)):
        if status is not None:
            statement, values = f"{statement} AND {condition}", [*values, status]
    return statement, values


def _whole_days(
    chosen: Filter,
) -> tuple[date | None, date | None, list[tuple[datetime, datetime]]]:
    """The first of the days that a period has as a whole and the one after the last, None where
    it has no bound; and what else it has."""
    since = None if chosen.since is None else milliseconds(chosen.since)
    until = None if chosen.until is None else milliseconds(chosen.until)
    first = None if since is None else _midnight(since, up=True)
    end = None if until is None else _midnight(until, up=False)
    if since and until and first and end and first > end:  # a part of one day
        return first.date(), end.date(), [(since, until)]
    parts = [(since, first)] if since and first and since < first else []
    parts += [(end, until)] if until and end and end < until else []
    return first and first.date(), end and end.date(), parts


def _midnight(moment: datetime, *, up: bool) -> datetime:
    before = datetime.combine(moment.date(), time())
    return before if before == moment or not up else before + timedelta(days=1)
