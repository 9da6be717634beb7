"""Replay: what each event did to its booking."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import psycopg

from ledger.booking import Booking
from ledger.errors import LedgerError
from ledger.transcoder import EventMapper
from projections.feed import events_after, head, read_histories
from projections.rows import PositionedDecision, PositionedEvent

BATCH_EVENTS = 1_000
BOOKINGS_KEPT_MAX = 20_000
"""How many bookings are kept as they were; others are replayed from their first event again."""


class ReplayBroken(LedgerError):
    """The events cannot be replayed"""


@dataclass(frozen=True, slots=True)
class State:
    """A booking as it was after some event."""

    status: str
    version: int
    opened_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """One event, with its booking before and after; before the first there is none."""

    positioned: PositionedEvent
    before: State | None
    after: State


def replay_booking(events: Iterable[PositionedEvent]) -> Iterator[Step]:
    """The steps of one booking, given all its events in order. Raises ReplayBroken."""
    booking: Booking | None = None
    for positioned in events:
        booking, step = _apply(booking, positioned)
        yield step


def replay_all(connection: psycopg.Connection, mapper: EventMapper) -> Iterator[Step]:
    """The steps of all bookings in the order of positions, up to the newest when it begins, in
    flat memory. Raises ReplayBroken."""
    bookings: OrderedDict[str, Booking] = OrderedDict()
    position, newest = 0, head(connection)
    while events := events_after(
        connection, mapper, position, max(0, min(BATCH_EVENTS, newest - position))
    ):
        for positioned in events:
            if isinstance(positioned, PositionedDecision):
                continue  # it changes no booking
            event = positioned.event
            before = bookings.pop(event.originator_id, None)
            if before is None and event.originator_version > Booking.INITIAL_VERSION:
                history = read_histories(connection, mapper, [event.originator_id])
                before = _booking_before(history[event.originator_id], positioned)
            after, step = _apply(before, positioned)
            bookings[after.id] = after
            if len(bookings) > BOOKINGS_KEPT_MAX:
                bookings.popitem(last=False)
            yield step
        position = events[-1].position


def _booking_before(
    history: Iterable[PositionedEvent], positioned: PositionedEvent
) -> Booking | None:
    booking: Booking | None = None
    for earlier in history:
        if earlier.event.originator_version >= positioned.event.originator_version:
            break
        booking, _ = _apply(booking, earlier)
    return booking


def _apply(booking: Booking | None, positioned: PositionedEvent) -> tuple[Booking, Step]:
    event = positioned.event
    found = 0 if booking is None else booking.version
    if event.originator_version != found + 1:
        raise ReplayBroken(
            f"Booking {event.originator_id!r}: version {event.originator_version} at position "
            f"{positioned.position} follows version {found}. Run 'booking-ledger verify'."
        )
    before = None if booking is None else _state(booking)
    after = event.mutate(booking)  # type: ignore[attr-defined]
    assert isinstance(after, Booking)
    return after, Step(positioned, before, _state(after))


def _state(booking: Booking) -> State:
    return State(booking.status, booking.version, booking.opened_at, booking.changed_at)
