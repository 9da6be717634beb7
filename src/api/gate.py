"""Closed by default: nothing but health, the style of the pages and the log-in is answered
without a key.

A pure ASGI middleware around everything, so that a route that is added later is closed too.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import unquote

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.keys import KeyRing, Principal, Role
from api.log_in import LOGIN_PATH, LOGOUT_PATH, LogIn, own_address, refusal, session_token
from api.oidc import TokenVerifier
from api.problems import FORBIDDEN, Problem, address, problem_of
from api.sessions import Sessions
from ledger.errors import StoreUnavailable

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
OPEN_PREFIX = "/static/"
"""Style sheets and scripts of the pages: the log-in page needs them too."""

ENCODED_SLASH = "\x00"
"""Stands for %2F of a path until the route has been found: booking ids may hold slashes."""

_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")


class Gate:
    """Finds the principal of each request, or answers 401. Tokens are accepted with an issuer."""

    def __init__(
        self,
        app: ASGIApp,
        key_ring: KeyRing,
        verifier: TokenVerifier | None,
        sessions: Sessions,
    ) -> None:
        self._app = app
        self._key_ring = key_ring
        self._verifier = verifier
        self._sessions = sessions
        self._log_in = LogIn(sessions)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        keep_encoded_slashes(scope)
        headers = Headers(scope=scope)
        try:
            if scope["path"] in (LOGIN_PATH, LOGOUT_PATH):
                await self._log_in(scope, receive, send)
                return
            principal = await self._principal(scope, headers)
        except StoreUnavailable as error:
            await problem_of(error).response(address(scope))(scope, receive, send)
            return
        if principal is None:
            refused = refusal(scope, headers, wanted=_wanted(scope))
            await refused(scope, receive, send)
            return
        scope["state"]["principal"] = principal
        await self._app(scope, receive, send)

    async def _principal(self, scope: Scope, headers: Headers) -> Principal | None:
        if "authorization" in headers:
            secret = bearer(headers["authorization"])
            return None if secret is None else await self.of_key(secret)
        # A cookie only reads: no request that changes anything can be forged with it.
        token = session_token(headers) if scope["method"] in ("GET", "HEAD") else None
        return None if token is None else await run_sync(self._sessions.find, token)

    async def of_key(self, secret: str) -> Principal | None:
        """Who a key or a token belongs to. Raises StoreUnavailable."""
        principal = self._key_ring.cached(secret)
        if principal is not None:
            return principal
        if self._verifier is not None and _JWT.fullmatch(secret):
            return await run_sync(self._verifier.verify, secret)
        return await run_sync(self._key_ring.find, secret)


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIX)


def bearer(authorization: str) -> str | None:
    """The secret of an Authorization header; None where it has none."""
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" and secret.strip() else None


def _wanted(scope: Scope) -> str:
    """Where to go on after the log-in."""
    query = scope["query_string"].decode("latin-1")
    return own_address(f"{address(scope)}?{query}" if query else address(scope))


def keep_encoded_slashes(scope: Scope) -> None:
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
