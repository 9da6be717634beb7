"""From a template to a page: escaped, and with headers that let it run nothing but its own."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from api.answers import rfc3339
from api.keys import Principal
from api.pages import colours, static_files, times
from api.pages.navigation import SECTIONS, Section
from api.problems import ProblemType
from ledger.personal_data import booking_of_stream

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "private, no-store",
    # With no-referrer browsers would not say where the log-in form comes from.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

DOT_SEGMENTS = frozenset({".", ".."})
"""Ids that no path can have: browsers resolve them away, encoded or not."""


def booking_address(booking_id: str, **query: object) -> str:
    """Where the page of a booking is."""
    if booking_id in DOT_SEGMENTS:
        return f"/open?{urlencode({'id': booking_id, **query})}"
    path = f"/bookings/{quote(booking_id, safe='')}"
    return f"{path}?{urlencode(query)}" if query else path


_templates = Environment(
    loader=PackageLoader("api.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["sections"] = SECTIONS
_templates.filters["time"] = rfc3339
_templates.filters["address"] = booking_address
_templates.filters["booking"] = booking_of_stream
_templates.filters["static"] = static_files.address
_templates.filters["minute"] = times.minute
_templates.filters["second"] = times.second
_templates.filters["ago"] = times.ago
_templates.filters["span"] = times.span
_templates.filters["hue"] = colours.hue


def page(
    template: str,
    *,
    section: Section | None = None,
    key: Principal | None = None,
    status: int = 200,
    **content: Any,
) -> Response:
    """A page out of templates/, as part of a section of the navigation, for whoever has the key."""
    text = _templates.get_template(f"{template}.html").render(
        section=None if section is None else section.path, key=key, **content
    )
    return HTMLResponse(text, status, HEADERS)


def login_page(*, tried: str | None, wanted: str) -> Response:
    """What a browser that is not logged in gets, whatever it asked for. `tried` is the key or
    link that did not hold, `wanted` where to go on."""
    return page("login", status=401, tried=tried, wanted=wanted)


def problem_page(kind: ProblemType, detail: str, headers: Mapping[str, str]) -> Response:
    """A problem for people to read."""
    response = page("problem", status=kind.status, title=kind.title, detail=detail)
    response.headers.update(headers)
    return response
