"""Cursors of lists: where a page ended, as an opaque text."""

import base64
import binascii
from datetime import datetime
from typing import Any

import orjson

from ledger.errors import InvalidField


def encode_cursor(time: datetime, tie_breaker: int | str) -> str:
    """After the row with this (stored, naive) time and tie-breaker."""
    content = orjson.dumps([time, tie_breaker])
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode_cursor(cursor: str | None, kind: type[int] | type[str]) -> tuple[datetime, Any] | None:
    """Raises InvalidField for a text that no page has given."""
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        time, tie_breaker = orjson.loads(base64.b64decode(padded, b"-_", validate=True))
        parsed = datetime.fromisoformat(time)
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError, TypeError, ValueError):
        raise InvalidField(field="cursor", message="must be the 'next' of a page") from None
    bounded = not isinstance(tie_breaker, int) or abs(tie_breaker) < 2**63
    nul_free = not isinstance(tie_breaker, str) or "\x00" not in tie_breaker
    if type(tie_breaker) is not kind or parsed.tzinfo is not None or not (bounded and nul_free):
        raise InvalidField(field="cursor", message="must be the 'next' of a page of this list")
    return parsed, tie_breaker
