"""The express lane: the calls about single bookings, past the framework.

FastAPI's routing, middleware and dependency solving cost several times what these calls cost
themselves. A request that is plainly well-formed goes to `Calls` from here; whatever is not,
or is not one of these calls, goes the long way through FastAPI, which has the same calls as
routes, documents them, and words every complaint. `tests/api/test_express.py` holds the two
ways against each other.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.admission import InHand
from api.calls import CHANGES, OPEN, Caller, Calls
from api.gate import ENCODED_SLASH, WRITERS, Gate, bearer, keep_encoded_slashes
from api.keys import Principal
from api.metrics import Counting
from api.models import BulkBody, ChangeBody, OpenBody
from api.problems import INTERNAL_PROBLEM, address, problem_of
from api.requests import parse_idempotency_key, parse_if_match
from ledger import limits
from ledger.errors import InvalidField, LedgerError, StoreUnavailable

logger = logging.getLogger(__name__)

BODY_BYTES_MAX = 1_048_576
HISTORY = "/status-history"
BOOKINGS = f"{OPEN}/"

BodyT = TypeVar("BodyT", bound=BaseModel)
Headers = dict[bytes, bytes]


class NotPlain(Exception):
    """Not for the express lane."""


class Express:
    """In front of everything: admission, gate and counting are asked here too, for what is ours.

    `app` is the long way, which has them as middleware.
    """

    calls: Calls
    """Set before the first request comes."""

    def __init__(self, app: ASGIApp, gate: Gate, in_hand: InHand, counting: Counting) -> None:
        self._app = app
        self._gate = gate
        self._in_hand = in_hand
        self._counting = counting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["query_string"]
            or not _is_ours(scope["path"])
            or not self._in_hand.enter()
        ):
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        body = _Body(receive)
        response: Response | None = None
        try:
            response = await self._answer(scope, body)
        except NotPlain:
            pass
        except LedgerError as error:
            response = problem_of(error).response(address(scope))
        except Exception:
            logger.exception("%s %s failed", scope["method"], address(scope))
            response = INTERNAL_PROBLEM.response(address(scope))
        finally:
            self._in_hand.leave()
        if response is None:
            await self._app(scope, body.receive_again, send)
            return
        status = response.status_code
        head = {"type": "http.response.start", "status": status, "headers": response.raw_headers}
        await send(head)
        await send({"type": "http.response.body", "body": response.body})
        self._counting.count(scope["method"], status, time.perf_counter() - started)

    async def _answer(self, scope: Scope, body: "_Body") -> Response:
        headers: Headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]):
            raise NotPlain  # a header that was sent twice
        if b"%" in scope.get("raw_path", b""):
            keep_encoded_slashes(scope)
            if not _is_ours(scope["path"]):
                raise NotPlain
        method, path = scope["method"], scope["path"]
        principal = await self._principal(headers)
        if method == "GET":
            return await self._read(path, headers)
        if principal.role not in WRITERS:
            raise NotPlain
        caller = Caller(principal, _parsed(parse_idempotency_key, headers, b"idempotency-key"))
        if method == "PATCH":
            booking_id = _booking_id(path.removeprefix(OPEN))
            if_match = _parsed(parse_if_match, headers, b"if-match")
            change = await body.parse(ChangeBody, headers)
            return await self.calls.change(booking_id, change, if_match, caller)
        if method == "POST" and path == OPEN:
            return await self.calls.open(await body.parse(OpenBody, headers), caller)
        if method == "POST" and path == CHANGES:
            return await self.calls.record(await body.parse(BulkBody, headers), caller)
        raise NotPlain

    async def _principal(self, headers: Headers) -> Principal:
        """Whose key it is. Any other credential, or none, is for the gate."""
        secret = bearer(_text(headers, b"authorization") or "")
        if secret is None:
            raise NotPlain
        try:
            principal = await self._gate.of_key(secret)
        except StoreUnavailable:
            raise NotPlain from None  # the gate tries again, and says so
        if principal is None:
            raise NotPlain
        return principal

    async def _read(self, path: str, headers: Headers) -> Response:
        calls = self.calls
        rest = path.removeprefix(OPEN)
        if_none_match = _text(headers, b"if-none-match")
        if rest.endswith(HISTORY):
            return await calls.read_history(_booking_id(rest.removesuffix(HISTORY)), if_none_match)
        return await calls.read_booking(_booking_id(rest), if_none_match)


def _is_ours(path: str) -> bool:
    return path.startswith(BOOKINGS) or path in (OPEN, CHANGES)


def _booking_id(segment: str) -> str:
    """The id in `/ID`, where that is all there is."""
    if len(segment) < 2 or segment[0] != "/" or "/" in segment[1:]:
        raise NotPlain
    try:
        return limits.check_booking_id(segment[1:].replace(ENCODED_SLASH, "/"))
    except InvalidField:
        raise NotPlain from None


def _text(headers: Headers, name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _parsed(parse: Callable[[str | None], Any], headers: Headers, name: bytes) -> Any:
    try:
        return parse(_text(headers, name))
    except InvalidField:
        raise NotPlain from None


class _Body:
    """The body of a request, and what of it was read already for whoever comes after."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read: list[Message] = []

    async def parse(self, model: type[BodyT], headers: Headers) -> BodyT:
        if headers.get(b"content-type", b"").partition(b";")[0] != b"application/json":
            raise NotPlain
        content = await self._content()
        try:
            return model.model_validate_json(content)
        except ValidationError:
            raise NotPlain from None

    async def receive_again(self) -> Message:
        return self._read.pop(0) if self._read else await self._receive()

    async def _content(self) -> bytes:
        size = 0
        while True:
            message = await self._receive()
            self._read.append(message)
            size += len(message.get("body", b""))
            if message["type"] != "http.request" or size > BODY_BYTES_MAX:
                raise NotPlain
            if not message.get("more_body", False):
                return b"".join(part.get("body", b"") for part in self._read)
