"""Web pages, rendered by the server; they only read.

Everything on them is escaped by the template engine, and a Content-Security-Policy without
scripts stands behind it. The style is in the page, so that the log-in page has it too: nothing
is served without a key.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.answers import booking_of, rfc3339
from api.cursors import decode_cursor, encode_cursor
from api.gate import COOKIE, ReaderRole
from api.models import Status
from api.problems import ProblemType
from api.requests import BookingPath, TheDoor, TheWorkflow
from api.store import TheStore
from ledger.errors import BookingNotFound
from projections.queries import FRESH_SECONDS, Filter, Page, list_bookings, wait_until_fresh
from projections.rows import history_row

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 50

_loader = PackageLoader("api.pages")
_templates = Environment(
    loader=_loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_STYLE = _loader.get_source(_templates, "style.css")[0]
_STYLE_SHA256 = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_SHA256}'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

DOT_SEGMENTS = frozenset({".", ".."})
"""Ids that no path can have: browsers resolve them away, encoded or not."""


def _address(booking_id: str) -> str:
    """Where the page of a booking is."""
    if booking_id in DOT_SEGMENTS:
        return f"/open?{urlencode({'id': booking_id})}"
    return f"/bookings/{quote(booking_id, safe='')}"


def _filtered(status: str | None, cursor: str | None = None) -> str:
    """Where the list with a filter is."""
    query = {"status": status, "cursor": cursor}
    given = urlencode({name: value for name, value in query.items() if value is not None})
    return f"/?{given}" if given else "/"


_templates.globals["style"] = Markup(_STYLE)  # noqa: S704  # a file of ours
_templates.filters["time"] = rfc3339
_templates.filters["address"] = _address
_templates.filters["filtered"] = _filtered


def _page(template: str, status: int = 200, **content: Any) -> HTMLResponse:
    text = _templates.get_template(f"{template}.html").render(**content)
    return HTMLResponse(text, status, HEADERS)


def login_page(*, tried: bool) -> Response:
    """What a browser without a key gets, whatever it asked for."""
    return _page("login", 401, tried=tried)


def problem_page(kind: ProblemType, detail: str, headers: Mapping[str, str]) -> Response:
    """A problem for people to read."""
    response = _page("problem", kind.status, title=kind.title, detail=detail)
    response.headers.update(headers)
    return response


@router.get("/")
def bookings(
    key: ReaderRole,
    store: TheStore,
    workflow: TheWorkflow,
    status: Annotated[Status | None, Query()] = None,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """Bookings that changed last."""
    page = Page(PAGE_SIZE, after=decode_cursor(cursor, str))
    with store.connection() as connection:
        wait_until_fresh(connection, FRESH_SECONDS)
        rows = list_bookings(connection, Filter(status=status), page)
    older = None
    if len(rows) > PAGE_SIZE:
        last = rows[PAGE_SIZE - 1]
        older = _filtered(status, encode_cursor(last.updatedAt, last.id))
    # One of an older workflow is offered where it is chosen already.
    statuses = dict.fromkeys((*workflow.statuses, *([status] if status else [])))
    return _page(
        "bookings",
        key=key,
        rows=rows[:PAGE_SIZE],
        statuses=statuses,
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
    return RedirectResponse(_address(booking_id) if booking_id else "/", 303)


@router.get("/bookings/{booking_id}")
async def booking(
    booking_id: BookingPath, key: ReaderRole, door: TheDoor, workflow: TheWorkflow
) -> Response:
    """A booking and what happened to it."""
    history = await door.history(booking_id)
    if not history:
        raise BookingNotFound(booking_id=booking_id)
    return _page(
        "booking",
        key=key,
        booking=booking_of(history),
        history=[history_row(positioned) for positioned in history],
        workflow=workflow,
    )


@router.get("/logout")
async def logout() -> Response:
    response = RedirectResponse("/", 303, headers={"Cache-Control": "no-store"})
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return response
