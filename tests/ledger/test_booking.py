"""The booking decides: given events, when a command, then events or a refusal."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from scenes import ANY_CHANGE, NOON, change, change_status, open_booking

from ledger.booking import Booking
from ledger.commands import Command, decide
from ledger.errors import (
    BookingExists,
    BookingNotFound,
    Refusal,
    TransitionNotAllowed,
    UnknownStatus,
    VersionMismatch,
)
from ledger.workflow import DEFAULT, Workflow

BOOKING_ID = "room-12"
LATER = NOON + timedelta(hours=1)


def event(version: int, from_status: str | None, to_status: str, **facts: Any) -> Booking.Event:
    fields = {
        "originator_id": BOOKING_ID,
        "originator_version": version,
        "timestamp": NOON,
        "from_status": from_status,
        "to_status": to_status,
        "changed_by": None,
        "reason": None,
        "metadata": None,
        "occurred_at": facts.get("timestamp", NOON),
        "actor": "api-key",
        "source": "front desk",
        "claimed_from_status": None,
        **facts,
    }
    if version == 1:
        return Booking.Created(originator_topic="Booking", **fields)
    return Booking.StatusChanged(**fields)


def history(*statuses: str) -> list[Booking.Event]:
    previous = (None, *statuses)
    return [
        event(version, before, status)
        for version, (before, status) in enumerate(zip(previous, statuses, strict=False), start=1)
    ]


def replay(events: list[Booking.Event]) -> Booking | None:
    booking = None
    for one in events:
        booking = one.mutate(booking)
    return booking


class Story:
    """given(events).when(command).then(events), or .refused_with(error)."""

    def __init__(self, events: list[Booking.Event], workflow: Workflow) -> None:
        self._booking = replay(events)
        self._workflow = workflow
        self._events: list[Booking.Event] = []
        self._refusal: Refusal | None = None

    def when(self, command: Command) -> "Story":
        try:
            booking, _ = decide(self._booking, command, self._workflow, LATER)
        except Refusal as refusal:
            self._refusal = refusal
            booking = self._booking
        self._events = [] if booking is None else booking.collect_events()
        return self

    def then(self, *events: Booking.Event) -> None:
        assert self._refusal is None
        assert list(events) == self._events

    def refused_with(self, kind: type[Refusal], **fields: Any) -> None:
        assert self._events == []
        assert type(self._refusal) is kind
        assert fields.items() <= vars(self._refusal).items()


def given(*events: Booking.Event, workflow: Workflow = DEFAULT) -> Story:
    return Story(list(events), workflow)


# --- opening ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", DEFAULT.statuses)
def test_a_booking_may_enter_the_ledger_in_any_status(status: str) -> None:
    given().when(open_booking(BOOKING_ID, status)).then(event(1, None, status, timestamp=LATER))


def test_opening_keeps_everything_that_the_caller_said() -> None:
    said: dict[str, Any] = {
        "changed_by": "ana",
        "reason": "walked in",
        "metadata": {"table": 4},
        "occurred_at": NOON - timedelta(days=2),
    }

    given().when(open_booking(BOOKING_ID, **said)).then(
        event(1, None, "pending", timestamp=LATER, **said)
    )


def test_a_booking_is_opened_once() -> None:
    given(*history("pending", "confirmed")).when(open_booking(BOOKING_ID)).refused_with(
        BookingExists, booking_id=BOOKING_ID, status="confirmed", version=2
    )


def test_an_unknown_booking_cannot_be_changed() -> None:
    given().when(change_status(BOOKING_ID, "confirmed")).refused_with(
        BookingNotFound, booking_id=BOOKING_ID
    )


# --- changing ---------------------------------------------------------------------------------

PAIRS = [(a, b) for a in DEFAULT.statuses for b in DEFAULT.statuses if a != b]
ALLOWED = [(a, b) for a, b in PAIRS if b in DEFAULT.allowed_from(a)]
REFUSED = [pair for pair in PAIRS if pair not in ALLOWED]


@pytest.mark.parametrize(("before", "after"), ALLOWED)
def test_an_allowed_change_is_recorded(before: str, after: str) -> None:
    given(*history(before)).when(change_status(BOOKING_ID, after, changed_by="ana")).then(
        event(2, before, after, timestamp=LATER, changed_by="ana")
    )


@pytest.mark.parametrize(("before", "after"), REFUSED)
def test_any_other_change_is_refused_with_what_is_allowed(before: str, after: str) -> None:
    given(*history(before)).when(change_status(BOOKING_ID, after)).refused_with(
        TransitionNotAllowed,
        booking_id=BOOKING_ID,
        from_status=before,
        to_status=after,
        allowed=DEFAULT.allowed_from(before),
    )


def test_the_default_workflow_allows_six_changes_and_refuses_fourteen() -> None:
    assert (len(ALLOWED), len(REFUSED)) == (6, 14)


def test_a_change_is_the_very_event_that_the_library_makes() -> None:
    """Its fields in the same order: so they are stored, and hashed."""
    recorded = change("confirmed", changed_by="anna", reason="paid", metadata={"till": 3})
    booking = replay(history("pending"))
    assert booking is not None
    booking.change_status(recorded, DEFAULT, LATER)
    (made,) = booking.collect_events()

    said = {"changed_by": "anna", "reason": "paid", "metadata": {"till": 3}}
    by = {"actor": recorded.actor, "source": recorded.source}
    given = event(2, "pending", "confirmed", timestamp=LATER, **said, **by)
    assert made == given
    assert list(vars(made)) == list(vars(given))
    assert (booking.version, booking.modified_on) == (2, LATER)


def test_without_transitions_any_change_is_recorded() -> None:
    given(*history("cancelled"), workflow=ANY_CHANGE).when(
        change_status(BOOKING_ID, "pending")
    ).then(event(2, "cancelled", "pending", timestamp=LATER))


@pytest.mark.parametrize("status", DEFAULT.statuses)
def test_the_status_that_it_already_has_records_nothing(status: str) -> None:
    given(*history(status)).when(change_status(BOOKING_ID, status)).then()


@pytest.mark.parametrize(
    "command",
    [
        open_booking(BOOKING_ID, "waitlisted"),
        change_status(BOOKING_ID, "waitlisted"),
    ],
)
def test_a_status_outside_the_workflow_is_refused_by_every_command(command: Command) -> None:
    given(*history("pending")).when(command).refused_with(
        UnknownStatus, status="waitlisted", allowed=list(DEFAULT.statuses)
    )


def test_a_change_of_the_expected_version_is_recorded() -> None:
    given(*history("pending")).when(
        change_status(BOOKING_ID, "confirmed", versions=frozenset({1, 7}))
    ).then(event(2, "pending", "confirmed", timestamp=LATER))


@pytest.mark.parametrize("status", ["confirmed", "pending", "completed"])
def test_another_version_is_refused_whatever_the_change(status: str) -> None:
    """Also where it would record nothing, or be refused for its transition."""
    given(*history("pending")).when(
        change_status(BOOKING_ID, status, versions=frozenset({2}))
    ).refused_with(VersionMismatch, version=1, status="pending", allowed=["confirmed", "cancelled"])


# --- replaying --------------------------------------------------------------------------------


def test_replay_gives_status_version_and_times() -> None:
    opened, confirmed = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC)

    booking = replay(
        [
            event(1, None, "pending", occurred_at=opened),
            event(2, "pending", "confirmed", occurred_at=confirmed),
        ]
    )

    assert booking is not None
    assert (booking.id, booking.status, booking.version) == (BOOKING_ID, "confirmed", 2)
    assert (booking.opened_at, booking.changed_at) == (opened, confirmed)


def test_replay_never_asks_the_rules_of_today() -> None:
    """Statuses and transitions that are long forbidden stay readable, and go on from there."""
    stricter = Workflow("stricter", ("pending", "archived"), "pending", {"pending": ("archived",)})
    forbidden = history("completed", "pending", "waitlisted", "pending")

    given(*forbidden, workflow=stricter).when(change_status(BOOKING_ID, "archived")).then(
        event(5, "pending", "archived", timestamp=LATER)
    )


# --- any sequence of commands -----------------------------------------------------------------


class AnyLife(RuleBasedStateMachine):
    """The aggregate against the simplest model there is: the list of its statuses."""

    statuses = st.sampled_from(DEFAULT.statuses)

    @initialize(status=statuses)
    def open(self, status: str) -> None:
        self.booking = Booking.open(BOOKING_ID, change(status), NOON)
        self.events = self.booking.collect_events()
        self.model = [status]

    @rule(status=statuses)
    def change(self, status: str) -> None:
        allowed = DEFAULT.allowed_from(self.model[-1])
        try:
            recorded = self.booking.change_status(change(status), DEFAULT, NOON)
        except TransitionNotAllowed:
            assert status != self.model[-1]
            assert status not in allowed
        else:
            assert recorded == (status in allowed)
            self._expect(status, recorded)

    def _expect(self, status: str, recorded: bool) -> None:
        if recorded:
            self.model.append(status)
        self.events += self.booking.collect_events()

    @invariant()
    def the_chain_is_unbroken(self) -> None:
        assert [one.to_status for one in self.events] == self.model
        assert [one.from_status for one in self.events] == [None, *self.model[:-1]]
        assert [one.originator_version for one in self.events] == [
            number + 1 for number in range(len(self.model))
        ]

    @invariant()
    def the_fold_of_its_events_is_the_booking(self) -> None:
        assert replay(self.events) == self.booking


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
