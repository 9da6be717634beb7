"""The transparency log for auditors, in the formats of C2SP: checkpoints, tiles and proofs."""

import gzip
import re
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query
from starlette.responses import PlainTextResponse, Response

from api.answers import JsonResponse
from api.gate import ReaderRole
from api.problems import NOT_FOUND, Problem
from api.routes.contract import CheckpointPage, ConsistencyAnswer, problems
from api.store import TheStore
from projections.log import checkpoint_table, signing_keys
from projections.log.notes import encode_base64
from projections.log.reading import (
    NotInLog,
    newest_checkpoint,
    prove_consistency,
    prove_inclusion,
    read_entries,
    read_tile,
)
from projections.log.tiles import LEVEL_MAX, TileNumber, parse_number

router = APIRouter(prefix="/log", tags=["log"])

SIZE_MAX = 2**63 - 1
IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}
MUTABLE = {"Cache-Control": "private, no-cache"}
_LEVEL = re.compile(r"0|[1-9]\d?", re.ASCII)


class Octets(Response):
    media_type = "application/octet-stream"


Size = Annotated[int | None, Query(ge=0, le=SIZE_MAX, description="Size of a checkpoint")]
Number = Annotated[
    str, Path(description="Index of the tile, as x001/x234/067, a partial one with .p/WIDTH")
]
Text = PlainTextResponse


@router.get("/checkpoint", response_class=Text, responses=problems("not-in-log"))
def checkpoint(key: ReaderRole, store: TheStore) -> Response:
    """The newest checkpoint (C2SP tlog-checkpoint), with the cosignatures of witnesses."""
    del key
    with store.connection() as connection:
        return PlainTextResponse(newest_checkpoint(connection).note, headers=MUTABLE)


@router.get("/checkpoints", response_model=CheckpointPage, responses=problems("invalid-request"))
def checkpoints(
    key: ReaderRole,
    store: TheStore,
    after: Annotated[
        int | None, Query(ge=0, le=SIZE_MAX, description="Size to go on after")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Response:
    """All checkpoints ever signed, the smallest first."""
    del key
    with store.connection() as connection:
        found = checkpoint_table.after(connection, -1 if after is None else after, limit)
    documents = [
        {
            "size": one.size,
            "root": encode_base64(one.root),
            "createdAt": one.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "note": one.note,
        }
        for one in found
    ]
    more = found[-1].size if len(found) == limit else None
    return JsonResponse({"checkpoints": documents, "next": more}, headers=MUTABLE)


@router.get("/vkey", response_class=Text, responses=problems("not-in-log", "invalid-request"))
def vkey(
    key: ReaderRole,
    store: TheStore,
    all_: Annotated[bool, Query(alias="all", description="Those of earlier keys too")] = False,
) -> Response:
    """The verifier key of the log (C2SP signed-note); with `all=true` every one, newest first."""
    del key
    with store.connection() as connection:
        found = signing_keys.verifiers(connection)
    if not found:
        raise NotInLog("The log has no key yet: no projector has begun it.")
    shown = found if all_ else found[:1]
    return PlainTextResponse("".join(f"{one.vkey}\n" for one in shown), headers=MUTABLE)


@router.get(
    "/tile/entries/{number:path}",
    response_class=Octets,
    responses=problems("not-in-log", "not-found", "invalid-request"),
)
def entries(
    key: ReaderRole,
    store: TheStore,
    number: Number,
    accept_encoding: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """A bundle of up to 256 entries, each behind its length in two bytes (C2SP tlog-tiles)."""
    del key
    with store.connection() as connection:
        bundle = read_entries(connection, _number(number))
    headers = {**IMMUTABLE, "Vary": "Accept-Encoding"}
    if not re.search(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", accept_encoding):
        return Octets(bundle, headers=headers)
    return Octets(
        gzip.compress(bundle, 6, mtime=0), headers={**headers, "Content-Encoding": "gzip"}
    )


@router.get(
    "/tile/{level}/{number:path}",
    response_class=Octets,
    responses=problems("not-in-log", "not-found", "log-behind", "invalid-request"),
)
def tile(
    key: ReaderRole,
    store: TheStore,
    level: Annotated[str, Path(description="0 to 63")],
    number: Number,
) -> Response:
    """Up to 256 hashes of the tree (C2SP tlog-tiles)."""
    del key
    if not _LEVEL.fullmatch(level) or int(level) > LEVEL_MAX:
        raise Problem(NOT_FOUND, f"The level of a tile is 0 to {LEVEL_MAX}.")
    with store.connection() as connection:
        return Octets(read_tile(connection, int(level), _number(number)), headers=IMMUTABLE)


@router.get(
    "/proof/inclusion",
    response_class=Text,
    responses=problems("not-in-log", "log-behind", "invalid-request"),
)
def inclusion(
    key: ReaderRole,
    store: TheStore,
    position: Annotated[int, Query(ge=1, le=SIZE_MAX, description="Position of the event")],
    size: Size = None,
) -> Response:
    """A proof that the event at a position is in the log (C2SP tlog-proof), with its checkpoint:
    the newest, or that of `size`."""
    del key
    with store.connection() as connection:
        return PlainTextResponse(str(prove_inclusion(connection, position, size)), headers=MUTABLE)


@router.get(
    "/proof/consistency",
    response_model=ConsistencyAnswer,
    responses=problems("not-in-log", "log-behind", "invalid-request", "invalid-value"),
)
def consistency(
    key: ReaderRole,
    store: TheStore,
    from_: Annotated[int, Query(alias="from", ge=0, le=SIZE_MAX, description="The earlier size")],
    to: Size = None,
) -> Response:
    """A proof that the log of an earlier size is the beginning of that of a later one: the hashes
    of RFC 6962, section 2.1.2, in base64. `to` is the newest checkpoint's where it is left out."""
    del key
    with store.connection() as connection:
        proof = prove_consistency(connection, from_, to)
    document = {
        "from": proof.old_size,
        "to": proof.new_size,
        "hashes": [encode_base64(one) for one in proof.hashes],
    }
    return JsonResponse(document, headers=MUTABLE)


def _number(text: str) -> TileNumber:
    found = parse_number(text)
    if found is None:
        raise Problem(
            NOT_FOUND,
            "The index of a tile is written as x001/x234/067, with .p/1 to .p/255 behind.",
        )
    return found
