"""The pages that say which events are the latest of their booking."""

from collections.abc import Mapping, Sequence

import psycopg

from projections.log.growth import TilesLost
from projections.log.latest import LatestEvents, page_count

READ = "SELECT number, bits FROM log_latest WHERE number < %s ORDER BY number"
WRITE = """
    INSERT INTO log_latest (number, bits) SELECT * FROM unnest(%b::bigint[], %b::bytea[])
    ON CONFLICT (number) DO UPDATE SET bits = excluded.bits
"""
# A look-up for each booking. Its newest events may be beyond what the log has come to.
SUPERSEDED = """
    SELECT notification_id - 1
    FROM unnest(%b::text[], %b::bigint[]) AS asked (booking, version)
    CROSS JOIN LATERAL (
        SELECT notification_id FROM ledger_events
        WHERE originator_id = asked.booking AND originator_version < asked.version
            AND notification_id <= %b
        ORDER BY originator_version DESC LIMIT 1
    ) AS before
"""


def read(connection: psycopg.Connection, size: int) -> LatestEvents:
    """Those of a log of this size. Raises TilesLost where pages lack."""
    rows = connection.execute(READ, (page_count(size),), binary=True).fetchall()
    if [number for number, _ in rows] != list(range(page_count(size))):
        raise TilesLost(
            f"There are {len(rows)} pages of latest events, a log of {size} has {page_count(size)}."
        )
    return LatestEvents(size, (bits for _, bits in rows))


def write(connection: psycopg.Connection, pages: Mapping[int, bytes]) -> None:
    connection.execute(WRITE, (list(pages), list(pages.values())))


def superseded(
    connection: psycopg.Connection, asked: Sequence[tuple[str, int]], size: int
) -> list[int]:
    """The leaves, among the first `size`, of the events before those of booking and version."""
    if not asked:
        return []
    bookings, versions = zip(*asked, strict=True)
    rows = connection.execute(SUPERSEDED, (list(bookings), list(versions), size))
    return [index for (index,) in rows]
