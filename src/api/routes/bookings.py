"""Open a booking, change its status, read it as it is or was."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from api.gate import ReaderRole
from api.models import ChangeBody, OpenBody, Time
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
async def open_booking(body: OpenBody, caller: TheCaller, calls: TheCalls) -> Response:
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
    body: ChangeBody,
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
    history = _until(await calls.history(booking_id), version, as_of)
    if not history:
        raise BookingNotFound(booking_id=booking_id)
    return calls.booking_answer(history).response(if_none_match)


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


def _until(history: History, version: int | None, as_of: datetime | None) -> History:
    """The events up to a version, and up to the last that had occurred at a time.

    Empty where the booking was not known then. Times need not rise with versions: a change
    that is recorded late counts from when it occurred.
    """
    if version is not None:
        if version > len(history):
            return ()
        history = history[:version]
    if as_of is not None:
        occurred = [i for i, one in enumerate(history) if one.event.occurred_at <= as_of]
        history = history[: occurred[-1] + 1] if occurred else ()
    return history
