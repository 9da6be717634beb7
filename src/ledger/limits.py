"""How large and of what kind the values of a change may be, whichever door it comes through.

Each function gives back the value it was given, or raises InvalidField naming the field.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import orjson

from ledger.errors import InvalidField
from ledger.workflow import STATUS_LENGTH_MAX

BOOKING_ID_LENGTH_MAX = 200
CHANGED_BY_LENGTH_MAX = 200
REASON_LENGTH_MAX = 2_000
SOURCE_LENGTH_MAX = 200
METADATA_BYTES_MAX = 65_536
METADATA_DEPTH_MAX = 100
"""Far below what the JSON encoder and PostgreSQL's jsonb refuse, so events stay readable."""
YEAR_MIN, YEAR_MAX = 1900, 2999

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def check_booking_id(text: str, field: str = "bookingId") -> str:
    return _one_line(text, field, BOOKING_ID_LENGTH_MAX)


def check_changed_by(text: str, field: str = "changedBy") -> str:
    return _one_line(text, field, CHANGED_BY_LENGTH_MAX)


def check_status(text: str, field: str = "status") -> str:
    """Whether it could be the name of a status; whether it is one, the workflow says."""
    return _one_line(text, field, STATUS_LENGTH_MAX)


def check_source(text: str, field: str = "source") -> str:
    return _one_line(text, field, SOURCE_LENGTH_MAX)


def check_reason(text: str, field: str = "reason") -> str:
    """Any text that PostgreSQL can store; it may have several lines and may be empty."""
    if len(text) > REASON_LENGTH_MAX:
        raise InvalidField(field, f"must have at most {REASON_LENGTH_MAX} characters")
    if not is_storable(text):
        raise InvalidField(field, "must not contain NUL characters or lone surrogates")
    return text


def is_one_line(text: str) -> bool:
    """Whether it has no control characters, which ids, names and statuses must not have."""
    return text.isprintable() or not _CONTROL.search(text)  # the former is quicker


def is_storable(text: str) -> bool:
    """Whether it is a text that PostgreSQL can store."""
    return text.isprintable() or not _UNSTORABLE.search(text)


def check_metadata(metadata: dict[str, Any], field: str = "metadata") -> dict[str, Any]:
    canonical_metadata(metadata, field)
    return metadata


def canonical_metadata(metadata: dict[str, Any], field: str = "metadata") -> bytes:
    """The same check; gives the metadata as compact JSON with sorted keys."""
    try:
        encoded = orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise InvalidField(field, f"cannot be stored as JSON: {error}") from error
    if len(encoded) > METADATA_BYTES_MAX:
        raise InvalidField(field, f"must be at most {METADATA_BYTES_MAX} bytes of JSON")
    # Only these can hide what is refused below, and most metadata has none of them.
    if (
        b"\\u0000" in encoded
        or b"null" in encoded
        or encoded.count(b"{") + encoded.count(b"[") > METADATA_DEPTH_MAX
    ):
        _check_values(metadata, field)
    return encoded


def check_time(time: datetime, field: str = "occurredAt") -> datetime:
    """Gives the time in UTC, where its year counts: what we give out must be taken again."""
    if time.tzinfo is None:
        raise InvalidField(field, "must have an offset, such as Z or +02:00")
    try:
        utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    except OverflowError:  # from the first or the last year that there is into none
        utc = time
    if not YEAR_MIN <= utc.year <= YEAR_MAX:
        raise InvalidField(field, f"must be between the years {YEAR_MIN} and {YEAR_MAX} in UTC")
    return utc


def _one_line(text: str, field: str, length_max: int) -> str:
    if not 0 < len(text) <= length_max:
        raise InvalidField(field, f"must have 1 to {length_max} characters")
    if not is_one_line(text):
        raise InvalidField(field, "must not contain control characters or lone surrogates")
    return text


def _check_values(metadata: dict[str, Any], field: str) -> None:
    for value, depth in _walk(metadata):
        if depth > METADATA_DEPTH_MAX and isinstance(value, dict | list | tuple):
            raise InvalidField(field, f"must not be nested deeper than {METADATA_DEPTH_MAX}")
        if isinstance(value, str) and "\x00" in value:
            raise InvalidField(field, "must not contain NUL characters")
        if isinstance(value, float) and not isfinite(value):
            raise InvalidField(field, "must not contain NaN or infinite numbers")


def _walk(metadata: dict[str, Any]) -> Iterator[tuple[object, int]]:
    """Every value and key with the depth at which it stands."""
    waiting: list[tuple[object, int]] = [(metadata, 1)]
    while waiting:
        value, depth = waiting.pop()
        yield value, depth
        if isinstance(value, dict):
            waiting.extend((key, depth) for key in value)
            waiting.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list | tuple):
            waiting.extend((item, depth + 1) for item in value)
