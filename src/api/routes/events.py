"""The raw feed: every event in the order of positions, page by page or live."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import format_sse_event
from starlette.responses import Response, StreamingResponse

from api.answers import JsonResponse, event_document
from api.gate import ReaderRole
from api.routes.contract import LINK_HEADERS, EventPage, problems
from api.store import TheStore
from api.tail import Tail
from ledger.errors import InvalidField
from projections.feed import events_after

router = APIRouter(prefix="/api/events", tags=["feed"])

POSITION_MAX = 2**63 - 1
CONNECTED = format_sse_event(comment="connected", retry=2_000)  # milliseconds
UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""What is sent is sent on at once, by nginx too."""

After = Annotated[int | None, Query(ge=0, le=POSITION_MAX, description="Position to go on after")]


@router.get(
    "",
    response_model=EventPage,
    responses={200: {"headers": LINK_HEADERS}, **problems("invalid-request")},
)
def events(
    key: ReaderRole,
    store: TheStore,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Response:
    """Events after a position, in commit order. No event ever appears before one that was read."""
    del key
    after = after or 0
    with store.connection() as connection:
        found = events_after(connection, store.mapper, after, limit)
    position = found[-1].position if found else after
    headers = {"Cache-Control": "private, no-cache"}
    if len(found) == limit:
        headers["Link"] = f'</api/events?after={position}&limit={limit}>; rel="next"'
    documents = [event_document(one) for one in found]
    return JsonResponse({"events": documents, "next": position}, headers=headers)


async def _start(
    request: Request,
    after: After = None,
    last_event_id: Annotated[
        str | None,
        Header(
            description="Where the browser was: goes before `after`",
            json_schema_extra={"pattern": "^[0-9]{0,18}$"},
        ),
    ] = None,
) -> int:
    """The position to go on after; the newest where none is said.

    Found out before anything is answered: whoever is told that he is connected gets all that
    comes from then on.
    """
    if last_event_id is None or last_event_id == "":
        if after is not None:
            return after
        tail: Tail = request.app.state.tail
        return await tail.newest()
    if not last_event_id.isascii() or not last_event_id.isdigit() or len(last_event_id) > 18:
        raise InvalidField(field="Last-Event-ID", message="must be a position")
    return int(last_event_id)


async def _followed(
    request: Request, start: Annotated[int, Depends(_start)]
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Closed when the answer ends, also where the reader went away without having read it."""
    tail: Tail = request.app.state.tail
    async with aclosing(tail.follow(start)) as followed:
        yield followed


@router.get("/stream", response_class=StreamingResponse, responses=problems("invalid-request"))
async def stream(
    key: ReaderRole, followed: Annotated[AsyncIterator[bytes], Depends(_followed)]
) -> Response:
    """Events as they are recorded (Server-Sent Events), `id` being the position.

    Starts after `Last-Event-ID` or `after`, else with what comes from now on. A comment is
    sent when nothing happens for 15 seconds, which keeps proxies from closing the connection.
    """
    del key

    async def sent() -> AsyncIterator[bytes]:
        yield CONNECTED
        async for part in followed:
            yield part

    return StreamingResponse(sent(), media_type="text/event-stream", headers=UNBUFFERED)
