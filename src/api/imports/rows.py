"""From the values of a row to the command that imports it."""

import json
import re
from collections import OrderedDict
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import orjson

from api.imports.formats import Values
from ledger.booking import Change
from ledger.commands import ImportStatus
from ledger.database import Database
from ledger.errors import InvalidField
from ledger.limits import (
    canonical_metadata,
    check_booking_id,
    check_changed_by,
    check_reason,
    check_status,
    check_time,
)

_stable_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

OCCURRENCES_MAX = 200_000

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
# Texts of floats, some of which were integers before the quick parser made the nearest float of
# them, and which JSON writers do not agree on. Most metadata has none.
_EXPONENT = re.compile(rb"[0-9]e[-+]?[0-9]")


class RowReader:
    """Makes commands out of the rows of one run, in order; each is a fact with a fingerprint.

    The fingerprint is made from all that the row says and from how many rows of this run said
    the same before. So a file that is imported again, has grown, or overlaps another writes
    nothing twice, whatever it is called, and a row that really stands in a file twice counts
    twice.
    """

    def __init__(self, source: str, key: bytes, *, assume_utc: bool = False) -> None:
        """`key` is what fingerprints are made with: they are kept, and made of personal data."""
        self._key = key
        self._source = f"import:{source}"
        self._assume_utc = assume_utc
        # Counted within a window: identical rows are neighbours in any sensible order, and the
        # memory of a run must not grow with its file.
        self._occurrences: OrderedDict[bytes, int] = OrderedDict()

    def command(self, values: Values) -> ImportStatus:
        """Raises InvalidField naming the column that is at fault."""
        booking_id = check_booking_id(_required(values[0], "bookingId"), "bookingId")
        from_status = _text(values[1], "fromStatus")
        if from_status is not None:
            check_status(from_status, "fromStatus")
        to_status = check_status(_required(values[2], "toStatus"), "toStatus")
        changed_by = _text(values[3], "changedBy")
        if changed_by is not None:
            check_changed_by(changed_by)
        reason = _text(values[4], "reason")
        if reason is not None:
            check_reason(reason)
        metadata, canonical = _metadata(values[5])
        created_at = self._time(_required(values[6], "createdAt"))
        # These bytes are stored, hashed with the key, for ever: another encoding would import
        # all again.
        content = orjson.dumps(
            [booking_id, from_status, to_status, changed_by, reason, canonical, created_at],
            option=orjson.OPT_UTC_Z,
        )
        return ImportStatus(
            booking_id,
            Change(
                status=to_status,
                changed_by=changed_by,
                reason=reason,
                metadata=metadata,
                occurred_at=created_at,
                actor="import",
                source=self._source,
            ),
            from_status,
            self._fingerprint(content),
        )

    def _fingerprint(self, content: bytes) -> bytes:
        digest = blake2b(content, digest_size=16, key=self._key)
        first = digest.digest()
        occurrence = self._occurrences.pop(first, 0) + 1
        self._occurrences[first] = occurrence
        if len(self._occurrences) > OCCURRENCES_MAX:
            self._occurrences.popitem(last=False)
        if occurrence == 1:
            return first
        digest.update(b"%d" % occurrence)  # unambiguous: content ends with a bracket
        return digest.digest()

    def _time(self, text: str) -> datetime:
        match = _TIME.fullmatch(text)
        if match is None:
            raise InvalidField("createdAt", f"{text[:40]!r} is no RFC 3339 time")
        try:
            time = datetime.fromisoformat(text.upper())
        except ValueError as error:
            raise InvalidField("createdAt", f"{text[:40]!r} is no time: {error}") from error
        if match[1] is None:
            if not self._assume_utc:
                raise InvalidField(
                    "createdAt", f"{text!r} has no offset such as Z; --assume-utc takes it as UTC"
                )
            time = time.replace(tzinfo=UTC)
        return check_time(time, "createdAt")


def fingerprint_key(database: Database) -> bytes:
    """What the rows of a ledger's imports are known by."""
    return database.require_master_key().derive(b"imported row")


def _text(value: object, field: str) -> str | None:
    """Empty is null: CSV cannot tell them apart, and the same row must be the same fact."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidField(field, "must be a text")
    return value


def _required(value: object, field: str) -> str:
    text = _text(value, field)
    if text is None:
        raise InvalidField(field, "is missing")
    return text


def _metadata(value: object) -> tuple[dict[str, Any] | None, orjson.Fragment | None]:
    """The metadata, and as canonical JSON: sorted keys, no spaces."""
    if value is None or value == "":
        return None, None
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
    if _EXPONENT.search(canonical):
        if isinstance(value, str):
            metadata = json.loads(value)
            canonical_metadata(metadata)
        canonical = _stable_json(metadata).encode()
    return metadata, orjson.Fragment(canonical)
