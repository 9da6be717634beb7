"""The chain of events of one booking."""

from ledger.booking import Booking, BookingEvent
from projections.findings import Findings, span


class Chain:
    """Follows the events of a booking in the order of their versions and says what is broken."""

    def __init__(self, booking_id: str, findings: Findings) -> None:
        self._booking_id = booking_id
        self._findings = findings
        self._version = 0
        self._position = 0
        self._status: str | None = None
        self._status_known = True

    def follow(self, event: BookingEvent, position: int) -> None:
        version = event.originator_version
        self.place(version, position)
        first = version == Booking.INITIAL_VERSION
        if isinstance(event, Booking.Created) != first:
            self._findings.add(
                "wrong_first_event",
                f"version {version} is {type(event).__name__}",
                self._booking_id,
                version,
                position,
            )
        if self._status_known and event.from_status != self._status:
            self._findings.add(
                "broken_chain",
                f"from_status is {event.from_status!r}, the status before was {self._status!r}",
                self._booking_id,
                version,
                position,
            )
        self._status, self._status_known = event.to_status, True

    def skip(self, version: int, position: int) -> None:
        """An event that cannot be read: what follows it may come from any status."""
        self.place(version, position)
        self._status_known = False

    def place(self, version: int, position: int) -> None:
        """An event of which no more is to be looked at."""
        if version != self._version + 1:
            detail = f"missing before version {version}: {span(self._version + 1, version - 1)}"
            self._findings.add("version_gap", detail, self._booking_id, version, position)
            self._status_known = False
        if position <= self._position:
            self._findings.add(
                "wrong_order",
                f"position {position} comes after {self._position}",
                self._booking_id,
                version,
                position,
            )
        self._version, self._position = version, position
