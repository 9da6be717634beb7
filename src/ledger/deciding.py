"""From commands and what is known to the events and answers of a plan."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from ledger.booking import Booking
from ledger.commands import (
    Answer,
    Command,
    DecideOnPersonalData,
    Outcome,
    answer_from_record,
    decide,
    moved,
)
from ledger.errors import BookingNotFound, IdempotencyKeyReused, Refusal
from ledger.personal_data import PersonalData, stream_of
from ledger.plan import Idempotency, Plan, Reply, Request
from ledger.sealing import BookingKey
from ledger.transcoder import EventMapper
from ledger.workflow import Workflow


class GivenAnswer(NamedTuple):
    """An answer as it is stored: `moved_by` is to be added to its positions."""

    request_hmac: bytes
    answer: bytes
    moved_by: int


KnownAnswers = Mapping[tuple[str, str], GivenAnswer]
"""By scope and key."""


class Decider:
    """Decides each command by itself, in memory; what one recorded the next ones see."""

    def __init__(self, mapper: EventMapper, workflow: Workflow) -> None:
        self._mapper = mapper
        self._workflow = workflow

    def decide(
        self,
        plan: Plan,
        requests: Sequence[Request],
        known: KnownAnswers,
        now: datetime,
    ) -> None:
        """Add to the plan what the requests come to. `known` are answers given before."""
        for request in requests:
            plan.replies.append(self._reply(plan, request, known, now))

    def _reply(
        self,
        plan: Plan,
        request: Request,
        known: KnownAnswers,
        now: datetime,
    ) -> Reply:
        idempotency = request.idempotency
        if idempotency is None:
            return [self._answer(plan, command, now) for command in request.commands]
        given = _given_before(plan, known, idempotency)
        if given is not None:
            if idempotency.name in known:
                plan.given.add(len(plan.replies))
            return given
        answers = [self._answer(plan, command, now) for command in request.commands]
        plan.answers[idempotency.name] = (idempotency.request_hmac, answers)
        return answers

    def _answer(self, plan: Plan, command: Command, now: datetime) -> Answer:
        if isinstance(command, DecideOnPersonalData):
            return self._decide(plan, command, now)
        plan.streams.add(command.booking_id)
        booking = _booking(plan, command.booking_id)
        try:
            booking, kind = decide(booking, command, self._workflow, now)
        except Refusal as refusal:
            return refusal
        plan.bookings[booking.id] = booking
        if kind == "unchanged":
            return _outcome(kind, booking, plan.newest_position)
        event = booking.collect_events()[0]
        plan.events.append(self._mapper.to_stored_event(event, self._key(plan, event)))
        return _outcome(kind, booking, plan.newest_position)

    def _decide(self, plan: Plan, command: DecideOnPersonalData, now: datetime) -> Answer:
        booking_id, stream = command.booking_id, stream_of(command.booking_id)
        booking = _booking(plan, booking_id)
        if booking is None:
            return BookingNotFound(booking_id=booking_id)
        found = plan.bookings.get(stream) or PersonalData(stream)
        assert isinstance(found, PersonalData)
        try:
            event = found.decide(command.decision, now, is_sealed=booking_id in plan.keys)
        except Refusal as refusal:
            return refusal
        if event is None:
            return _outcome("unchanged", booking, plan.newest_position)
        plan.bookings[stream] = found
        plan.events.append(self._mapper.to_stored_event(event))
        if command.decision.verdict == "erase":
            # What was sealed before in this transaction is lost with its key, as it must be.
            plan.keys.pop(booking_id, None)
            plan.new_keys.pop(booking_id, None)
            plan.erased.add(booking_id)
        return _outcome("changed", booking, plan.newest_position)

    def _key(self, plan: Plan, event: Any) -> BookingKey | None:
        """The key of the event's booking, made where it has none; None where it needs none."""
        if event.changed_by is None and event.reason is None and event.metadata is None:
            return None
        booking_id = event.originator_id
        plan.streams.add(stream_of(booking_id))  # an erasure destroys the key
        key = plan.keys.get(booking_id)
        if isinstance(key, BookingKey):
            return key
        if key is None:
            made, plan.new_keys[booking_id] = self._mapper.new_key(booking_id)
        else:
            made = self._mapper.unwrap(booking_id, key)
        plan.keys[booking_id] = made
        return made


def _booking(plan: Plan, booking_id: str) -> Booking | None:
    found = plan.bookings.get(booking_id)
    assert not isinstance(found, PersonalData)
    return found


def _outcome(kind: Any, booking: Booking, position: int) -> Outcome:
    return Outcome(
        kind,
        booking.id,
        booking.status,
        booking.version,
        booking.opened_at,
        booking.changed_at,
        position,
    )


def _given_before(
    plan: Plan,
    known: KnownAnswers,
    idempotency: Idempotency,
) -> Reply | None:
    """The answer that this key had, in this transaction or an earlier one."""
    here, before = plan.answers.get(idempotency.name), known.get(idempotency.name)
    if here is not None:
        request_hmac, answers = here
        return answers if request_hmac == idempotency.request_hmac else _reused(idempotency)
    if before is None:
        return None
    if before.request_hmac != idempotency.request_hmac:
        return _reused(idempotency)  # and of what may be long, nothing is read
    records = orjson.loads(before.answer)
    return [moved(answer_from_record(record), before.moved_by) for record in records]


def _reused(idempotency: Idempotency) -> IdempotencyKeyReused:
    return IdempotencyKeyReused(key=idempotency.key)
