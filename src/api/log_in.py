"""Logging in to the web pages and out again: the only forms that do something."""

import re
from urllib.parse import parse_qs, urlsplit

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from api.problems import (
    CROSS_SITE,
    METHOD_NOT_ALLOWED,
    UNAUTHORIZED,
    Problem,
    address,
    wants_page,
)
from api.sessions import SESSION_SECONDS, Sessions

LOGIN_PATH = "/login"
LOGOUT_PATH = "/logout"
COOKIE = "ledger_session"
FORM_BYTES_MAX = 4_096

_OWN_ADDRESS = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,1000}")


class LogIn:
    """Answers /login and /logout, which are open: whoever comes here has no session yet."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Problem as problem:
            response = _problem(request, problem)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        logging_in = request.url.path == LOGIN_PATH
        if request.method == "POST":
            if not _is_same_site(request.headers):
                raise Problem(CROSS_SITE, "The form was not sent from a page of this service.")
            return await (self._take_key(request) if logging_in else self._log_out(request))
        if request.method == "GET" and logging_in:
            return await self._take_link(request)
        raise Problem(
            METHOD_NOT_ALLOWED,
            f"{request.url.path} does not take {request.method}.",
            headers={"Allow": "GET, POST" if logging_in else "POST"},
        )

    async def _take_key(self, request: Request) -> Response:
        fields = parse_qs((await _body(request)).decode("latin-1"))
        key = fields.get("key", [""])[0].strip()
        wanted = own_address(fields.get("next", ["/"])[0])
        token = await run_sync(self._sessions.begin, key)
        if token is None:
            return refusal(request.scope, request.headers, tried="key", wanted=wanted)
        return _logged_in(request, token, wanted)

    async def _take_link(self, request: Request) -> Response:
        link = request.query_params.get("link")
        if link is None:
            return refusal(request.scope, request.headers)
        token = await run_sync(self._sessions.use_link, link)
        if token is None:
            return refusal(request.scope, request.headers, tried="link")
        return _logged_in(request, token, "/")

    async def _log_out(self, request: Request) -> Response:
        token = session_token(request.headers)
        if token is not None:
            await run_sync(self._sessions.end, token)
        response = RedirectResponse("/", 303, headers={"Cache-Control": "no-store"})
        response.delete_cookie(COOKIE, httponly=True, samesite="lax")
        return response


def session_token(headers: Headers) -> str | None:
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


def refusal(
    scope: Scope, headers: Headers, *, tried: str | None = None, wanted: str = "/"
) -> Response:
    """401: for browsers the page to log in, which leads on to what was wanted."""
    if wants_page(scope, headers):
        from api.pages import login_page  # noqa: PLC0415  # pages import this module

        return login_page(tried=tried, wanted=wanted)
    return Problem(
        UNAUTHORIZED,
        "This needs a key: send 'Authorization: Bearer KEY'. "
        "The first start printed one; 'booking-ledger keys create' makes others.",
        headers={"WWW-Authenticate": "Bearer"},
    ).response(address(scope))


def own_address(wanted: str) -> str:
    """An address of this service to go on to, or the first page: never one of another site."""
    path = wanted.partition("?")[0]
    fits = _OWN_ADDRESS.fullmatch(wanted) and path not in (LOGIN_PATH, LOGOUT_PATH)
    return wanted if fits else "/"


def _is_same_site(headers: Headers) -> bool:
    """Browsers say where a form comes from, by one of two headers; what says nothing is none."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _logged_in(request: Request, token: str, wanted: str) -> Response:
    response = RedirectResponse(wanted, 303, headers={"Cache-Control": "no-store"})
    response.set_cookie(
        COOKIE,
        token,
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            return b""  # no form of ours: no key is in it
    return body


def _problem(request: Request, problem: Problem) -> Response:
    if wants_page(request.scope, request.headers):
        from api.pages import problem_page  # noqa: PLC0415  # pages import this module

        return problem_page(problem.kind, problem.detail, problem.headers)
    return problem.response(address(request.scope))
