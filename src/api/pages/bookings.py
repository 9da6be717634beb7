"""The list of bookings, and the way from the search field to one."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import RedirectResponse, Response

from api.cursors import decode_cursor, encode_cursor
from api.gate import ReaderRole
from api.models import Status
from api.pages.booking import booking
from api.pages.navigation import BOOKINGS
from api.pages.rendering import DOT_SEGMENTS, booking_address, page
from api.requests import TheDoor, TheWorkflow
from api.store import TheStore
from projections.queries import FRESH_SECONDS, Filter, Page, list_bookings, wait_until_fresh

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 50


def _filtered(status: str | None, cursor: str | None = None) -> str:
    """Where the list with a filter is."""
    query = {"status": status, "cursor": cursor}
    given = urlencode({name: value for name, value in query.items() if value is not None})
    return f"/?{given}" if given else "/"


@router.get("/")
def bookings(
    key: ReaderRole,
    store: TheStore,
    workflow: TheWorkflow,
    status: Annotated[Status | None, Query()] = None,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """Bookings that changed last."""
    bounds = Page(PAGE_SIZE, after=decode_cursor(cursor, str))
    with store.connection() as connection:
        wait_until_fresh(connection, FRESH_SECONDS)
        rows = list_bookings(connection, Filter(status=status), bounds)
    older = None
    if len(rows) > PAGE_SIZE:
        last = rows[PAGE_SIZE - 1]
        older = _filtered(status, encode_cursor(last.updatedAt, last.id))
    # One of an older workflow is offered where it is chosen already.
    statuses = dict.fromkeys((*workflow.statuses, *([status] if status else [])))
    return page(
        "bookings",
        section=BOOKINGS,
        key=key,
        rows=rows[:PAGE_SIZE],
        statuses=[(one, _filtered(one)) for one in statuses],
        chosen=status,
        older=older,
        newest=_filtered(status) if cursor else None,
        workflow=workflow,
    )


@router.get("/open")
async def open_by_id(
    key: ReaderRole,
    door: TheDoor,
    workflow: TheWorkflow,
    id: str = "",  # noqa: A002  # the form's field
) -> Response:
    """From the search field to the booking's page."""
    booking_id = id.strip()
    if booking_id in DOT_SEGMENTS:
        return await booking(booking_id, key, door, workflow)
    return RedirectResponse(booking_address(booking_id) if booking_id else "/", 303)
