"""Erase what is personal in a booking, hold it against erasure, and see what was decided."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.answers import JsonResponse, decision_document
from api.gate import ReaderRole
from api.models import OfFewFields, ReasonBody, WhyDecided
from api.requests import BookingPath, TheAdmin, TheCalls
from api.routes.contract import (
    WRITE_HEADERS,
    DecidedAnswer,
    PersonalDataAnswer,
    Responses,
    problems,
)
from api.store import TheStore
from ledger.errors import BookingNotFound
from ledger.personal_data import PersonalData
from projections.feed import has_booking, read_decisions

router = APIRouter(prefix="/api/bookings", tags=["personal data"])

Reason = Annotated[WhyDecided, Query()]
WRITTEN: Responses = {200: {"headers": WRITE_HEADERS}}
PROBLEMS = (
    *("booking-not-found", "invalid-request", "idempotency-key-reused", "busy", "outcome-unknown"),
)


@router.get(
    "/{booking_id}/personal-data",
    response_model=PersonalDataAnswer,
    responses=problems("booking-not-found", "invalid-request"),
)
def read(booking_id: BookingPath, key: ReaderRole, store: TheStore) -> Response:
    """Whether the booking is held, and all that was decided about its personal data."""
    del key
    with store.connection() as connection:
        if not has_booking(connection, booking_id):
            raise BookingNotFound(booking_id=booking_id)
        decisions = read_decisions(connection, store.mapper, booking_id)
    personal_data: PersonalData | None = None
    for one in decisions:
        personal_data = one.event.mutate(personal_data)
    document = {
        "bookingId": booking_id,
        "held": personal_data is not None and personal_data.held,
        "decisions": [decision_document(one) for one in decisions],
    }
    return JsonResponse(document, headers={"Cache-Control": "private, no-cache"})


@router.delete(
    "/{booking_id}/personal-data",
    response_model=DecidedAnswer,
    responses={**WRITTEN, **problems("personal-data-held", *PROBLEMS)},
)
async def erase(
    booking_id: BookingPath, reason: Reason, admin: TheAdmin, calls: TheCalls
) -> Response:
    """Erase who, why and metadata of all changes so far, for ever. Statuses and times stay, and
    so does every proof. Nothing is recorded where there is nothing to erase."""
    return await calls.decide(booking_id, "erase", reason, admin)


@router.put(
    "/{booking_id}/hold",
    response_model=DecidedAnswer,
    responses={**WRITTEN, **problems("bad-json", "too-large", *PROBLEMS)},
)
async def hold(
    booking_id: BookingPath,
    body: Annotated[ReasonBody, OfFewFields],
    admin: TheAdmin,
    calls: TheCalls,
) -> Response:
    """Place a legal hold: nothing personal in the booking can be erased until it is released."""
    return await calls.decide(booking_id, "hold", body.reason, admin)


@router.delete(
    "/{booking_id}/hold",
    response_model=DecidedAnswer,
    responses={**WRITTEN, **problems(*PROBLEMS)},
)
async def release(
    booking_id: BookingPath, reason: Reason, admin: TheAdmin, calls: TheCalls
) -> Response:
    """Release the legal hold."""
    return await calls.decide(booking_id, "release", reason, admin)
