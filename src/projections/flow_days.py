"""Changes and stays by day: what figures over long periods are added up from.

Derived from the history and kept beside it: in one statement where all is filled, counted here
where rows are added. It names nobody, so an erasure leaves it as it is. The exact durations are
kept too, because medians of days do not add up to a median.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

import psycopg

from ledger.prepared import Prepared, as_integer, dates, floats, integers, small_integers, texts
from projections.rows import HistoryRow, since_1970

BLOCK = 1024
"""Durations in a row at most: a day with many is not written anew as a whole with each batch."""
DAY_MILLISECONDS = 86_400_000

_INSERT = "INSERT INTO flow_day{s}"
# Which block a duration goes to depends on the order of positions alone, so rows are the same
# whatever batches they came in. A first entry has no status before and no duration.
_FILL = f"""
    WITH change AS (
        SELECT entry."createdAt" AS occurred_at, before."createdAt" AS began_at,
            entry."fromStatus" AS from_status, entry."toStatus" AS to_status, entry.position,
            round(date_part('epoch', entry."createdAt" - before."createdAt") * 1000) AS duration
        FROM "BookingStatusHistory{{s}}" AS entry
        LEFT JOIN "BookingStatusHistory{{s}}" AS before
            ON before."bookingId" = entry."bookingId" AND before.version = entry.version - 1
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
    )
    {{insert}}
    SELECT day, measure, from_status, to_status, number / {BLOCK}, count(*),
        sum((date_part('epoch', at - day) * 1000)::bigint), sum(duration::bigint),
        min(duration), max(duration),
        coalesce(array_agg(duration ORDER BY position) FILTER (WHERE duration IS NOT NULL), '{{}}')
    FROM numbered
    GROUP BY 1, 2, 3, 4, 5
"""
_GIVEN = _FILL.replace("{insert}", "").replace("{s}", "")
DIFFERENCES = f"""
    WITH given (day, measure, from_status, to_status, block) AS ({_GIVEN})
    SELECT day, measure, from_status, to_status, block FROM (
        (TABLE given EXCEPT ALL TABLE flow_day) UNION ALL (TABLE flow_day EXCEPT ALL TABLE given)
    ) AS different
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""
"""Rows that are not as the history gives them."""
_COUNT = """
    SELECT coalesce((
        SELECT block * {block} + changes FROM flow_day{s} AS newest
        WHERE (newest.day, newest.measure, newest.from_status, newest.to_status)
            = (asked.day, asked.measure, asked.from_status, asked.to_status)
        ORDER BY block DESC LIMIT 1
    ), 0)::bigint
    FROM unnest($1::date[], $2::text[], $3::text[], $4::text[])
        WITH ORDINALITY AS asked (day, measure, from_status, to_status, number)
    ORDER BY number
"""
# All durations come as one array, of which each row has a part.
_ADD = """
    INSERT INTO flow_day{s} AS kept
    SELECT day, measure, from_status, to_status, block, changes, since_midnight,
        total, shortest, longest, ($13::float8[])[first_duration:last_duration]
    FROM unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::int[], $6::int[], $7::bigint[],
            $8::bigint[], $9::bigint[], $10::bigint[], $11::int[], $12::int[])
        AS added (day, measure, from_status, to_status, block, changes, since_midnight,
            total, shortest, longest, first_duration, last_duration)
    ON CONFLICT (day, measure, from_status, to_status, block) DO UPDATE
    SET changes = kept.changes + excluded.changes,
        since_midnight = kept.since_midnight + excluded.since_midnight,
        total = kept.total + excluded.total,
        shortest = least(kept.shortest, excluded.shortest),
        longest = greatest(kept.longest, excluded.longest),
        durations = kept.durations || excluded.durations
"""

Kind = tuple[int, str, str, str]
"""Day, as days since 1970, measure, status before and after."""
Measured = tuple[int, int | None]
"""Milliseconds since midnight and those of the stay, None where there was none."""


def fill(connection: psycopg.Connection, suffix: str) -> None:
    """Derive all rows of an empty table from the history, which needs no indexes for it."""
    with connection.transaction():
        connection.execute("SET LOCAL jit = off; SET LOCAL work_mem = '64MB'")
        connection.execute(_FILL.replace("{insert}", _INSERT).replace("{s}", suffix).encode())


class DayWriter:
    """Adds what the history has just got; used on one connection at a time."""

    def __init__(self, suffix: str) -> None:
        self._count = Prepared(_COUNT.format(block=BLOCK, s=suffix))
        self._add = Prepared(_ADD.replace("{s}", suffix))

    def add(
        self,
        connection: psycopg.Connection,
        rows: Iterable[HistoryRow],
        changed_before: Mapping[str, int],
    ) -> None:
        """Rows before these were added before. `changed_before` is when the bookings among them
        that are not new had changed last, in milliseconds since 1970."""
        measured = _measured(rows, changed_before)
        kinds = _columns(list(measured))
        counted = self._count.execute(connection, kinds)
        parts: list[tuple[Kind, int, list[Measured]]] = []
        for row, (kind, items) in enumerate(measured.items()):
            before = as_integer(counted.get_value(row, 0))
            parts += ((kind, *part) for part in _parts(items, before))
        self._add.execute(connection, _parameters(parts))


def _measured(
    rows: Iterable[HistoryRow], changed_before: Mapping[str, int]
) -> dict[Kind, list[Measured]]:
    measured: dict[Kind, list[Measured]] = {}
    changed = dict(changed_before)
    for row in rows:
        at, began = since_1970(row.createdAt), changed.get(row.bookingId)
        changed[row.bookingId] = at
        stayed = None if began is None else at - began
        day, since_midnight = divmod(at, DAY_MILLISECONDS)
        kind = (day, "change", row.fromStatus or "", row.toStatus)
        measured.setdefault(kind, []).append((since_midnight, stayed))
        if began is not None:
            day, since_midnight = divmod(began, DAY_MILLISECONDS)
            kind = (day, "stay", row.fromStatus or "", row.toStatus)
            measured.setdefault(kind, []).append((since_midnight, stayed))
    return measured


def _parts(items: list[Measured], before: int) -> Iterator[tuple[int, list[Measured]]]:
    """Those of each block, by its number, where so many came before them."""
    at = 0
    while at < len(items):
        block, used = divmod(before + at, BLOCK)
        part = items[at : at + BLOCK - used]
        yield block, part
        at += len(part)


def _columns(kinds: Sequence[Kind]) -> tuple[bytes, bytes, bytes, bytes]:
    return (
        dates([kind[0] for kind in kinds]),
        texts([kind[1] for kind in kinds]),
        texts([kind[2] for kind in kinds]),
        texts([kind[3] for kind in kinds]),
    )


def _parameters(parts: Sequence[tuple[Kind, int, list[Measured]]]) -> list[bytes]:
    stays = [[one for _, one in part if one is not None] for _, _, part in parts]
    lasts = list(accumulate(len(one) for one in stays))
    return [
        *_columns([kind for kind, _, _ in parts]),
        small_integers([block for _, block, _ in parts]),
        small_integers([len(part) for _, _, part in parts]),
        integers([sum(since for since, _ in part) for _, _, part in parts]),
        integers([sum(one) if one else None for one in stays]),
        integers([min(one, default=None) for one in stays]),
        integers([max(one, default=None) for one in stays]),
        small_integers([last - len(one) + 1 for last, one in zip(lasts, stays, strict=True)]),
        small_integers(lasts),
        floats([float(stay) for one in stays for stay in one]),
    ]
