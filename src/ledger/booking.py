"""The booking: an event-sourced aggregate.

Public methods decide and may refuse. Events record and never refuse, because they run again
at every replay: a rule that is tightened later must not make an old booking unreadable.

The names in TOPIC and the fields of the events are stored data. They are never renamed,
retyped or dropped; `tests/ledger/test_golden_events.py` holds the bytes that must stay readable.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from eventsourcing.domain import (
    BaseAggregate,
    CanInitAggregate,
    CanMutateAggregate,
    MetaDomainEvent,
)

from ledger.errors import BookingExists, TransitionNotAllowed, VersionMismatch
from ledger.workflow import Workflow

ActorType = Literal["user", "api-key", "system", "import"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a caller says about one change of status.

    `occurred_at` is when it really happened and `recorded_at` when the ledger takes it, both
    aware and in UTC. `actor` is the kind of actor, `source` the credential or file it came by.
    """

    status: str
    changed_by: str | None = None
    reason: str | None = None
    metadata: dict[str, Any] | None = None
    occurred_at: datetime | None = None
    actor: ActorType
    source: str


class BookingEvent(metaclass=MetaDomainEvent):
    """A status that a booking came to have: the whole fact.

    `from_status` is None for the first. `claimed_from_status` is what an imported row claimed
    the previous status to be, where that disagrees with the ledger's own chain.
    `timestamp` is recorded at.
    """

    originator_id: str
    originator_version: int
    timestamp: datetime
    from_status: str | None
    to_status: str
    changed_by: str | None
    reason: str | None
    metadata: dict[str, Any] | None
    occurred_at: datetime
    actor: ActorType
    source: str
    claimed_from_status: str | None


class Booking(BaseAggregate[str]):
    """One booking. Its state is its status, its version and two times; the rest is history."""

    TOPIC = "Booking"

    def __init__(self, to_status: str, occurred_at: datetime) -> None:
        """Called by the engine with the fields of `Created`, when opened and when replayed."""
        self.status = to_status
        self.opened_at = occurred_at
        self.changed_at = occurred_at

    class Event(BookingEvent, CanMutateAggregate[str]):
        def apply(self, aggregate: "Booking") -> None:
            aggregate.status = self.to_status
            aggregate.changed_at = self.occurred_at

    class Created(Event, CanInitAggregate[str]):
        TOPIC = "Booking.Created"

        originator_topic: str

    class StatusChanged(Event):
        TOPIC = "Booking.StatusChanged"

    def catch_up(self, newest: "Booking.Event") -> None:
        """Become what the newest event says. Each is the whole fact, so none between is needed."""
        self.version = newest.originator_version - 1
        newest.mutate(self)

    @classmethod
    def open(cls, booking_id: str, change: Change, recorded_at: datetime) -> "Booking":
        return cls._create(
            cls.Created,
            id=booking_id,
            timestamp=recorded_at,
            from_status=None,
            **_facts(change, recorded_at),
        )

    def change_status(self, change: Change, workflow: Workflow, recorded_at: datetime) -> bool:
        """Record the change if the workflow allows it; False if the status is that already."""
        if change.status == self.status:
            return False
        allowed = workflow.allowed_from(self.status)
        if change.status not in allowed:
            raise TransitionNotAllowed(
                booking_id=self.id,
                from_status=self.status,
                to_status=change.status,
                allowed=allowed,
            )
        self._record(change, recorded_at)
        return True

    def require_version(self, expected: frozenset[int] | None, workflow: Workflow) -> None:
        if expected is not None and self.version not in expected:
            raise VersionMismatch(
                booking_id=self.id,
                version=self.version,
                status=self.status,
                allowed=workflow.allowed_from(self.status),
            )

    def refuse_second_opening(self) -> None:
        raise BookingExists(booking_id=self.id, status=self.status, version=self.version)

    def _record(self, change: Change, recorded_at: datetime) -> None:
        # As `trigger_event` makes it, in half the time (decision 0043): that one copies what it is
        # given, and sets each field of a frozen event by itself.
        event = object.__new__(self.StatusChanged)
        vars(event).update(
            originator_id=self.id,
            originator_version=self.version + 1,
            timestamp=recorded_at,
            from_status=self.status,
            **_facts(change, recorded_at),
        )
        event.mutate(self)
        self.pending_events.append(event)


def _facts(change: Change, recorded_at: datetime) -> dict[str, Any]:
    return {
        "to_status": change.status,
        "changed_by": change.changed_by,
        "reason": change.reason,
        "metadata": change.metadata,
        "occurred_at": change.occurred_at or recorded_at,
        "actor": change.actor,
        "source": change.source,
        "claimed_from_status": None,  # of imported events only: `ledger/import_events.py`
    }
