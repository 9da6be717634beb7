"""What was decided about the personal data of a booking: held, released, erased.

A stream of its own beside the booking's: its versions, and with them the booking's chain of
statuses, are not disturbed by it. Its events are in the log as all others are, so an erasure is
itself proven.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

from eventsourcing.domain import MetaDomainEvent
from eventsourcing.utils import register_topic

from ledger.booking import ActorType
from ledger.errors import PersonalDataHeld

SUFFIX = "\x1epersonal-data"
"""Ends the name of such a stream. No booking id can hold it: it begins with a control character."""

Verdict = Literal["erase", "hold", "release"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What somebody decided, and why. None of it is sealed: it must outlive an erasure.

    `decided_by` is the subject of a token, None where a key or the command line did;
    `actor` and `source` are those of a change.
    """

    verdict: Verdict
    reason: str
    decided_by: str | None
    actor: ActorType
    source: str


def stream_of(booking_id: str) -> str:
    """The name of the stream of decisions about a booking."""
    return booking_id + SUFFIX


def booking_of_stream(stream: str) -> str:
    """The booking of any stream."""
    return stream.removesuffix(SUFFIX)


class DecisionEvent(metaclass=MetaDomainEvent):
    """A decision that was recorded, at `timestamp`."""

    TOPIC: ClassVar[str]

    originator_id: str
    originator_version: int
    timestamp: datetime
    reason: str
    decided_by: str | None
    actor: ActorType
    source: str

    def mutate(self, personal_data: "PersonalData | None") -> "PersonalData":
        """The state after it; None before the first."""
        found = personal_data or PersonalData(self.originator_id)
        found.apply(self)
        return found


class Erased(DecisionEvent):
    """The key under which the personal parts were sealed is destroyed, in this transaction."""

    TOPIC = "PersonalData.Erased"


class HoldPlaced(DecisionEvent):
    """Nothing may be erased from here on."""

    TOPIC = "PersonalData.HoldPlaced"


class HoldReleased(DecisionEvent):
    TOPIC = "PersonalData.HoldReleased"


EVENTS: dict[Verdict, type[DecisionEvent]] = {
    "erase": Erased,
    "hold": HoldPlaced,
    "release": HoldReleased,
}
for _kind in EVENTS.values():
    register_topic(_kind.TOPIC, _kind)


class PersonalData:
    """The decisions about one booking, and whether it is held."""

    def __init__(self, stream: str) -> None:
        self.id = stream
        self.version = 0
        self.held = False

    def apply(self, event: DecisionEvent) -> None:
        self.version = event.originator_version
        self.held = isinstance(event, HoldPlaced)  # what is held cannot be erased

    def catch_up(self, newest: DecisionEvent) -> None:
        """Become what the newest event says; none between is needed."""
        self.apply(newest)

    def decide(
        self, decision: Decision, recorded_at: datetime, *, is_sealed: bool
    ) -> DecisionEvent | None:
        """The event of a decision; None where all is so already.

        `is_sealed`: there is a key, so there may be something to erase. Raises PersonalDataHeld.
        """
        if decision.verdict == "erase":
            if self.held:
                raise PersonalDataHeld(booking_id=booking_of_stream(self.id))
            if not is_sealed:
                return None
        elif self.held == (decision.verdict == "hold"):
            return None
        facts: dict[str, Any] = {
            "originator_id": self.id,
            "originator_version": self.version + 1,
            "timestamp": recorded_at,
            "reason": decision.reason,
            "decided_by": decision.decided_by,
            "actor": decision.actor,
            "source": decision.source,
        }
        event = EVENTS[decision.verdict](**facts)
        self.apply(event)
        return event
