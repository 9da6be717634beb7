"""Errors as RFC 9457 problems: one table from what went wrong to what the caller is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from api.keys import KeyNotFound
from ledger.errors import (
    BookingExists,
    BookingNotFound,
    Busy,
    IdempotencyKeyReused,
    InvalidField,
    LedgerError,
    OutcomeUnknown,
    PersonalDataHeld,
    StoreUnavailable,
    TransitionNotAllowed,
    UnknownStatus,
    VersionMismatch,
)
from ledger.master_key import MasterKeyError
from ledger.sealing import SealBroken
from projections.exports.parquet import ExtraMissing
from projections.log.reading import LogBehind, NotInLog
from projections.queries import ProjectionBehind

ERRORS_TOLD_MAX = 100
BODY_BYTES_MAX = 16 * 1024 * 1024
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = "1"


@dataclass(frozen=True)
class ProblemType:
    """A kind of problem: its name under /problems/, HTTP status, title and what to do about it."""

    name: str
    status: int
    title: str
    meaning: str


UNAUTHORIZED = ProblemType(
    "unauthorized", 401, "Key needed",
    "The request has no key, or one that is unknown, revoked or expired. "
    "Send `Authorization: Bearer KEY`.",
)  # fmt: skip
FORBIDDEN = ProblemType(
    "forbidden", 403, "Not allowed with this key",
    "The role of the key does not allow this call; `allowedRoles` lists those that do.",
)  # fmt: skip
NOT_FOUND = ProblemType("not-found", 404, "Not found", "There is nothing under this address.")
CROSS_SITE = ProblemType(
    "cross-site", 403, "Sent from another site",
    "Logging in and out is taken only from the pages of this service.",
)  # fmt: skip
INVALID_REQUEST = ProblemType(
    "invalid-request", 422, "Invalid request",
    "A field is missing or not valid; `errors` names each field and what is allowed, the "
    "first hundred where there are more; `errorCount` says how many. Nothing was recorded.",
)  # fmt: skip
BAD_JSON = ProblemType("bad-json", 400, "Body is not JSON", "The body could not be read as JSON.")
TOO_LARGE = ProblemType("too-large", 413, "Body too large", "The body is larger than `limitBytes`.")
METHOD_NOT_ALLOWED = ProblemType(
    "method-not-allowed", 405, "Method not allowed",
    "This address does not take this method; the Allow header lists those that it does.",
)  # fmt: skip
HTTP_ERROR = ProblemType("http-error", 500, "Request failed", "See `detail`.")
INTERNAL = ProblemType(
    "internal", 500, "Internal error",
    "A defect of the ledger. Whether a write was recorded can be read from the booking, or "
    "found out by sending it again with the same Idempotency-Key.",
)  # fmt: skip

BY_ERROR: Mapping[type[LedgerError], ProblemType] = {
    BookingNotFound: ProblemType(
        "booking-not-found", 404, "Booking not found",
        "The ledger knows no booking with this id, or knew none at the time asked for.",
    ),
    BookingExists: ProblemType(
        "booking-exists", 409, "Booking exists already",
        "A booking is opened once; change its status instead.",
    ),
    TransitionNotAllowed: ProblemType(
        "transition-not-allowed", 409, "Transition not allowed",
        "The workflow has no such transition; `from`, `to` and `allowedTransitions` say what "
        "it has.",
    ),
    UnknownStatus: ProblemType(
        "unknown-status", 422, "Unknown status",
        "The workflow has no such status; `allowedStatuses` lists them.",
    ),
    VersionMismatch: ProblemType(
        "version-mismatch", 412, "Booking has changed",
        "If-Match names another version than the booking has; `currentVersion`, "
        "`currentStatus` and `allowedTransitions` say where it is.",
    ),
    PersonalDataHeld: ProblemType(
        "personal-data-held", 409, "Booking is under legal hold",
        "What is personal in it cannot be erased until the hold is released.",
    ),
    IdempotencyKeyReused: ProblemType(
        "idempotency-key-reused", 422, "Idempotency key used before",
        "The key was sent before with a different request. Use a new key for a new request.",
    ),
    InvalidField: ProblemType(
        "invalid-value", 422, "Invalid value", "`field` names what is wrong. Nothing was recorded.",
    ),
    ProjectionBehind: ProblemType(
        "projection-behind", 503, "Read model behind",
        "Lists are answered from the read model, which is behind; try again shortly. The "
        "history of a single booking is always answered.",
    ),
    NotInLog: ProblemType(
        "not-in-log", 404, "Not in the log",
        "The log has no such checkpoint, tile or position, or not yet.",
    ),
    LogBehind: ProblemType(
        "log-behind", 503, "Log being made anew",
        "Tiles that were lost are being derived from the events again; try again shortly. "
        "Checkpoints are answered meanwhile.",
    ),
    SealBroken: ProblemType(
        "seal-broken", 500, "Event was altered",
        "What is sealed in a stored event is not as it was sealed. Somebody altered the database: "
        "run `booking-ledger verify`.",
    ),
    MasterKeyError: ProblemType(
        "master-key", 500, "Master key does not fit",
        "The master key of the service does not open what is stored.",
    ),
    ExtraMissing: ProblemType(
        "extra-missing", 501, "Format not installed",
        "The service runs without the packages that this format needs; `detail` names the extra.",
    ),
    KeyNotFound: ProblemType(
        "key-not-found", 404, "Key not found", "There is no key with this id.",
    ),
    Busy: ProblemType(
        "busy", 503, "Too busy", "Too much is waiting. Nothing was recorded; try again shortly.",
    ),
    StoreUnavailable: ProblemType(
        "store-unavailable", 503, "Database not reached",
        "The database cannot be reached. Nothing was recorded; try again shortly.",
    ),
    OutcomeUnknown: ProblemType(
        "outcome-unknown", 503, "Outcome unknown",
        "The connection to the database was lost while the change was being committed. Read "
        "the booking, or send the request again with the same Idempotency-Key.",
    ),
}  # fmt: skip

TYPES: Mapping[str, ProblemType] = {
    problem.name: problem
    for problem in (
        *(UNAUTHORIZED, FORBIDDEN, CROSS_SITE, NOT_FOUND, INVALID_REQUEST, BAD_JSON, TOO_LARGE),
        *(METHOD_NOT_ALLOWED, HTTP_ERROR, INTERNAL),
        *BY_ERROR.values(),
    )
}

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

BY_HTTP_STATUS = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED, 400: BAD_JSON}


class Problem(Exception):
    """Raise it anywhere under a route to answer with a problem."""

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.members = members or {}
        self.headers = headers or {}

    def document(self, instance: str) -> dict[str, Any]:
        return {
            "type": f"/problems/{self.kind.name}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": instance,
            "error": self.kind.title,  # what older clients of the history endpoint read
            **self.members,
        }

    def response(self, instance: str) -> Response:
        return Response(
            orjson.dumps(self.document(instance)),
            self.kind.status,
            dict(self.headers),
            MEDIA_TYPE,
        )


INTERNAL_PROBLEM = Problem(INTERNAL, "The ledger failed; its log has the cause.")


def problem_of(error: LedgerError) -> Problem:
    """The problem that a ledger error is to a caller. A LedgerError without one is a defect."""
    kind = BY_ERROR[type(error)]
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if kind.status == 503 else {}
    return Problem(kind, str(error) or kind.title, _members(error), headers)


_MEMBERS: Mapping[type[LedgerError], Mapping[str, str]] = {
    TransitionNotAllowed: {
        "from": "from_status",
        "to": "to_status",
        "allowedTransitions": "allowed",
    },
    UnknownStatus: {"allowedStatuses": "allowed"},
    VersionMismatch: {
        "currentVersion": "version",
        "currentStatus": "status",
        "allowedTransitions": "allowed",
    },
    BookingExists: {"currentVersion": "version", "currentStatus": "status"},
    InvalidField: {"field": "field"},
    ProjectionBehind: {"position": "position", "head": "head"},
}
"""What a problem says beyond its detail: the member and the error's attribute."""


def _members(error: LedgerError) -> dict[str, Any]:
    names = _MEMBERS.get(type(error), {})
    members = {member: getattr(error, attribute) for member, attribute in names.items()}
    if isinstance(error, UnknownStatus):
        members["field"] = "status"
    if isinstance(error, InvalidField):
        members["errors"] = [{"field": error.field, "message": error.message}]
    return members


def address(scope: Scope) -> str:
    """The path as it was sent: in the decoded one, other signs stand for encoded slashes."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return quote(raw.partition(b"?")[0], safe="%/:@!$&'()*+,;=")


def wants_page(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks, and not for the API."""
    return not scope["path"].startswith("/api") and "text/html" in headers.get("accept", "")


def _answer(request: Request, problem: Problem) -> Response:
    if wants_page(request.scope, request.headers):
        from api.pages import problem_page  # noqa: PLC0415  # pages import this module

        return problem_page(problem.kind, problem.detail, problem.headers)
    return problem.response(address(request.scope))


def answer_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _answer(request, error)


def answer_ledger_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LedgerError)
    return _answer(request, problem_of(error))


def answer_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        detail = f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][1]}."
        return _answer(request, Problem(BAD_JSON, detail))
    found = error.errors()
    errors = [_field_error(one) for one in found[:ERRORS_TOLD_MAX]]
    detail = "; ".join(f"{one['field']}: {one['message']}" for one in errors[:5])
    members = {"field": errors[0]["field"], "errors": errors, "errorCount": len(found)}
    return _answer(request, Problem(INVALID_REQUEST, detail, members))


def _field_error(error: Mapping[str, Any]) -> dict[str, str]:
    where, *path = error["loc"]
    field = ".".join(str(part) for part in path) or str(where)
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "is not a field of this request"
    return {"field": field, "in": str(where), "message": message}


def answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = BY_HTTP_STATUS.get(error.status_code)
    if kind is None:
        kind = ProblemType(HTTP_ERROR.name, error.status_code, HTTP_ERROR.title, "")
    headers = {"Allow": _allowed(request)} if kind is METHOD_NOT_ALLOWED else error.headers
    return _answer(request, Problem(kind, str(error.detail), headers=headers))


def _allowed(request: Request) -> str:
    """The methods of all routes of an address; the router names those of the first alone."""
    return ", ".join(method for method in METHODS if _is_routed(request, method))


def _is_routed(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": "GET" if method == "HEAD" else method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)


def answer_defect(request: Request, error: Exception) -> Response:
    del error  # logged by the server with its traceback
    return _answer(request, INTERNAL_PROBLEM)
