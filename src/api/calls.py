"""The calls about single bookings, from checked input to the answer.

The routes and the express lane both call these, so there is one meaning and two ways in.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
from starlette.responses import Response
from uuid_utils import uuid7

from api.answers import (
    JsonResponse,
    booking_document,
    booking_of,
    etag,
    history_document,
    history_etag,
    outcome_document,
)
from api.door import Door
from api.kept_answers import KeptAnswer, KeptAnswers
from api.keys import Principal
from api.models import Body, BulkBody, BulkChangeBody, ChangeBody, OpenBody, ReasonBody
from api.problems import problem_of
from ledger.booking import ActorType, Change
from ledger.commands import (
    Answer,
    ChangeStatus,
    DecideOnPersonalData,
    OpenBooking,
    Outcome,
    RecordStatus,
)
from ledger.errors import InvalidField, Refusal
from ledger.personal_data import Decision, Verdict
from ledger.plan import Idempotency
from ledger.workflow import Workflow
from projections.opening import History

OPEN = "/api/bookings"
CHANGES = "/api/status-changes"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and the key that makes the call safe to send again."""

    principal: Principal
    idempotency_key: str | None


class Calls:
    def __init__(
        self, door: Door, workflow: Workflow, request_key: bytes, kept: KeptAnswers
    ) -> None:
        """`request_key` is what requests are hashed with, which may hold personal data."""
        self._door = door
        self._kept = kept
        self._request_key = request_key
        self._workflow = workflow

    async def open(self, body: OpenBody, caller: Caller) -> Response:
        command = OpenBooking(body.id or str(uuid7()), self._change(body, caller.principal))
        same = self._idempotency(caller, "POST", OPEN, body)
        outcome: Outcome = await self._door.record_one(command, same)
        return JsonResponse(
            outcome_document(outcome, self._workflow),
            201,
            {
                "Location": f"{OPEN}/{quote(outcome.booking_id, safe='')}",
                "ETag": etag(outcome.version),
                "Ledger-Position": str(outcome.position),
            },
        )

    async def change(
        self, booking_id: str, body: ChangeBody, if_match: frozenset[int] | None, caller: Caller
    ) -> Response:
        command = ChangeStatus(booking_id, self._change(body, caller.principal), if_match)
        versions = None if if_match is None else sorted(if_match)
        same = self._idempotency(caller, "PATCH", f"{OPEN}/{booking_id}", body, versions)
        outcome: Outcome = await self._door.record_one(command, same)
        document = outcome_document(outcome, self._workflow)
        document["changed"] = outcome.kind == "changed"
        return JsonResponse(
            document,
            headers={"ETag": etag(outcome.version), "Ledger-Position": str(outcome.position)},
        )

    async def record(self, body: BulkBody, caller: Caller) -> Response:
        principal = caller.principal
        commands = [
            RecordStatus(one.bookingId, self._change(one, principal)) for one in body.changes
        ]
        answers = await self._door.record(
            commands, self._idempotency(caller, "POST", CHANGES, body)
        )
        results = [
            self._result(command.booking_id, answer)
            for command, answer in zip(commands, answers, strict=True)
        ]
        counts = dict.fromkeys(("opened", "changed", "unchanged", "refused"), 0)
        for result in results:
            counts[result["outcome"]] += 1
        positions = [answer.position for answer in answers if not isinstance(answer, Refusal)]
        return JsonResponse(
            {"results": results, "counts": counts},
            headers={"Ledger-Position": str(max(positions))} if positions else {},
        )

    async def decide(
        self, booking_id: str, verdict: Verdict, reason: str, caller: Caller
    ) -> Response:
        """Erase, hold or release what is personal in a booking."""
        principal = caller.principal
        decision = Decision(
            verdict=verdict,
            reason=reason,
            decided_by=principal.subject,
            actor="api-key" if principal.subject is None else "user",
            source=principal.source,
        )
        same = self._idempotency(caller, verdict, f"{OPEN}/{booking_id}", ReasonBody(reason=reason))
        command = DecideOnPersonalData(booking_id, decision)
        outcome: Outcome = await self._door.record_one(command, same)
        return JsonResponse(
            {"bookingId": booking_id, "changed": outcome.kind == "changed"},
            headers={"Ledger-Position": str(outcome.position)},
        )

    async def events(self, booking_id: str, which: Callable[[History], History]) -> History:
        """Some events of a booking. Raises BookingNotFound where it has none."""
        return await self._door.made(booking_id, which)

    async def read_booking(self, booking_id: str, if_none_match: str | None) -> Response:
        """The booking as it is. Raises BookingNotFound."""
        return await self._read("booking", booking_id, self.booking_answer, if_none_match)

    async def read_history(self, booking_id: str, if_none_match: str | None) -> Response:
        """Everything that happened to the booking, oldest first. Raises BookingNotFound."""
        return await self._read("history", booking_id, _history_answer, if_none_match)

    def booking_answer(self, history: History) -> KeptAnswer:
        """The booking as these events made it."""
        booking = booking_of(history)
        body = orjson.dumps(booking_document(booking, self._workflow))
        return KeptAnswer(body, etag(booking.version), booking.position)

    async def _read(
        self,
        kind: str,
        booking_id: str,
        make: Callable[[History], KeptAnswer],
        if_none_match: str | None,
    ) -> Response:
        kept = self._kept.get(kind, booking_id)
        reading = await self._door.read(booking_id, make, kept.mark if kept else None)
        if reading.made is not None:
            kept = reading.made
        assert kept is not None
        kept.mark = reading.mark
        self._kept.keep(kind, booking_id, kept)
        return kept.response(if_none_match)

    def _change(self, body: ChangeBody | OpenBody | BulkChangeBody, principal: Principal) -> Change:
        """The change that a body asks for, by this principal.

        With a token, who changed it is the token's subject and nobody else; with a service's
        key it is what the service says.
        """
        changed_by, actor = _who(body.changedBy, principal)
        return Change(
            status=body.status or self._workflow.initial,
            changed_by=changed_by,
            reason=body.reason,
            metadata=body.metadata,
            occurred_at=body.occurredAt,
            actor=actor,
            source=principal.source,
        )

    def _idempotency(
        self,
        caller: Caller,
        method: str,
        path: str,
        body: Body,
        versions: Sequence[int] | None = None,
    ) -> Idempotency | None:
        """What makes this request the same as another: method, path, body, versions expected."""
        if caller.idempotency_key is None:
            return None
        same = [method, path, body.model_dump(mode="json"), versions]
        content = orjson.dumps(same, option=orjson.OPT_SORT_KEYS)
        digest = hmac.digest(self._request_key, content, "sha256")
        return Idempotency(caller.principal.scope, caller.idempotency_key, digest)

    def _result(self, booking_id: str, answer: Answer) -> dict[str, Any]:
        if isinstance(answer, Refusal):
            problem = problem_of(answer).document(f"{OPEN}/{quote(booking_id, safe='')}")
            return {"bookingId": booking_id, "outcome": "refused", "problem": problem}
        return {
            "bookingId": booking_id,
            "outcome": answer.kind,
            "position": answer.position,
            "booking": outcome_document(answer, self._workflow),
        }


def _history_answer(history: History) -> KeptAnswer:
    document = {
        "bookingId": history[0].event.originator_id,
        "history": history_document(history),
    }
    position = history[-1].position
    return KeptAnswer(orjson.dumps(document), history_etag(history), position)


def _who(changed_by: str | None, principal: Principal) -> tuple[str | None, ActorType]:
    if principal.subject is None:
        return changed_by, "system" if changed_by is None else "api-key"
    if changed_by not in (None, principal.subject):
        raise InvalidField(
            field="changedBy",
            message=f"is {principal.subject!r}, the subject of the token; leave it out",
        )
    return principal.subject, "user"
