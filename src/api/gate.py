"""Closed by default: nothing but health is answered without a key.

A pure ASGI middleware around everything, so that a route that is added later is closed too.
"""

import re
from collections.abc import Awaitable, Callable
from http.cookies import SimpleCookie
from typing import Annotated
from urllib.parse import parse_qs, unquote

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.keys import KeyRing, Principal, Role
from api.oidc import TokenVerifier
from api.problems import FORBIDDEN, UNAUTHORIZED, Problem, address, problem_of, wants_page
from ledger.errors import StoreUnavailable

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
OPEN_PREFIX = "/static/"
"""Style sheets and scripts of the pages: the log-in page needs them too."""
LOGIN_PATH = "/login"
COOKIE = "ledger_key"
COOKIE_SECONDS = 12 * 60 * 60

ENCODED_SLASH = "\x00"
"""Stands for %2F of a path until the route has been found: booking ids may hold slashes."""

_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")


class Gate:
    """Finds the principal of each request, or answers 401. Tokens are accepted with an issuer."""

    def __init__(self, app: ASGIApp, key_ring: KeyRing, verifier: TokenVerifier | None) -> None:
        self._app = app
        self._key_ring = key_ring
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        _keep_encoded_slashes(scope)
        headers = Headers(scope=scope)
        secret = presented(scope, headers)
        try:
            principal = await self._principal(secret)
        except StoreUnavailable as error:
            await problem_of(error).response(address(scope))(scope, receive, send)
            return
        if secret is None or principal is None:
            await refusal(scope, headers, tried=secret is not None)(scope, receive, send)
        elif scope["path"] == LOGIN_PATH:
            await login(scope, secret)(scope, receive, send)
        else:
            scope["state"]["principal"] = principal
            await self._app(scope, receive, send)

    async def _principal(self, secret: str | None) -> Principal | None:
        if secret is None:
            return None
        principal = self._key_ring.cached(secret)
        if principal is not None:
            return principal
        if self._verifier is not None and _JWT.fullmatch(secret):
            return await run_sync(self._verifier.verify, secret)
        return await run_sync(self._key_ring.find, secret)


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIX)


def presented(scope: Scope, headers: Headers) -> str | None:
    """The secret that a request brings: bearer key, else for pages the cookie or login link."""
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, secret = authorization.partition(" ")
        return secret.strip() if scheme.lower() == "bearer" and secret.strip() else None
    if scope["path"] == LOGIN_PATH:
        keys = parse_qs(scope["query_string"].decode("latin-1")).get("key")
        return keys[0] if keys else None
    # A cookie only reads: no request that changes anything can be forged with it.
    if scope["method"] in ("GET", "HEAD") and "cookie" in headers:
        morsel = SimpleCookie(headers["cookie"]).get(COOKIE)
        return None if morsel is None else morsel.value
    return None


def refusal(scope: Scope, headers: Headers, *, tried: bool) -> Response:
    if wants_page(scope, headers):
        from api.pages import login_page  # noqa: PLC0415  # pages import this module

        return login_page(tried=tried)
    return Problem(
        UNAUTHORIZED,
        "This needs a key: send 'Authorization: Bearer KEY'. "
        "The first start printed one; 'booking-ledger keys create' makes others.",
        headers={"WWW-Authenticate": "Bearer"},
    ).response(address(scope))


def login(scope: Scope, secret: str) -> Response:
    """Keep the key that the link brought in a cookie, and go to the first page."""
    response = RedirectResponse("/", status_code=303, headers={"Cache-Control": "no-store"})
    response.set_cookie(
        COOKIE,
        secret,
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="lax",
        secure=scope["scheme"] == "https",
    )
    return response


def _keep_encoded_slashes(scope: Scope) -> None:
    raw: bytes = scope.get("raw_path", b"").partition(b"?")[0]
    if b"%2f" in raw.lower() or b"%00" in raw:
        # A NUL that was sent must not pass for a slash; another control character is refused too.
        kept = re.sub(rb"%2[fF]", ENCODED_SLASH.encode(), raw.replace(b"%00", b"%01"))
        scope["path"] = unquote(kept.decode("latin-1"))


def principal(request: Request) -> Principal:
    found: Principal = request.state.principal
    return found


def allow(*roles: Role) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency that lets only keys of these roles (and admin) pass."""
    allowed: tuple[Role, ...] = (*roles, "admin")

    async def check(request: Request) -> Principal:
        found = principal(request)
        if found.role not in allowed:
            raise Problem(
                FORBIDDEN,
                f"This key has the role {found.role!r}; this call needs one of: "
                f"{', '.join(allowed)}.",
                {"role": found.role, "allowedRoles": list(allowed)},
            )
        return found

    return check


WRITERS: frozenset[Role] = frozenset({"writer", "admin"})

ReaderRole = Annotated[Principal, Depends(allow("reader", "writer", "analyst", "auditor"))]
WriterRole = Annotated[Principal, Depends(allow("writer"))]
AdminRole = Annotated[Principal, Depends(allow())]
