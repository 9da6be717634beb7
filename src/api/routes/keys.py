"""Administer keys."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from api.answers import JsonResponse
from api.gate import AdminRole
from api.keys import KeyInfo, KeyRing, create_key, list_keys, revoke_key
from api.models import KeyBody, OfFewFields
from api.routes.contract import KeyAnswer, KeysAnswer, NewKeyAnswer, problems
from api.store import TheStore

router = APIRouter(prefix="/api/keys", tags=["keys"])


@router.post(
    "",
    status_code=201,
    response_model=NewKeyAnswer,
    responses=problems("bad-json", "too-large", "invalid-request"),
)
def create(body: Annotated[KeyBody, OfFewFields], key: AdminRole, store: TheStore) -> Response:
    """Make a key. Its secret is in this answer and nowhere else."""
    del key
    with store.connection() as connection:
        made = create_key(connection, body.name, body.role)
    document = {"id": made.id, "name": made.name, "role": made.role, "secret": made.secret}
    return JsonResponse(document, 201, {"Cache-Control": "no-store"})


@router.get("", response_model=KeysAnswer, responses=problems())
def list_(key: AdminRole, store: TheStore) -> Response:
    """All keys, revoked ones included, without their secrets."""
    del key
    with store.connection() as connection:
        return JsonResponse({"keys": [_document(one) for one in list_keys(connection)]})


@router.delete(
    "/{key_id}",
    response_model=KeyAnswer,
    responses=problems("key-not-found", "invalid-request"),
)
def revoke(
    key_id: Annotated[str, Path(max_length=100, pattern=r"^[\x21-\x7e]+$")],
    key: AdminRole,
    store: TheStore,
    request: Request,
) -> Response:
    """Revoke a key. Other processes of the service hear of it within moments."""
    del key
    with store.connection() as connection:
        revoked = revoke_key(connection, key_id)
    ring: KeyRing = request.app.state.key_ring
    ring.forget()  # our own announcement comes back to us too, but perhaps after the next request
    return JsonResponse(_document(revoked))


def _document(info: KeyInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "name": info.name,
        "role": info.role,
        "createdAt": _time(info.created_at),
        "lastUsedAt": _time(info.last_used_at),
        "revokedAt": _time(info.revoked_at),
    }


def _time(time: datetime | None) -> str | None:
    if time is None:
        return None
    return f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
