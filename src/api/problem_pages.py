"""Each problem type under its own URL."""

from fastapi import APIRouter
from starlette.responses import Response

from api.answers import JsonResponse
from api.problems import NOT_FOUND, TYPES, Problem

router = APIRouter(prefix="/problems", include_in_schema=False)


@router.get("")
async def problem_types() -> Response:
    return JsonResponse({"problems": [_document(name) for name in TYPES]})


@router.get("/{name}")
async def problem_type(name: str) -> Response:
    if name not in TYPES:
        raise Problem(NOT_FOUND, f"There is no problem type {name!r}.")
    return JsonResponse(_document(name))


def _document(name: str) -> dict[str, object]:
    kind = TYPES[name]
    return {
        "type": f"/problems/{kind.name}",
        "status": kind.status,
        "title": kind.title,
        "meaning": kind.meaning,
    }
