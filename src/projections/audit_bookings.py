"""The bookings of an audit: each chain of events, and the rows derived from it."""

from ledger.personal_data import DecisionEvent, Erased, booking_of_stream
from ledger.transcoder import StoredRow, UnwrappedKeys
from projections.audit_certificates import Certified
from projections.audit_chain import Chain
from projections.audit_events import UnreadableEvent, read_event
from projections.audit_rows import (
    Key,
    TableComparison,
    booking_comparison,
    booking_key,
    history_comparison,
    history_key,
)
from projections.audit_snapshot import Snapshot
from projections.rebuild import Progress
from projections.rows import BookingRow, HistoryRow, PositionedEvent, booking_row, history_row

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
    certified = Certified(snapshot)
    for stream, version, position, topic, state, wrapped in snapshot.stream("events", EVENTS):
        # The stream of decisions sorts right behind that of its booking.
        booking_id = booking_of_stream(stream)
        if audited is None or audited.id != booking_id:
            if audited is not None:
                audited.end()
            audited = _Booking(snapshot, booking_id, histories, bookings, certified)
        audited.add(position, (stream, version, topic, state, wrapped))
        snapshot.events += 1
        if progress is not None and snapshot.events % PROGRESS_EVENTS == 0:
            progress(snapshot.events, snapshot.head)
    if audited is not None:
        audited.end()
    histories.end()
    bookings.end()
    certified.end()
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
        certified: Certified,
    ) -> None:
        snapshot.bookings += 1
        self.id = booking_id
        self._snapshot = snapshot
        self._compared_up_to = snapshot.position or 0
        self._histories = histories
        self._bookings = bookings
        self._certified = certified
        self._chain = Chain(booking_id, snapshot.findings)
        self._decisions = Chain(booking_id, snapshot.findings)
        self._rows: list[HistoryRow | None] = []
        """In the order of versions; None where the event cannot be read."""
        self._keys: list[Key] = []
        self._erasures: list[int] = []
        self._unwrapped: UnwrappedKeys = {}

    def add(self, position: int, stored: StoredRow) -> None:
        version = stored[1]
        of_booking = stored[0] == self.id
        chain = self._chain if of_booking else self._decisions
        row: HistoryRow | None = None
        try:
            event, erased = read_event(self._snapshot.mapper, stored, self._unwrapped)
        except UnreadableEvent as error:
            self._snapshot.findings.add("unreadable_event", str(error), self.id, version, position)
            chain.skip(version, position)
            self._certified.lose(position)
        else:
            if isinstance(event, DecisionEvent):
                chain.place(version, position)
                if isinstance(event, Erased):
                    self._erasures.append(position)
                return
            chain.follow(event, position)
            row = history_row(PositionedEvent(position, event, erased))
        if of_booking:
            self._rows.append(row)
            self._keys.append(history_key(self.id, version))

    def end(self) -> None:
        booking: BookingRow | None = None
        for key, row in zip(self._keys, self._rows, strict=True):
            if row is None:
                self._histories.skip(key)
                continue
            self._check_seal(row)
            self._certified.add(row, self._erasures)
            if row.position > self._compared_up_to:
                continue
            booking = booking_row(row, booking)
            if row.erased and self._is_erased_later(row):
                self._histories.skip(key)
            else:
                self._histories.expect(row)
        # What an unreadable event said is not known, so neither is the booking after it.
        if None in self._rows:
            self._bookings.skip(booking_key(self.id))
        elif booking is not None:
            self._bookings.expect(booking)

    def _check_seal(self, row: HistoryRow) -> None:
        """What was sealed can be read until there is an erasure, and then no more."""
        if not (row.erased or self._erasures):
            return
        is_due = any(position > row.position for position in self._erasures)
        said = (row.changedBy, row.reason, row.metadata) != (None, None, None)
        if row.erased and not is_due:
            detail = "what is personal in it cannot be read, and was never erased"
            self._snapshot.findings.add("key_missing", detail, self.id, row.version, row.position)
        if said and is_due:
            detail = "what is personal in it was erased, and can be read all the same"
            self._snapshot.findings.add("not_erased", detail, self.id, row.version, row.position)

    def _is_erased_later(self, row: HistoryRow) -> bool:
        """Whether the read model has not come to the erasure yet."""
        up_to = self._compared_up_to
        return not any(row.position < position <= up_to for position in self._erasures)
