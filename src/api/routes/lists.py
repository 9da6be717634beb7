"""Lists of bookings and of history, with filters, page by page."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlencode

import psycopg
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from api.answers import JsonResponse, booking_document, history_entry
from api.cursors import decode_cursor, encode_cursor
from api.gate import ReaderRole
from api.models import BookingId, ChangedBy, Status, Time
from api.requests import TheWorkflow
from api.routes.contract import LIST_HEADERS, BookingPage, HistoryPage, problems
from api.store import TheStore
from projections.lists import list_bookings, list_history
from projections.queries import (
    FRESH_SECONDS,
    Filter,
    Page,
    wait_until_fresh,
)

router = APIRouter(prefix="/api", tags=["lists"])

FoundT = TypeVar("FoundT")

Limit = Annotated[int, Query(ge=1, le=500, description="Most entries of a page")]
Cursor = Annotated[str | None, Query(description="`next` of the page before", max_length=1000)]
OrderParam = Annotated[
    Literal["asc", "desc"], Query(description="Oldest first, or newest first (the default)")
]
Since = Annotated[Time | None, Query(description="From this time on")]
Until = Annotated[Time | None, Query(description="Before this time")]
StatusParam = Annotated[Status | None, Query()]
BookingParam = Annotated[BookingId | None, Query(alias="bookingId")]
FromStatus = Annotated[Status | None, Query(alias="fromStatus")]
ToStatus = Annotated[Status | None, Query(alias="toStatus")]
ChangedByParam = Annotated[ChangedBy | None, Query(alias="changedBy")]


async def history_filter(
    booking_id: BookingParam = None,
    status: Annotated[Status | None, Query(description="The same as toStatus")] = None,
    from_status: FromStatus = None,
    to_status: ToStatus = None,
    changed_by: ChangedByParam = None,
    since: Since = None,
    until: Until = None,
) -> Filter:
    """The filters of whatever is about changes."""
    # Asynchronous though it waits for nothing: FastAPI gives others a thread for each call.
    return Filter(booking_id, to_status or status, from_status, changed_by, since, until)


HistoryFilter = Annotated[Filter, Depends(history_filter)]

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"headers": LIST_HEADERS},
    **problems("invalid-request", "projection-behind"),
}


@router.get("/bookings", response_model=BookingPage, responses=RESPONSES)
def bookings(
    request: Request,
    key: ReaderRole,
    store: TheStore,
    workflow: TheWorkflow,
    status: StatusParam = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    order: OrderParam = "desc",
    cursor: Cursor = None,
) -> Response:
    """Bookings by the time of their latest change, which `since` and `until` bound."""
    del key
    page = Page(limit, order, decode_cursor(cursor, str))
    rows, position = _fresh(
        store.connection,
        lambda connection: list_bookings(
            connection, Filter(status=status, since=since, until=until), page
        ),
    )
    after = (
        encode_cursor(rows[limit - 1].updatedAt, rows[limit - 1].id) if more(rows, limit) else None
    )
    documents = [booking_document(row, workflow) for row in rows[:limit]]
    return _page(request, {"bookings": documents, "next": after}, after, position)


@router.get("/status-history", response_model=HistoryPage, responses=RESPONSES)
def status_history(
    request: Request,
    key: ReaderRole,
    store: TheStore,
    chosen: HistoryFilter,
    limit: Limit = 50,
    order: OrderParam = "desc",
    cursor: Cursor = None,
) -> Response:
    """History of all bookings by the time it occurred, which `since` and `until` bound."""
    del key
    page = Page(limit, order, decode_cursor(cursor, int))
    found, position = _fresh(
        store.connection, lambda connection: list_history(connection, chosen, page)
    )
    after = None if found.next is None else encode_cursor(*found.next)
    documents = [{"bookingId": row.bookingId, **history_entry(row)} for row in found.rows]
    return _page(request, {"history": documents, "next": after}, after, position)


def more(rows: Sequence[object], limit: int) -> bool:
    return len(rows) > limit


def _fresh(
    connect: Callable[[], Any], query: Callable[[psycopg.Connection], FoundT]
) -> tuple[FoundT, int]:
    """Rows that hold every write answered before this call, and the position they hold."""
    with connect() as connection:
        position = wait_until_fresh(connection, FRESH_SECONDS)
        return query(connection), position


def _page(
    request: Request, content: Mapping[str, Any], after: str | None, position: int
) -> Response:
    headers = {"Ledger-Position": str(position), "Cache-Control": "private, no-cache"}
    if after is not None:
        kept = [
            (name, value) for name, value in request.query_params.multi_items() if name != "cursor"
        ]
        query = urlencode([*kept, ("cursor", after)])
        headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
    return JsonResponse(content, headers=headers)
