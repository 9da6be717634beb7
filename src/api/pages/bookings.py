"""The list of bookings: what is looked for stands in the address."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AfterValidator, BeforeValidator, TypeAdapter
from starlette.responses import RedirectResponse, Response

from api.cursors import decode_cursor, encode_cursor
from api.gate import ReaderRole
from api.models import BookingId, ChangedBy, Status, Time
from api.pages.booking import AtVersion, booking
from api.pages.navigation import BOOKINGS
from api.pages.rendering import DOT_SEGMENTS, booking_address, page
from api.requests import TheDoor, TheWorkflow
from api.store import TheStore
from projections.queries import FRESH_SECONDS, wait_until_fresh
from projections.search import Search, find_bookings

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 50
LOOKED_THROUGH = 10_000
"""More than programs may ask for at a time: people would rather wait a moment than go on by hand.
"""
DATE_LENGTH = len("2026-03-01")

_time: TypeAdapter[datetime] = TypeAdapter(Time)


def _read_time(text: str) -> datetime:
    """A day, of which it is the beginning, or an RFC 3339 time."""
    return _time.validate_python(f"{text}T00:00:00Z" if len(text) == DATE_LENGTH else text)


def is_time(text: str) -> str:
    """The text, if it is a day or a time."""
    _read_time(text)
    return text


def _stripped(text: object) -> object:
    return text.strip() if isinstance(text, str) else text


Id = Annotated[Annotated[BookingId, BeforeValidator(_stripped)] | None, Query()]
When = Annotated[Annotated[str, AfterValidator(is_time)] | None, Query(max_length=40)]


@dataclass(frozen=True)
class Asked:
    """What the form has, as it stands in the address."""

    id: str | None
    status: str | None
    who: str | None
    fromStatus: str | None  # noqa: N815  # as in the API
    toStatus: str | None  # noqa: N815
    since: str | None
    until: str | None
    change: Literal["any"] | None = None

    def address(self, **other: str | None) -> str:
        """Where the list is that asks the same, but for what is said otherwise."""
        query = {name: value for name, value in {**vars(self), **other}.items() if value}
        return f"/?{urlencode(query)}" if query else "/"

    def search(self) -> Search:
        until = None
        if self.until is not None:
            # A day ends with it; a time is what it says.
            day = timedelta(days=1 if len(self.until) == DATE_LENGTH else 0)
            until = min(_read_time(self.until), datetime.max.replace(tzinfo=UTC) - day) + day
        return Search(
            prefix=self.id,
            status=self.status,
            changed_by=self.who,
            from_status=self.fromStatus,
            to_status=self.toStatus,
            since=None if self.since is None else _read_time(self.since),
            until=until,
            any_change=self.change == "any",
        )


async def _asked(
    id: Id = None,  # noqa: A002  # the form's field
    status: Annotated[Status | None, Query()] = None,
    who: Annotated[ChangedBy | None, Query()] = None,
    from_status: Annotated[Status | None, Query(alias="fromStatus")] = None,
    to_status: Annotated[Status | None, Query(alias="toStatus")] = None,
    since: When = None,
    until: When = None,
    change: Annotated[Literal["any"] | None, Query()] = None,
) -> Asked:
    return Asked(id, status, who, from_status, to_status, since, until, change)


@router.get("/")
def bookings(
    key: ReaderRole,
    store: TheStore,
    workflow: TheWorkflow,
    asked: Annotated[Asked, Depends(_asked)],
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """Bookings that fit, by id where its beginning is looked for, else the newest change first."""
    search = asked.search()
    by_position = search.of_change and search.prefix is None
    after = decode_cursor(cursor, int if by_position else str)
    with store.connection() as connection:
        position = wait_until_fresh(connection, FRESH_SECONDS)
        found, place = find_bookings(connection, search, PAGE_SIZE, after, LOOKED_THROUGH)
    only = [one.booking.id for one in found] == [asked.id] and place is None
    if only and asked == _only_id(asked.id):
        return RedirectResponse(booking_address(str(asked.id)), 303)
    more = None if place is None else asked.address(cursor=encode_cursor(*place))
    return page(
        "bookings",
        section=BOOKINGS,
        key=key,
        asked=asked,
        rows=found,
        of_change=by_position,
        statuses=_statuses(asked, workflow.statuses),
        more=more,
        reached=place,
        first=asked.address() if cursor else None,
        position=position,
        workflow=workflow,
    )


def _statuses(asked: Asked, known: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Each status, where the list of it is, and whether it is chosen."""
    # One of an older workflow is offered where it is chosen already.
    all_ = dict.fromkeys((*known, *([asked.status] if asked.status else [])))
    return [(one, asked.address(status=one), one == asked.status) for one in all_]


@router.get("/find")
async def find(request: Request) -> Response:
    """From the form to the list: without the fields that nobody filled in."""
    filled = [(name, text) for name, text in request.query_params.items() if text.strip()]
    return RedirectResponse(f"/?{urlencode(filled)}" if filled else "/", 303)


@router.get("/open")
async def open_by_id(
    key: ReaderRole,
    door: TheDoor,
    store: TheStore,
    workflow: TheWorkflow,
    id: str = "",  # noqa: A002
    version: AtVersion = None,
) -> Response:
    """The page of a booking whose id a path may not be able to have."""
    booking_id = id.strip()
    if booking_id in DOT_SEGMENTS:
        return await booking(booking_id, key, door, store, workflow, version)
    return RedirectResponse(booking_address(booking_id) if booking_id else "/", 303)


def _only_id(booking_id: str | None) -> Asked:
    return Asked(booking_id, None, None, None, None, None, None)
