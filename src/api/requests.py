"""What the headers and the path of a request mean."""

import re
from typing import Annotated

from fastapi import Depends, Header, Path, Request
from pydantic import BeforeValidator

from api.calls import Caller, Calls
from api.door import Door
from api.gate import ENCODED_SLASH, AdminRole, WriterRole
from api.models import BookingId
from ledger.errors import InvalidField
from ledger.workflow import Workflow

_ETAG = re.compile(r'(?:W/)?"[^"]*"')
_ETAGS = re.compile(r'(?:W/)?"[^"]*"(?:\s*,\s*(?:W/)?"[^"]*")*')
_VERSION_TAG = re.compile(r'"v(\d{1,18})(?:-\d{1,18}-erased)?"')
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")


def _with_slashes(booking_id: object) -> object:
    return booking_id.replace(ENCODED_SLASH, "/") if isinstance(booking_id, str) else booking_id


BookingPath = Annotated[
    BookingId,
    Path(description="Id of the booking; a slash in it is sent as %2F"),
    BeforeValidator(_with_slashes),
]


async def _if_match(
    if_match: Annotated[
        str | None,
        Header(
            description='Version to be changed, as `"v3"`; else 412',
            examples=['"v3"'],
            json_schema_extra={"pattern": rf"^(\*|{_ETAGS.pattern})$"},
        ),
    ] = None,
) -> frozenset[int] | None:
    return parse_if_match(if_match)


def parse_if_match(if_match: str | None) -> frozenset[int] | None:
    """The versions of If-Match; None where any will do. A weak tag never matches (RFC 9110)."""
    if if_match is None or if_match.strip() == "*":
        return None
    if not _ETAGS.fullmatch(if_match.strip()):
        raise InvalidField(field="If-Match", message='must be * or entity tags such as "v3"')
    versions = [_VERSION_TAG.fullmatch(tag) for tag in _ETAG.findall(if_match)]
    return frozenset(int(version[1]) for version in versions if version)


IdempotencyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Makes the request safe to send again: it is recorded once",
        json_schema_extra={"pattern": f"^{_IDEMPOTENCY_KEY.pattern}$"},
    ),
]


async def _caller(principal: WriterRole, idempotency_key: IdempotencyHeader = None) -> Caller:
    return Caller(principal, parse_idempotency_key(idempotency_key))


def parse_idempotency_key(idempotency_key: str | None) -> str | None:
    """The key, with or without the quotes of the IETF draft."""
    if idempotency_key is None:
        return None
    key = idempotency_key.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidField(
            field="Idempotency-Key", message="must be 1 to 255 printable ASCII characters"
        )
    return key


async def _admin_caller(principal: AdminRole, idempotency_key: IdempotencyHeader = None) -> Caller:
    return Caller(principal, parse_idempotency_key(idempotency_key))


IfMatch = Annotated[frozenset[int] | None, Depends(_if_match)]
TheCaller = Annotated[Caller, Depends(_caller)]
TheAdmin = Annotated[Caller, Depends(_admin_caller)]


async def calls(request: Request) -> Calls:
    found: Calls = request.app.state.calls
    return found


async def door(request: Request) -> Door:
    found: Door = request.app.state.door
    return found


async def workflow(request: Request) -> Workflow:
    found: Workflow = request.app.state.workflow
    return found


TheCalls = Annotated[Calls, Depends(calls)]
TheDoor = Annotated[Door, Depends(door)]
TheWorkflow = Annotated[Workflow, Depends(workflow)]
