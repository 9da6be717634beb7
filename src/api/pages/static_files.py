"""Style sheets, scripts and the icon: the same for everybody, and needed before the log-in.

Their addresses have a digest of all of them, so browsers keep them for ever, and modules of one
release import each other by relative names.
"""

import hashlib
from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

from api.gate import OPEN_PREFIX
from api.problems import NOT_FOUND, Problem

MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False)


def _read() -> dict[str, bytes]:
    folder = files("api.pages").joinpath("static")
    return {
        one.name: one.read_bytes()
        for one in sorted(folder.iterdir(), key=lambda one: one.name)
        if one.name.rpartition(".")[2] in MEDIA_TYPES
    }


def _digest(contents: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(b"%s\n%d\n" % (name.encode(), len(content)))
        digest.update(content)
    return digest.hexdigest()[:16]


_FILES = _read()
_DIGEST = _digest(_FILES)


def address(name: str) -> str:
    """Where a file is. Raises KeyError where there is none."""
    _FILES[name]
    return f"{OPEN_PREFIX}{_DIGEST}/{name}"


@router.get(f"{OPEN_PREFIX}{{digest}}/{{name}}")
async def file(digest: str, name: str) -> Response:
    if digest != _DIGEST or name not in _FILES:
        raise Problem(NOT_FOUND, "There is no such file in this release.")
    return Response(_FILES[name], media_type=MEDIA_TYPES[name.rpartition(".")[2]], headers=HEADERS)
