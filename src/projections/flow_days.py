"""Changes and stays by day: what figures over long periods are added up from.

Derived from the history, in SQL, and kept beside it. It names nobody, so an erasure leaves it as
it is. The exact durations are kept too, because medians of days do not add up to a median.
"""

import psycopg

from projections.rows import HistoryRow

BLOCK = 1024
"""Durations in a row at most: a day with many is not written anew as a whole with each batch."""

_INSERT = "INSERT INTO flow_day{s} AS kept"
# Which block a duration goes to depends on the order of positions alone, so rows are the same
# whatever batches they came in. A first entry has no status before and no duration.
_MEASURE = """
    WITH entry (booking_id, version, occurred_at, from_status, to_status, position) AS (
        {entries}
    ), change AS (
        SELECT entry.*, before."createdAt" AS began_at,
            round(date_part('epoch', occurred_at - before."createdAt") * 1000) AS duration
        FROM entry
        LEFT JOIN "BookingStatusHistory{s}" AS before
            ON before."bookingId" = entry.booking_id AND before.version = entry.version - 1
    ), measured AS (
        SELECT 'change' AS measure, occurred_at AS at, coalesce(from_status, '') AS from_status,
            to_status, position, duration
        FROM change
        UNION ALL
        SELECT 'stay', began_at, from_status, to_status, position, duration
        FROM change WHERE began_at IS NOT NULL
    ), numbered AS (
        SELECT *, at::date AS day, row_number() OVER (
            PARTITION BY at::date, measure, from_status, to_status ORDER BY position
        ) - 1 AS number
        FROM measured
    ){known}
    {insert}
    SELECT day, measure, from_status, to_status, {block}, count(*),
        sum((date_part('epoch', at - day) * 1000)::bigint), sum(duration::bigint),
        min(duration), max(duration),
        coalesce(array_agg(duration ORDER BY position) FILTER (WHERE duration IS NOT NULL), '{{}}')
    FROM {numbered}
    GROUP BY 1, 2, 3, 4, 5
"""
_FILL = _MEASURE.format(
    entries="""
        SELECT "bookingId", version, "createdAt", "fromStatus", "toStatus", position
        FROM "BookingStatusHistory{s}"
    """,
    known="",
    block=f"number / {BLOCK}",
    numbered="numbered",
    insert="{insert}",
    s="{s}",
)
_GIVEN = _FILL.replace("{insert}", "").replace("{s}", "")
DIFFERENCES = f"""
    WITH given (day, measure, from_status, to_status, block) AS ({_GIVEN})
    SELECT day, measure, from_status, to_status, block FROM (
        (TABLE given EXCEPT ALL TABLE flow_day) UNION ALL (TABLE flow_day EXCEPT ALL TABLE given)
    ) AS different
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""
"""Rows that are not as the history gives them."""
ADD = (
    _MEASURE.format(
        entries="""
        SELECT * FROM unnest(
            %b::text[], %b::int[], %b::timestamp[], %b::text[], %b::text[], %b::bigint[])
    """,
        known=f""", known AS (
        SELECT day, measure, from_status, to_status, coalesce((
            SELECT block * {BLOCK} + changes FROM flow_day{{s}} AS newest
            WHERE (newest.day, newest.measure, newest.from_status, newest.to_status)
                = (numbered.day, numbered.measure, numbered.from_status, numbered.to_status)
            ORDER BY block DESC LIMIT 1
        ), 0) AS count
        FROM numbered GROUP BY day, measure, from_status, to_status
    )""",
        block=f"(known.count + number) / {BLOCK}",
        numbered="numbered JOIN known USING (day, measure, from_status, to_status)",
        insert=_INSERT,
        s="{s}",
    )
    + """
    ON CONFLICT (day, measure, from_status, to_status, block) DO UPDATE
    SET changes = kept.changes + excluded.changes,
        since_midnight = kept.since_midnight + excluded.since_midnight,
        total = kept.total + excluded.total,
        shortest = least(kept.shortest, excluded.shortest),
        longest = greatest(kept.longest, excluded.longest),
        durations = kept.durations || excluded.durations
"""
)


def fill(connection: psycopg.Connection, suffix: str) -> None:
    """Derive all rows of an empty table from the history, which has its indexes."""
    with connection.transaction():
        connection.execute("SET LOCAL jit = off; SET LOCAL work_mem = '64MB'")
        connection.execute(_FILL.replace("{insert}", _INSERT).replace("{s}", suffix).encode())


def add(connection: psycopg.Connection, rows: list[HistoryRow], suffix: str) -> None:
    """Add rows that the history has just got. Rows before them were added before."""
    if rows:
        columns = (
            [row.bookingId for row in rows],
            [row.version for row in rows],
            [row.createdAt for row in rows],
            [row.fromStatus for row in rows],
            [row.toStatus for row in rows],
            [row.position for row in rows],
        )
        connection.execute(ADD.replace("{s}", suffix).encode(), columns)
