"""What callers get: JSON in camelCase, times in RFC 3339 UTC with milliseconds."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from starlette.responses import Response

from ledger.commands import Outcome
from ledger.personal_data import booking_of_stream
from ledger.workflow import Workflow
from projections.rows import (
    BookingRow,
    HistoryRow,
    Positioned,
    PositionedDecision,
    PositionedEvent,
    history_row,
    milliseconds,
)


class JsonResponse(Response):
    media_type = "application/json"

    def __init__(
        self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        _fill(self, status_code, orjson.dumps(content), headers or {})


def answer_of_bytes(body: bytes, headers: Mapping[str, str]) -> Response:
    """200 with what is JSON already."""
    response = JsonResponse.__new__(JsonResponse)
    _fill(response, 200, body, headers)
    return response


def _fill(response: Response, status_code: int, body: bytes, headers: Mapping[str, str]) -> None:
    """What Starlette's own constructor does, without looking through headers for what to add."""
    response.status_code = status_code
    response.body = body
    response.background = None
    response.raw_headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *((name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()),
    ]


def rfc3339(time: datetime) -> str:
    """A stored time (naive, in UTC) as text, with milliseconds."""
    # It takes half of the time of `isoformat`, twice for each entry.
    text = orjson.dumps(time).decode()
    return f"{text[1:24]}Z" if time.microsecond else f"{text[1:20]}.000Z"


def etag(version: int) -> str:
    return f'"v{version}"'


def booking_document(booking: BookingRow, workflow: Workflow) -> dict[str, Any]:
    return {
        "id": booking.id,
        "status": booking.status,
        "version": booking.version,
        "createdAt": rfc3339(booking.createdAt),
        "updatedAt": rfc3339(booking.updatedAt),
        "allowedTransitions": workflow.allowed_from(booking.status),
    }


def outcome_document(outcome: Outcome, workflow: Workflow) -> dict[str, Any]:
    """The booking as an outcome left it."""
    return booking_document(
        BookingRow(
            outcome.booking_id,
            outcome.status,
            outcome.version,
            milliseconds(outcome.opened_at),
            milliseconds(outcome.changed_at),
            outcome.position,
        ),
        workflow,
    )


def booking_of(history: Sequence[PositionedEvent]) -> BookingRow:
    """The booking after these events, of which there is at least one."""
    first, last = history[0].event, history[-1].event
    return BookingRow(
        last.originator_id,
        last.to_status,
        last.originator_version,
        milliseconds(first.occurred_at),
        milliseconds(last.occurred_at),
        history[-1].position,
    )


def history_document(history: Iterable[PositionedEvent]) -> list[dict[str, Any]]:
    return [history_entry(history_row(positioned)) for positioned in history]


def history_entry(row: HistoryRow) -> dict[str, Any]:
    created_at = rfc3339(row.createdAt)
    is_same = row.recordedAt == row.createdAt
    return {
        "id": row.id,
        "fromStatus": row.fromStatus,
        "toStatus": row.toStatus,
        "changedBy": row.changedBy,
        "reason": row.reason,
        "metadata": None if row.metadata is None else orjson.Fragment(row.metadata),
        "createdAt": created_at,
        "version": row.version,
        "position": row.position,
        "recordedAt": created_at if is_same else rfc3339(row.recordedAt),
        "actor": row.actor,
        "source": row.source,
        "claimedFromStatus": row.claimedFromStatus,
        "erased": row.erased,
    }


def event_document(positioned: Positioned) -> dict[str, Any]:
    """Any event: a change of status, or a decision about personal data."""
    if isinstance(positioned, PositionedDecision):
        return decision_document(positioned)
    entry = history_entry(history_row(positioned))
    entry["occurredAt"] = entry.pop("createdAt")
    return {
        "position": positioned.position,
        "bookingId": positioned.event.originator_id,
        "type": type(positioned.event).TOPIC,  # type: ignore[attr-defined]
        **entry,
    }


def decision_document(positioned: PositionedDecision) -> dict[str, Any]:
    event = positioned.event
    return {
        "position": positioned.position,
        "bookingId": booking_of_stream(event.originator_id),
        "type": event.TOPIC,
        "version": event.originator_version,
        "recordedAt": rfc3339(milliseconds(event.timestamp)),
        "decidedBy": event.decided_by,
        "reason": event.reason,
        "actor": event.actor,
        "source": event.source,
    }


def history_etag(history: Sequence[PositionedEvent]) -> str:
    """The version, and how many of the entries are erased: they were others before."""
    erased = sum(one.erased for one in history)
    return f'"v{len(history)}-{erased}-erased"' if erased else etag(len(history))


def matches(if_none_match: str, tag: str) -> bool:
    given = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return "*" in given or tag in given
