"""Evidence of a booking, to be kept and shown to others."""

import re

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from api.gate import ReaderRole
from api.requests import BookingPath
from api.routes.contract import problems
from api.store import TheStore
from projections.evidence.gather import gather_evidence
from projections.evidence.verify_evidence import render

router = APIRouter(prefix="/api/bookings", tags=["bookings"])

HEADERS = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox",
}


@router.get(
    "/{booking_id}/evidence",
    response_class=HTMLResponse,
    responses=problems("booking-not-found", "not-in-log", "log-behind", "invalid-request"),
)
def read_evidence(booking_id: BookingPath, key: ReaderRole, store: TheStore) -> HTMLResponse:
    """One file with the booking's events and the proofs that they are in the log: a page to read
    and print, which `booking-ledger verify-evidence` checks offline."""
    del key
    with store.connection() as connection:
        evidence = gather_evidence(connection, store.mapper, booking_id)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", booking_id)[:60].strip("-") or "booking"
    disposition = {"Content-Disposition": f'attachment; filename="evidence-{name}.html"'}
    return HTMLResponse(render(evidence), headers={**HEADERS, **disposition})
