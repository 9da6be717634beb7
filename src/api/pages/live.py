"""What is happening now: the newest changes, followed as they come."""

from fastapi import APIRouter
from starlette.responses import Response

from api.gate import ReaderRole
from api.pages.navigation import LIVE
from api.pages.rendering import page
from api.store import TheStore
from projections.feed import events_after, head
from projections.rows import PositionedEvent, history_row

router = APIRouter(include_in_schema=False)

SHOWN = 50


@router.get("/live")
def live(key: ReaderRole, store: TheStore) -> Response:
    """The newest changes, in the order in which they were recorded, the newest first."""
    with store.connection() as connection:
        newest = head(connection)
        found = events_after(connection, store.mapper, max(0, newest - SHOWN), SHOWN)
    changes = [
        (history_row(one), None) if isinstance(one, PositionedEvent) else (None, one)
        for one in reversed(found)
    ]
    return page("live", section=LIVE, key=key, changes=changes, head=newest)
