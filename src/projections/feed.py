"""Events in the order of their positions."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import psycopg
from psycopg.pq.abc import PGresult

from ledger.personal_data import DecisionEvent, stream_of
from ledger.prepared import as_integer, as_text
from ledger.transcoder import EventMapper, UnwrappedKeys
from projections.rows import Positioned, PositionedDecision, PositionedEvent

STOP_SECONDS_MAX = 0.1

PositionedRow = tuple[int, str, int, str, bytes, bytes | None]
"""A position, and a `StoredRow`."""

EVENTS_AFTER = """
    SELECT notification_id, originator_id, originator_version, topic, state
    FROM ledger_events WHERE notification_id > %s ORDER BY notification_id LIMIT %s
"""
# The key is looked up for each row: the planner could join all keys that there are otherwise.
EVENTS_WITH_KEYS = """
    SELECT notification_id, originator_id, originator_version, topic, state,
        (SELECT wrapped FROM booking_key WHERE booking_id = originator_id)
    FROM ledger_events WHERE notification_id > %s
"""
EVENTS_WITH_KEYS_AFTER = EVENTS_WITH_KEYS + "ORDER BY notification_id LIMIT %s"
EVENTS_WITH_KEYS_BETWEEN = EVENTS_WITH_KEYS + "AND notification_id <= %s ORDER BY notification_id"
EVENTS_OF = """
    SELECT notification_id, originator_id, originator_version, topic, state,
        (SELECT wrapped FROM booking_key WHERE booking_id = originator_id)
    FROM unnest(%b::text[]) AS asked (id)
    CROSS JOIN LATERAL (
        SELECT * FROM ledger_events WHERE originator_id = asked.id
        ORDER BY originator_version  -- keeps it a look-up for each id, not a join of the table
    ) AS event
    ORDER BY originator_version
"""
# The time alone, which is not sealed, so that no key is needed.
RECORDED_AT = """
    SELECT convert_from(state, 'UTF8')::json ->> 'timestamp'
    FROM ledger_events WHERE notification_id = %s
"""
HAS_BOOKING = "SELECT FROM ledger_events WHERE originator_id = %s LIMIT 1"
HEAD = "SELECT coalesce(max(notification_id), 0) FROM ledger_events"


def events_after(
    connection: psycopg.Connection, mapper: EventMapper, position: int, limit: int
) -> Sequence[Positioned]:
    """The next events after a position, at most `limit`, decisions on personal data among them.

    None can appear later at a position that was passed: writers append under a lock.
    """
    return list(stream_after(connection, mapper, position, limit))


def stream_after(
    connection: psycopg.Connection, mapper: EventMapper, position: int, limit: int
) -> Iterator[Positioned]:
    """The same one by one. The connection can do other things meanwhile."""
    rows = connection.execute(EVENTS_WITH_KEYS_AFTER, (position, limit), binary=True)
    return positioned(mapper, rows)


def stream_between(
    connection: psycopg.Connection, mapper: EventMapper, after: int, up_to: int
) -> Iterator[Positioned]:
    """The events after a position up to another, one by one."""
    rows = connection.execute(EVENTS_WITH_KEYS_BETWEEN, (after, up_to), binary=True)
    return positioned(mapper, rows)


def read_histories(
    connection: psycopg.Connection, mapper: EventMapper, booking_ids: Sequence[str]
) -> dict[str, list[PositionedEvent]]:
    """The events of each booking in the order of their versions; unknown bookings are absent."""
    histories: dict[str, list[PositionedEvent]] = {}
    rows = connection.execute(EVENTS_OF, (booking_ids,), binary=True)
    for one in positioned(mapper, rows):
        assert isinstance(one, PositionedEvent)
        histories.setdefault(one.event.originator_id, []).append(one)
    return histories


def rows_by_stream(result: PGresult) -> dict[str, list[PositionedRow]]:
    """What EVENTS_OF found, in binary format."""
    found: dict[str, list[PositionedRow]] = {}
    value = result.get_value
    for row in range(result.ntuples):
        stream, state = as_text(value(row, 1)), value(row, 4)
        assert state is not None
        position, version = as_integer(value(row, 0)), as_integer(value(row, 2))
        entry = (position, stream, version, as_text(value(row, 3)), state, value(row, 5))
        found.setdefault(stream, []).append(entry)
    return found


def has_booking(connection: psycopg.Connection, booking_id: str) -> bool:
    """Whether the ledger knows the booking."""
    return connection.execute(HAS_BOOKING, (booking_id,)).fetchone() is not None


def read_decisions(
    connection: psycopg.Connection, mapper: EventMapper, booking_id: str
) -> list[PositionedDecision]:
    """What was decided about the personal data of a booking, oldest first."""
    rows = connection.execute(EVENTS_OF, ([stream_of(booking_id)],), binary=True)
    return [one for one in positioned(mapper, rows) if isinstance(one, PositionedDecision)]


def positioned(mapper: EventMapper, rows: Iterable[PositionedRow]) -> Iterator[Positioned]:
    """The events of these rows, one by one."""
    keys: UnwrappedKeys = {}
    for row in rows:
        event, erased = mapper.read_row(row[1:], keys)
        if isinstance(event, DecisionEvent):
            yield PositionedDecision(row[0], event)
        else:
            yield PositionedEvent(row[0], event, erased)


def recorded_at(connection: psycopg.Connection, position: int) -> datetime | None:
    """When the event at a position was recorded; None where there is none."""
    row = connection.execute(RECORDED_AT, (position,)).fetchone()
    return None if row is None else datetime.fromisoformat(row[0])


def position_at(connection: psycopg.Connection, time_: datetime) -> int:
    """The position of the last event recorded before a time, 0 if there is none: found by halves,
    as the order of positions is that of recording (where a clock was set back, about there)."""
    low, high = 0, head(connection)
    while low < high:
        middle = (low + high + 1) // 2
        found = recorded_at(connection, middle)
        if found is not None and found < time_:
            low = middle
        else:
            high = middle - 1
    return low


def head(connection: psycopg.Connection) -> int:
    """The newest position, 0 in an empty ledger."""
    row = connection.execute(HEAD).fetchone()
    assert row is not None
    return int(row[0])


def wait_for_notification(
    connection: psycopg.Connection, stop: threading.Event, seconds: float
) -> None:
    """Return at a notification, after `seconds`, or soon after `stop` is set.

    Notifications that came since the last call are still there and return at once, all of them:
    one look at the events answers every one.
    """
    deadline = time.monotonic() + seconds
    while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
        if list(connection.notifies(timeout=min(left, STOP_SECONDS_MAX), stop_after=1)):
            return
