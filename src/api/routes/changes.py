"""Record many changes in one call."""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from api.models import BulkBody, OfFewFields
from api.requests import TheCaller, TheCalls
from api.routes.contract import BULK_HEADERS, BulkAnswer, problems

router = APIRouter(prefix="/api/status-changes", tags=["bookings"])


@router.post(
    "",
    response_model=BulkAnswer,
    responses={
        200: {"headers": BULK_HEADERS},
        **problems(
            *("bad-json", "too-large", "invalid-request"),
            *("idempotency-key-reused", "busy", "outcome-unknown"),
        ),
    },
)
async def record_changes(
    body: Annotated[BulkBody, OfFewFields], caller: TheCaller, calls: TheCalls
) -> Response:
    """Record up to 1,000 changes, in order, each decided by itself; unknown bookings are opened.

    What is accepted is on disk when the answer comes, all in one transaction. A body that is
    not valid is refused as a whole; a change that the workflow refuses is refused alone.
    """
    return await calls.record(body, caller)
