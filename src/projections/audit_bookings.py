"""The bookings of an audit: each chain of events, and the rows derived from it."""

from eventsourcing.persistence import StoredEvent

from projections.audit_chain import Chain
from projections.audit_events import UnreadableEvent, read_event
from projections.audit_rows import (
    TableComparison,
    booking_comparison,
    booking_key,
    history_comparison,
    history_key,
)
from projections.audit_snapshot import Snapshot
from projections.rebuild import Progress
from projections.rows import BookingRow, PositionedEvent, booking_row, history_row

PROGRESS_EVENTS = 1_000

EVENTS = """
    SELECT originator_id, originator_version, notification_id, topic, state, wrapped
    FROM ledger_events LEFT JOIN booking_key ON booking_id = originator_id
    ORDER BY originator_id, originator_version
"""


def check_bookings(snapshot: Snapshot, progress: Progress | None) -> None:
    """Each booking is one unbroken chain, and its rows are what its events give."""
    audited: _Booking | None = None
    histories, bookings = history_comparison(snapshot), booking_comparison(snapshot)
    for booking_id, version, position, topic, state, wrapped in snapshot.stream("events", EVENTS):
        if audited is None or audited.id != booking_id:
            if audited is not None:
                audited.end()
            audited = _Booking(snapshot, booking_id, histories, bookings)
        audited.add(position, StoredEvent(booking_id, version, topic, state), wrapped)
        snapshot.events += 1
        if progress is not None and snapshot.events % PROGRESS_EVENTS == 0:
            progress(snapshot.events, snapshot.head)
    if audited is not None:
        audited.end()
    histories.end()
    bookings.end()
    if progress is not None:
        progress(snapshot.events, snapshot.events)


class _Booking:
    """A booking while its events come by, in the order of their versions."""

    def __init__(
        self,
        snapshot: Snapshot,
        booking_id: str,
        histories: TableComparison,
        bookings: TableComparison,
    ) -> None:
        snapshot.bookings += 1
        self.id = booking_id
        self._snapshot = snapshot
        self._compared_up_to = snapshot.position or 0
        self._histories = histories
        self._bookings = bookings
        self._chain = Chain(booking_id, snapshot.findings)
        self._row: BookingRow | None = None
        self._whole = True

    def add(self, position: int, stored: StoredEvent, wrapped: bytes | None) -> None:
        version = stored.originator_version
        try:
            event, erased = read_event(self._snapshot.mapper, stored, wrapped)
        except UnreadableEvent as error:
            self._snapshot.findings.add("unreadable_event", str(error), self.id, version, position)
            self._chain.skip(version, position)
            self._histories.skip(history_key(self.id, version))
            self._whole = False
            return
        self._chain.follow(event, position)
        if position <= self._compared_up_to:
            row = history_row(PositionedEvent(position, event, erased))
            self._histories.expect(row)
            self._row = booking_row(row, self._row)

    def end(self) -> None:
        # What an unreadable event said is not known, so neither is the booking after it.
        if not self._whole:
            self._bookings.skip(booking_key(self.id))
        elif self._row is not None:
            self._bookings.expect(self._row)
