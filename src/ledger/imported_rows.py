"""Rows of another system's history, checked, on their way to the ledger."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class ImportedRows:
    """Rows in the order of their file: what stands at one index of every list is one row.

    Lists and not an object a row, because millions go from one process to another.
    `claimed_from` is the previous status that the other system claims. `occurred_at` is
    RFC 3339 in UTC, as events have it. `personal` is the JSON of what is to be sealed.
    `fingerprints` tell a row from any other of its booking, for ever.
    """

    booking_ids: list[str] = field(default_factory=list)
    to_statuses: list[str] = field(default_factory=list)
    claimed_from: list[str | None] = field(default_factory=list)
    occurred_at: list[str] = field(default_factory=list)
    personal: list[str | None] = field(default_factory=list)
    fingerprints: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.booking_ids)

    def append(
        self,
        booking_id: str,
        to_status: str,
        claimed_from: str | None,
        occurred_at: str,
        personal: str | None,
        fingerprint: int,
    ) -> None:
        self.booking_ids.append(booking_id)
        self.to_statuses.append(to_status)
        self.claimed_from.append(claimed_from)
        self.occurred_at.append(occurred_at)
        self.personal.append(personal)
        self.fingerprints.append(fingerprint)

    def extend(
        self,
        booking_ids: Iterable[str],
        to_statuses: Iterable[str],
        claimed_from: Iterable[str | None],
        occurred_at: Iterable[str],
        personal: Iterable[str | None],
        fingerprints: Iterable[int],
    ) -> None:
        self.booking_ids.extend(booking_ids)
        self.to_statuses.extend(to_statuses)
        self.claimed_from.extend(claimed_from)
        self.occurred_at.extend(occurred_at)
        self.personal.extend(personal)
        self.fingerprints.extend(fingerprints)

    def parts(self, size: int) -> Iterator["ImportedRows"]:
        """The same rows in order, at most `size` in each."""
        for begin in range(0, len(self), size):
            part = slice(begin, begin + size)
            yield ImportedRows(
                self.booking_ids[part],
                self.to_statuses[part],
                self.claimed_from[part],
                self.occurred_at[part],
                self.personal[part],
                self.fingerprints[part],
            )

    def columns(
        self,
    ) -> tuple[list[str], list[str], list[str | None], list[str], list[str | None], list[int]]:
        """In the order of the fields."""
        return (
            self.booking_ids,
            self.to_statuses,
            self.claimed_from,
            self.occurred_at,
            self.personal,
            self.fingerprints,
        )
