"""Style sheets, scripts and the icon: the same for everybody, and needed before the log-in.

Their addresses have a digest of all of them, so browsers keep them for ever, and modules of one
release import each other by relative names.
"""

import gzip
import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request
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

OTHERS = {"chart.js": ("chartkick", "django/static/chartkick/Chart.bundle.js")}
"""Files of installed packages: the package and where in it (decision 0020)."""
SHRUNK_FROM = 16 * 1024
"""Smaller ones fit in a few packets as they are."""

router = APIRouter(include_in_schema=False)


def _read() -> dict[str, bytes]:
    folder = files("api.pages").joinpath("static")
    ours = {
        one.name: one.read_bytes()
        for one in sorted(folder.iterdir(), key=lambda one: one.name)
        if one.name.rpartition(".")[2] in MEDIA_TYPES
    }
    others = {
        name: files(package).joinpath(path).read_bytes() for name, (package, path) in OTHERS.items()
    }
    return {**ours, **others}


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


@cache
def _shrunk(name: str) -> bytes:
    return gzip.compress(_FILES[name], mtime=0)


@router.get(f"{OPEN_PREFIX}{{digest}}/{{name}}")
def file(request: Request, digest: str, name: str) -> Response:
    if digest != _DIGEST or name not in _FILES:
        raise Problem(NOT_FOUND, "There is no such file in this release.")
    content, headers = _FILES[name], dict(HEADERS)
    if len(content) >= SHRUNK_FROM:
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            content, headers["Content-Encoding"] = _shrunk(name), "gzip"
    return Response(content, media_type=MEDIA_TYPES[name.rpartition(".")[2]], headers=headers)
