"""Open a booking, change its status, read it as it is or was."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from api.gate import ReaderRole
from api.models import ChangeBody, OfFewFields, OpenBody, Time
from api.requests import BookingPath, IfMatch, TheCaller, TheCalls
from api.routes.contract import (
    ETAG_HEADERS,
    LOCATION_HEADERS,
    NOT_MODIFIED,
    READ_HEADERS,
    WRITE_HEADERS,
    BookingAnswer,
    ChangedAnswer,
    HistoryAnswer,
    problems,
)
from ledger.errors import BookingNotFound
from projections.opening import History

router = APIRouter(prefix="/api/bookings", tags=["bookings"])

IfNoneMatch = Annotated[str | None, Header(description='Version that the caller has, as `"v3"`')]
Version = Annotated[
    int | None, Query(ge=1, le=2**31 - 1, description="The booking as it was at this version")
]
AsOf = Annotated[
    Time | None,
    Query(
        alias="asOf",
        description="The booking as it was at this time, by when changes occurred",
        examples=["2026-03-01T12:00:00Z"],
    ),
]


@router.post(
    "",
    status_code=201,
    response_model=BookingAnswer,
    responses={
        201: {"headers": {**LOCATION_HEADERS, **ETAG_HEADERS, **WRITE_HEADERS}},
        **problems(
            *("bad-json", "too-large", "booking-exists", "invalid-request", "unknown-status"),
            *("idempotency-key-reused", "busy", "outcome-unknown"),
        ),
    },
)
async def open_booking(
    body: Annotated[OpenBody, OfFewFields], caller: TheCaller, calls: TheCalls
) -> Response:
    """Open a booking. It may enter the ledger in any status of the workflow."""
    return await calls.open(body, caller)


@router.patch(
    "/{booking_id}",
    response_model=ChangedAnswer,
    responses={
        200: {"headers": {**ETAG_HEADERS, **WRITE_HEADERS}},
        **problems(
            *("bad-json", "too-large", "booking-not-found", "transition-not-allowed"),
            *("version-mismatch", "invalid-request", "unknown-status"),
            *("idempotency-key-reused", "busy", "outcome-unknown"),
        ),
    },
)
async def change_status(
    booking_id: BookingPath,
    body: Annotated[ChangeBody, OfFewFields],
    caller: TheCaller,
    calls: TheCalls,
    if_match: IfMatch,
) -> Response:
    """Change the status. The status that it already has records nothing."""
    return await calls.change(booking_id, body, if_match, caller)


@router.get(
    "/{booking_id}",
    response_model=BookingAnswer,
    responses={
        200: {"headers": READ_HEADERS},
        **NOT_MODIFIED,
        **problems("booking-not-found", "invalid-request", "busy"),
    },
)
async def read_booking(
    booking_id: BookingPath,
    key: ReaderRole,
    calls: TheCalls,
    version: Version = None,
    as_of: AsOf = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The booking as it is, or with `version` or `asOf` as it was."""
    del key
    if version is None and as_of is None:
        return await calls.read_booking(booking_id, if_none_match)
    events = await calls.events(booking_id, _FirstAndLast(version, as_of))
    if not events:
        raise BookingNotFound(booking_id=booking_id)
    return calls.booking_answer(events).response(if_none_match)


@router.get(
    "/{booking_id}/status-history",
    response_model=HistoryAnswer,
    responses={
        200: {"headers": READ_HEADERS},
        **NOT_MODIFIED,
        **problems("booking-not-found", "invalid-request", "busy"),
    },
)
async def read_history(
    booking_id: BookingPath, key: ReaderRole, calls: TheCalls, if_none_match: IfNoneMatch = None
) -> Response:
    """Everything that happened to the booking, oldest first."""
    del key
    return await calls.read_history(booking_id, if_none_match)


@dataclass(frozen=True)
class _FirstAndLast:
    """The first event, and the last up to a version and of those that had occurred at a time.

    Empty where the booking was not known then: an error would keep what it was called with. Times
    need not rise with versions: a change that is recorded late counts from when it occurred.
    """

    version: int | None
    as_of: datetime | None

    def __call__(self, history: History) -> History:
        version = self.version or len(history)
        if version <= len(history):
            for one in reversed(history[:version]):
                if self.as_of is None or one.event.occurred_at <= self.as_of:
                    return (history[0], one)
        return ()
