"""From events to the rows of the read model: pure functions, used live, in rebuilds, in audits
and for the history of one booking."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import orjson

from ledger.booking import Booking, BookingEvent
from ledger.personal_data import DecisionEvent, Erased, booking_of_stream

_HISTORY_NAMESPACE = UUID("5f0c7d0e-6a63-5d43-9a55-0f2f5f6d9c11").bytes
_history_hash = hashlib.blake2b(digest_size=16, key=_HISTORY_NAMESPACE)
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # as the tables hold times
_MILLISECOND = timedelta(milliseconds=1)
_BELOW_MILLISECONDS = [timedelta(microseconds=microseconds) for microseconds in range(1000)]


class HistoryRow(NamedTuple):
    """A row of "BookingStatusHistory", in the order of its columns; times in UTC, naive."""

    id: str
    bookingId: str  # noqa: N815  # the names of the table
    fromStatus: str | None  # noqa: N815
    toStatus: str  # noqa: N815
    changedBy: str | None  # noqa: N815
    reason: str | None
    metadata: str | None
    createdAt: datetime  # noqa: N815
    version: int
    position: int
    recordedAt: datetime  # noqa: N815
    actor: str
    source: str
    claimedFromStatus: str | None  # noqa: N815
    erased: bool


class BookingRow(NamedTuple):
    """A row of "Booking", in the order of its columns."""

    id: str
    status: str
    version: int
    createdAt: datetime  # noqa: N815
    updatedAt: datetime  # noqa: N815
    position: int


class PositionedEvent(NamedTuple):
    """An event with its position; `erased`: its personal parts were there and are no more."""

    position: int
    event: BookingEvent
    erased: bool = False


class PositionedDecision(NamedTuple):
    """A decision about the personal data of a booking, with its position."""

    position: int
    event: DecisionEvent


Positioned = PositionedEvent | PositionedDecision


def history_id(booking_id: str, version: int, position: int) -> str:
    """The id of a history row: a UUID of version 8 (RFC 9562).

    Its first 48 bits are the position of the event, so ids are in the order of the ledger, and
    new ones go to the end of their index (decision 0031); the rest is a hash of booking and
    version, which tells rows of different ledgers apart. A rebuild gives the same. Positions end
    at 2**48.
    """
    made = _history_hash.copy()
    made.update(b"%d %b" % (version, booking_id.encode()))
    front, text = f"{position:012x}", made.hexdigest()
    return f"{front[:8]}-{front[8:]}-8{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


def history_row(positioned: PositionedEvent) -> HistoryRow:
    position, event, erased = positioned
    occurred_at = milliseconds(event.occurred_at)
    is_same = event.timestamp == event.occurred_at
    return HistoryRow(
        history_id(event.originator_id, event.originator_version, position),
        event.originator_id,
        event.from_status,
        event.to_status,
        event.changed_by,
        event.reason,
        None if event.metadata is None else orjson.dumps(event.metadata).decode(),
        occurred_at,
        event.originator_version,
        position,
        occurred_at if is_same else milliseconds(event.timestamp),
        event.actor,
        event.source,
        event.claimed_from_status,
        erased,
    )


def milliseconds(time: datetime) -> datetime:
    """A time as the tables hold it: UTC, naive, cut off (never rounded up) to milliseconds."""
    # Sums, because `replace` takes four times as long, twice for each event.
    return _NAIVE_EPOCH + (time - _EPOCH) - _BELOW_MILLISECONDS[time.microsecond % 1000]


def since_1970(time: datetime) -> int:
    """The milliseconds of a time as the tables hold it."""
    return (time - _NAIVE_EPOCH) // _MILLISECOND


def booking_row(row: HistoryRow, before: BookingRow | None) -> BookingRow:
    """The booking after a history row, given the booking before it."""
    return BookingRow(
        row.bookingId,
        row.toStatus,
        row.version,
        row.createdAt if before is None else before.createdAt,
        row.createdAt,
        row.position,
    )


class HistoryRows:
    """The history rows of events that come one by one; iterate once.

    Meanwhile it counts `events` and keeps the `position` of the last. `erased` are bookings with
    the position of an erasure: rows before it lose their personal parts.
    """

    def __init__(self, events: Iterable[Positioned]) -> None:
        self._events = events
        self.events = 0
        self.position = 0
        self.erased: dict[str, int] = {}

    def __iter__(self) -> Iterator[HistoryRow]:
        for positioned in self._events:
            self.events += 1
            self.position = positioned.position
            if isinstance(positioned, PositionedEvent):
                yield history_row(positioned)
            elif isinstance(positioned.event, Erased):
                self.erased[booking_of_stream(positioned.event.originator_id)] = self.position


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of a batch of events.

    `opened` are bookings whose first event is in the batch, `changed` the others, whose
    creation time is not known here; both as of their last event in the batch. The rest is as
    in HistoryRows.
    """

    history: list[HistoryRow]
    opened: list[BookingRow]
    changed: list[BookingRow]
    erased: dict[str, int]
    events: int = 0
    position: int = 0


def batch_rows(events: Iterable[Positioned]) -> Batch:
    """Takes the events one by one, so that they need not be in memory together."""
    rows = HistoryRows(events)
    history = list(rows)
    bookings: dict[str, BookingRow] = {}
    opened: set[str] = set()
    for row in history:
        bookings[row.bookingId] = booking_row(row, bookings.get(row.bookingId))
        if row.version == Booking.INITIAL_VERSION:
            opened.add(row.bookingId)
    return Batch(
        history,
        [booking for booking in bookings.values() if booking.id in opened],
        [booking for booking in bookings.values() if booking.id not in opened],
        rows.erased,
        rows.events,
        rows.position,
    )
