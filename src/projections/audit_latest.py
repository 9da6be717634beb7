"""The latest events of an audit: derived anew, beside what was signed and what the pages say."""

from collections.abc import Iterator

from projections.audit_signed import Signed
from projections.audit_snapshot import Snapshot
from projections.log.latest import PAGE_EVENTS, LatestEvents, page_count
from projections.log.tile_table import exists

# By positions and not by versions: what counts is what a reader of the log would find.
SUPERSEDED = """
    SELECT position, superseded
    FROM (
        SELECT notification_id AS position,
            lag(notification_id) OVER (PARTITION BY originator_id ORDER BY notification_id)
                AS superseded
        FROM ledger_events WHERE notification_id > 0
    ) AS event
    WHERE superseded IS NOT NULL
    ORDER BY position
"""
PAGES = "SELECT number, bits FROM log_latest ORDER BY number"


class LatestComparison:
    """Follows the events in the order of positions, as long as they are those that were signed.

    It takes a bit of memory for an event.
    """

    def __init__(self, snapshot: Snapshot, logged: int) -> None:
        self._snapshot = snapshot
        self._logged = logged
        """The pages are derived up to here."""
        self._latest = LatestEvents()
        self._pairs = snapshot.stream("superseded", SUPERSEDED)
        self._next = next(self._pairs, None)

    def compare(self, signed: Signed) -> None:
        self._go_on(signed.size)
        if signed.latest not in (None, self._latest.root()):
            self._add(f"{signed.title} of size {signed.size} was signed for others", signed.size)

    def end(self, size: int) -> None:
        self._go_on(size)

    def _go_on(self, size: int) -> None:
        if self._latest.size < self._logged <= size:
            self._grow(self._logged)
            self._compare_pages()
        self._grow(size)

    def _grow(self, size: int) -> None:
        self._latest.append(size - self._latest.size)
        while self._next is not None and self._next[0] <= size:
            self._latest.supersede(self._next[1] - 1)
            self._next = next(self._pairs, None)

    def _compare_pages(self) -> None:
        rows = self._pages()
        row = next(rows, None)
        for number in range(page_count(self._logged)):
            position = number * PAGE_EVENTS + 1
            while row is not None and row[0] < number:
                row = next(rows, None)
            if row is None or row[0] > number:
                self._add(f"page {number} is lost", position)
            elif row[1] != (derived := self._latest.page(number)):
                position += _first_difference(row[1], derived)
                self._add(f"page {number} is wrong on the event at position {position}", position)

    def _pages(self) -> Iterator[tuple[int, bytes]]:
        if exists(self._snapshot.connection, "log_latest"):
            yield from self._snapshot.stream("latest pages", PAGES)

    def _add(self, detail: str, position: int) -> None:
        text = f"which events are the latest of their bookings: {detail}"
        self._snapshot.findings.add("wrong_latest", text, position=position)


def _first_difference(one: bytes, other: bytes) -> int:
    differing = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return (differing & -differing).bit_length() - 1
