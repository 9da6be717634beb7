"""The times of rows: RFC 3339, in UTC, as events have them."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson

from api.imports.formats import OneByOne
from ledger.errors import InvalidField
from ledger.limits import YEAR_MAX, YEAR_MIN, check_time

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
)
# The shape of a text: each digit is a 0. Quicker than an expression, and as strict.
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_UTC_SHAPE = b"0000-00-00T00:00:00Z"
_FIRST, _BEHIND_LAST = f"{YEAR_MIN}", f"{YEAR_MAX + 1}"


def utc_time(text: str, *, assume_utc: bool) -> str:
    """Raises InvalidField."""
    if text.isascii() and text.encode().translate(_ZEROS) == _UTC_SHAPE and text[11:13] < "24":
        check_time(_datetime(text), "createdAt")
        return text  # as it stands in most files
    match = _TIME.fullmatch(text)
    if match is None:
        raise InvalidField("createdAt", f"{text[:40]!r} is no RFC 3339 time")
    time = _datetime(text.upper())
    if match[1] is None:
        if not assume_utc:
            raise InvalidField(
                "createdAt", f"{text!r} has no offset such as Z; --assume-utc takes it as UTC"
            )
        time = time.replace(tzinfo=UTC)
    utc = check_time(time, "createdAt")
    return orjson.dumps(utc, option=orjson.OPT_UTC_Z)[1:-1].decode()


def utc_times(texts: Sequence[str], *, assume_utc: bool) -> Sequence[str]:
    """The same of many. Raises OneByOne."""
    try:
        if not _have_utc_shape(texts):
            return [utc_time(text, assume_utc=assume_utc) for text in texts]
        for _ in map(datetime.fromisoformat, texts):
            pass  # as it stands in most files
    except (InvalidField, ValueError) as error:
        raise OneByOne from error
    return texts


def _have_utc_shape(texts: Sequence[str]) -> bool:
    joined = "".join(texts)
    return (
        set(map(len, texts)) == {len(_UTC_SHAPE)}
        and joined.encode().translate(_ZEROS) == _UTC_SHAPE * len(texts)
        and "T24" not in joined  # which a later Python takes
        and min(texts) >= _FIRST
        and max(texts) < _BEHIND_LAST
    )


def _datetime(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidField("createdAt", f"{text[:40]!r} is no time: {error}") from error
