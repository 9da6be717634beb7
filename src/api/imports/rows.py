"""From the values of a row to what the ledger takes of it."""

import json
import re
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import orjson

from api.imports.formats import Values
from ledger.errors import InvalidField
from ledger.imported_rows import ImportedRows
from ledger.limits import (
    canonical_metadata,
    check_booking_id,
    check_changed_by,
    check_reason,
    check_status,
    check_time,
)
from ledger.workflow import Workflow

_stable_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

EMPTY = (None, "")
"""The same: CSV cannot tell them apart, and the same row must be the same fact."""
FINGERPRINT_BYTES = 8
OCCURRENCES_MAX = 200_000

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
# The shape of a text: each digit is a 0. Quicker than an expression, and as strict.
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_UTC_SHAPE = b"0000-00-00T00:00:00Z"
# Texts of floats, some of which were integers before the quick parser made the nearest float of
# them, and which JSON writers do not agree on. Most metadata has none.
_EXPONENT = re.compile(rb"e[-+]?[0-9]")  # alone takes half as long, and most have none of it
_FLOAT = re.compile(rb"[0-9]e[-+]?[0-9]")


class RowReader:
    """Checks the rows of one run, in order; each is a fact with a fingerprint.

    The fingerprint is made from all that the row says and from how many rows of this run said
    the same before. So a file that is imported again, has grown, or overlaps another writes
    nothing twice, whatever it is called, and a row that really stands in a file twice counts
    twice.
    """

    def __init__(self, key: bytes, workflow: Workflow, *, assume_utc: bool = False) -> None:
        """`key` is what fingerprints are made with: they are kept, and made of personal data."""
        self._keyed = blake2b(digest_size=FINGERPRINT_BYTES, key=key)
        self._workflow = workflow
        self._statuses = frozenset(workflow.statuses)
        self._assume_utc = assume_utc
        # Counted within a window: identical rows are neighbours in any sensible order, and the
        # memory of a run must not grow with its file. The window has two parts; the older one
        # goes when the newer is full.
        self._occurrences: dict[int, int] = {}
        self._older_occurrences: dict[int, int] = {}

    def read(self, values: Values, rows: ImportedRows) -> None:
        """Append what a row says.

        Raises InvalidField naming the column that is at fault, or UnknownStatus.
        """
        booking_id = check_booking_id(_text(values[0], "bookingId"), "bookingId")
        from_status = changed_by = reason = canonical = None
        if values[1] not in EMPTY:
            from_status = _text(values[1], "fromStatus")
            if from_status not in self._statuses:
                check_status(from_status, "fromStatus")
        to_status = _text(values[2], "toStatus")
        if to_status not in self._statuses:
            self._workflow.require_status(check_status(to_status, "toStatus"))
        personal: dict[str, object] = {}
        if values[3] not in EMPTY:
            personal["changed_by"] = changed_by = check_changed_by(_text(values[3], "changedBy"))
        if values[4] not in EMPTY:
            personal["reason"] = reason = check_reason(_text(values[4], "reason"))
        if values[5] not in EMPTY:
            metadata, canonical = _metadata(values[5])
            if metadata is not None:
                personal["metadata"] = metadata
        created_at = self._time(_text(values[6], "createdAt"))
        # The bytes are stored, hashed with the key, for ever: others would import all again.
        fingerprint = self._fingerprint(
            orjson.dumps(
                [booking_id, from_status, to_status, changed_by, reason, canonical, created_at]
            )
        )
        # As text: what orjson gives is kept in a kilobyte, and then each of its next ones costs
        # ten times as much.
        sealed = orjson.dumps(personal).decode() if personal else None
        rows.append(booking_id, to_status, from_status, created_at, sealed, fingerprint)

    def _fingerprint(self, content: bytes) -> int:
        digest = self._keyed.copy()
        digest.update(content)
        first = int.from_bytes(digest.digest(), "big", signed=True)
        before = self._occurrences.get(first) or self._older_occurrences.get(first, 0)
        self._occurrences[first] = before + 1
        if len(self._occurrences) > OCCURRENCES_MAX:
            self._older_occurrences, self._occurrences = self._occurrences, {}
        if before == 0:
            return first
        digest.update(b"%d" % (before + 1))  # unambiguous: content ends with a bracket
        return int.from_bytes(digest.digest(), "big", signed=True)

    def _time(self, text: str) -> str:
        """In UTC, as events have it."""
        if text.isascii() and text.encode().translate(_ZEROS) == _UTC_SHAPE and text[11:13] < "24":
            check_time(_datetime(text), "createdAt")
            return text  # as it stands in most files
        match = _TIME.fullmatch(text)
        if match is None:
            raise InvalidField("createdAt", f"{text[:40]!r} is no RFC 3339 time")
        time = _datetime(text.upper())
        if match[1] is None:
            if not self._assume_utc:
                raise InvalidField(
                    "createdAt", f"{text!r} has no offset such as Z; --assume-utc takes it as UTC"
                )
            time = time.replace(tzinfo=UTC)
        utc = check_time(time, "createdAt")
        return orjson.dumps(utc, option=orjson.OPT_UTC_Z)[1:-1].decode()


def _datetime(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidField("createdAt", f"{text[:40]!r} is no time: {error}") from error


def _text(value: object, field: str) -> str:
    if value in EMPTY:
        raise InvalidField(field, "is missing")
    if not isinstance(value, str):
        raise InvalidField(field, "must be a text")
    return value


def _metadata(value: object) -> tuple[dict[str, Any] | None, orjson.Fragment | None]:
    """The metadata, and as canonical JSON: sorted keys, no spaces."""
    if isinstance(value, str):
        try:
            metadata = orjson.loads(value)
        except ValueError as error:
            raise InvalidField("metadata", f"is not JSON: {error}") from error
    else:
        metadata = value
    if metadata is None:
        return None, None
    if not isinstance(metadata, dict):
        raise InvalidField("metadata", "must be a JSON object")
    canonical = canonical_metadata(metadata)
    if _EXPONENT.search(canonical) and _FLOAT.search(canonical):
        if isinstance(value, str):
            metadata = json.loads(value)
            canonical_metadata(metadata)
        canonical = _stable_json(metadata).encode()
    return metadata, orjson.Fragment(canonical)
