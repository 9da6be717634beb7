"""What one can ask of the ledger, how it decides, and what it answers."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from ledger.booking import Booking, Change
from ledger.errors import BookingNotFound, Refusal
from ledger.personal_data import Decision
from ledger.workflow import Workflow

OutcomeKind = Literal["opened", "changed", "unchanged"]


@dataclass(frozen=True, slots=True)
class OpenBooking:
    """Open a booking. It may enter the ledger in any status of the workflow."""

    booking_id: str
    change: Change


@dataclass(frozen=True, slots=True)
class ChangeStatus:
    """Change the status of a known booking; of one of these versions only, if any are given."""

    booking_id: str
    change: Change
    expected_versions: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class RecordStatus:
    """Change the status of a booking, or open it where the ledger does not know it."""

    booking_id: str
    change: Change


@dataclass(frozen=True, slots=True)
class DecideOnPersonalData:
    """Erase what is personal in a known booking, hold it against erasure, or release the hold."""

    booking_id: str
    decision: Decision


StatusCommand = OpenBooking | ChangeStatus | RecordStatus
Command = StatusCommand | DecideOnPersonalData


@dataclass(frozen=True, slots=True)
class Outcome:
    """A command that was carried out, and the booking as it then was.

    `position` is that of the event, or the newest of the ledger where nothing was recorded.
    """

    kind: OutcomeKind
    booking_id: str
    status: str
    version: int
    opened_at: datetime
    changed_at: datetime
    position: int

    def to_record(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Outcome":
        times = {name: datetime.fromisoformat(record[name]) for name in ("opened_at", "changed_at")}
        return cls(**{**record, **times})


Answer = Outcome | Refusal


def moved(answer: Answer, positions: int) -> Answer:
    """The answer where the ledger has so many positions more."""
    if positions == 0 or not isinstance(answer, Outcome):
        return answer
    return replace(answer, position=answer.position + positions)


def answer_from_record(record: dict[str, Any]) -> Answer:
    if "refusal" in record:
        return Refusal.from_record(record)
    return Outcome.from_record(record)


def decide(
    booking: Booking | None, command: StatusCommand, workflow: Workflow, now: datetime
) -> tuple[Booking, OutcomeKind]:
    """Carry out a command on a booking (None: the ledger does not know it).

    Events are left pending on the booking returned. Raises Refusal, and then nothing is pending.
    """
    workflow.require_status(command.change.status)
    if booking is None:
        if isinstance(command, ChangeStatus):
            raise BookingNotFound(booking_id=command.booking_id)
        return Booking.open(command.booking_id, command.change, now), "opened"
    if _change(booking, command, workflow, now):
        return booking, "changed"
    return booking, "unchanged"


def _change(booking: Booking, command: StatusCommand, workflow: Workflow, now: datetime) -> bool:
    match command:
        case OpenBooking():
            booking.refuse_second_opening()
        case ChangeStatus():
            booking.require_version(command.expected_versions, workflow)
    return booking.change_status(command.change, workflow, now)
