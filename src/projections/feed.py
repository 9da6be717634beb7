"""Events in the order of their positions."""

import threading
import time
from collections.abc import Sequence

import psycopg
from eventsourcing.persistence import Mapper, StoredEvent

from projections.rows import PositionedEvent

STOP_SECONDS_MAX = 0.1

EVENTS_AFTER = """
    SELECT notification_id, originator_id, originator_version, topic, state
    FROM ledger_events WHERE notification_id > %s ORDER BY notification_id LIMIT %s
"""
EVENTS_OF = """
    SELECT notification_id, originator_id, originator_version, topic, state
    FROM unnest(%s::text[]) AS asked (id)
    CROSS JOIN LATERAL (
        SELECT * FROM ledger_events WHERE originator_id = asked.id
        ORDER BY originator_version  -- keeps it a look-up for each id, not a join of the table
    ) AS event
    ORDER BY originator_version
"""
HEAD = "SELECT coalesce(max(notification_id), 0) FROM ledger_events"


def events_after(
    connection: psycopg.Connection, mapper: Mapper[str], position: int, limit: int
) -> Sequence[PositionedEvent]:
    """The next events after a position, at most `limit`.

    None can appear later at a position that was passed: writers append under a lock.
    """
    rows = connection.execute(EVENTS_AFTER, (position, limit), binary=True)
    return [
        PositionedEvent(row[0], mapper.to_domain_event(StoredEvent(*row[1:])))  # type: ignore[arg-type]
        for row in rows
    ]


def read_histories(
    connection: psycopg.Connection, mapper: Mapper[str], booking_ids: Sequence[str]
) -> dict[str, list[PositionedEvent]]:
    """The events of each booking in the order of their versions; unknown bookings are absent."""
    histories: dict[str, list[PositionedEvent]] = {}
    for row in connection.execute(EVENTS_OF, (booking_ids,), binary=True):
        event = mapper.to_domain_event(StoredEvent(*row[1:]))
        histories.setdefault(row[1], []).append(PositionedEvent(row[0], event))  # type: ignore[arg-type]
    return histories


def head(connection: psycopg.Connection) -> int:
    """The newest position, 0 in an empty ledger."""
    row = connection.execute(HEAD).fetchone()
    assert row is not None
    return int(row[0])


def wait_for_notification(
    connection: psycopg.Connection, stop: threading.Event, seconds: float
) -> None:
    """Return at a notification, after `seconds`, or soon after `stop` is set.

    Notifications that came since the last call are still there and return at once.
    """
    deadline = time.monotonic() + seconds
    while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
        for _ in connection.notifies(timeout=min(left, STOP_SECONDS_MAX), stop_after=1):
            return
