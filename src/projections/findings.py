"""What an audit found."""

from dataclasses import dataclass, field
from typing import Literal

FINDINGS_MAX = 1_000

Kind = Literal[
    "missing_position",  # positions are not 1, 2, 3 …
    "duplicate_position",
    "unreadable_event",  # topic or bytes are not those of an event
    "version_gap",  # versions of a booking are not 1, 2, 3 …
    "wrong_first_event",  # the first event does not open the booking, or a later one does
    "broken_chain",  # from_status is not the status before
    "wrong_order",  # positions of a booking do not increase with its versions
    "key_missing",  # what is sealed cannot be read, and was never erased
    "not_erased",  # what was erased can be read all the same
    "read_model_missing",
    "read_model_version",  # derived by another release, whose rows are others
    "read_model_ahead",  # derived from events that are not there
    "missing_row",
    "extra_row",
    "different_value",
    "altered_event",  # not the one that the log has signed
    "wrong_tile",  # lost, or has another hash than event or tile below it
    "wrong_checkpoint_root",  # signed for other events than are there
    "wrong_latest",  # page or checkpoint says that other events are the latest of their bookings
    "checkpoint_beyond_log",  # signed for more events than are there
    "checkpoint_missing",  # the log has come further than what it signed
    "wrong_certificate",  # it certifies other rows than the events give
    "other_certificate_version",  # of rows that another release derives: it cannot be looked at
    "bad_signature",  # of a checkpoint: not of a known key, or not a checkpoint at all
]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be, and where."""

    kind: Kind
    detail: str
    booking_id: str | None = None
    version: int | None = None
    position: int | None = None


@dataclass
class Findings:
    """Keeps the first findings and counts them all: a ruined ledger must not fill the memory."""

    kept: list[Finding] = field(default_factory=list)
    count: int = 0

    def add(
        self,
        kind: Kind,
        detail: str,
        booking_id: str | None = None,
        version: int | None = None,
        position: int | None = None,
    ) -> None:
        self.count += 1
        if len(self.kept) < FINDINGS_MAX:
            self.kept.append(Finding(kind, detail, booking_id, version, position))

    def add_all(self, others: "Findings") -> None:
        self.count += others.count
        self.kept += others.kept[: FINDINGS_MAX - len(self.kept)]


def span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"
