"""One booking and what happened to it."""

from fastapi import APIRouter
from starlette.responses import Response

from api.answers import booking_of
from api.gate import ReaderRole
from api.pages.navigation import BOOKINGS
from api.pages.rendering import page
from api.requests import BookingPath, TheDoor, TheWorkflow
from ledger.errors import BookingNotFound
from projections.rows import history_row

router = APIRouter(include_in_schema=False)


@router.get("/bookings/{booking_id}")
async def booking(
    booking_id: BookingPath, key: ReaderRole, door: TheDoor, workflow: TheWorkflow
) -> Response:
    """A booking and what happened to it."""
    history = await door.history(booking_id)
    if not history:
        raise BookingNotFound(booking_id=booking_id)
    return page(
        "booking",
        section=BOOKINGS,
        key=key,
        booking=booking_of(history),
        history=[history_row(positioned) for positioned in history],
        workflow=workflow,
    )
