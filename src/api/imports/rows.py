"""From the values of rows to what the ledger takes of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import orjson

from api.imports.fingerprints import Fingerprints
from api.imports.formats import Columns, OneByOne, Values
from api.imports.metadata import Metadata, read_all_metadata, read_metadata
from api.imports.times import utc_time, utc_times
from ledger.errors import InvalidField
from ledger.imported_rows import ImportedRows
from ledger.limits import (
    BOOKING_ID_LENGTH_MAX,
    CHANGED_BY_LENGTH_MAX,
    REASON_LENGTH_MAX,
    check_booking_id,
    check_changed_by,
    check_reason,
    check_status,
    is_one_line,
    is_storable,
)
from ledger.workflow import STATUS_LENGTH_MAX, Workflow

EMPTY = (None, "")
"""The same: CSV cannot tell them apart, and the same row must be the same fact."""

_TEXT_TYPES = frozenset((str, type(None)))


class RowReader:
    """Checks the rows of one run, in order; each is a fact with a fingerprint."""

    def __init__(self, key: bytes, workflow: Workflow, *, assume_utc: bool = False) -> None:
        """`key` is what fingerprints are made with."""
        self._fingerprints = Fingerprints(key)
        self._workflow = workflow
        self._statuses = frozenset(workflow.statuses)
        self._assume_utc = assume_utc

    def read(self, values: Values, rows: ImportedRows) -> None:
        """Append what a row says.

        Raises InvalidField naming the column that is at fault, or UnknownStatus.
        """
        booking_id = check_booking_id(_text(values[0], "bookingId"), "bookingId")
        from_status = changed_by = reason = metadata = canonical = None
        if values[1] not in EMPTY:
            from_status = _text(values[1], "fromStatus")
            if from_status not in self._statuses:
                check_status(from_status, "fromStatus")
        to_status = _text(values[2], "toStatus")
        if to_status not in self._statuses:
            self._workflow.require_status(check_status(to_status, "toStatus"))
        if values[3] not in EMPTY:
            changed_by = check_changed_by(_text(values[3], "changedBy"))
        if values[4] not in EMPTY:
            reason = check_reason(_text(values[4], "reason"))
        if values[5] not in EMPTY:
            metadata, canonical = read_metadata(values[5])
        time = utc_time(_text(values[6], "createdAt"), assume_utc=self._assume_utc)
        fingerprint = self._fingerprints.of(
            _content((booking_id, from_status, to_status, changed_by, reason, canonical, time))
        )
        personal = _personal(changed_by, reason, metadata)
        rows.append(booking_id, to_status, from_status, time, personal, fingerprint)

    def read_all(self, columns: Columns, rows: ImportedRows) -> None:
        """Append what rows say, as `read` does with one after the other, at half the cost: of a
        column most is done in one call. Raises OneByOne before anything is done.
        """
        ids, to_statuses, times = map(_all_given, (columns[0], columns[2], columns[6]))
        from_statuses, changed_by, reasons = map(_all_texts, (columns[1], columns[3], columns[4]))
        _require(ids, BOOKING_ID_LENGTH_MAX, is_one_line)
        _require(set(from_statuses).difference(self._statuses), STATUS_LENGTH_MAX, is_one_line)
        if not self._statuses.issuperset(to_statuses):
            raise OneByOne
        _require(changed_by, CHANGED_BY_LENGTH_MAX, is_one_line)
        _require(reasons, REASON_LENGTH_MAX, is_storable)
        metadata, canonical = read_all_metadata(columns[5])
        utc = utc_times(times, assume_utc=self._assume_utc)
        said = zip(
            ids, from_statuses, to_statuses, changed_by, reasons, canonical, utc, strict=True
        )
        fingerprints = self._fingerprints.of_all(list(map(_content, said)))
        personal = list(map(_personal, changed_by, reasons, metadata))
        rows.extend(ids, to_statuses, from_statuses, utc, personal, fingerprints)


def _content(said: tuple[object, ...]) -> bytes:
    """All that a row says, for its fingerprint: that is kept for ever, so other bytes would
    import all again."""
    return orjson.dumps(said)


def _personal(changed_by: str | None, reason: str | None, metadata: Metadata) -> str | None:
    """What is to be sealed of it, as JSON."""
    personal: dict[str, object] = {}
    if changed_by is not None:
        personal["changed_by"] = changed_by
    if reason is not None:
        personal["reason"] = reason
    if metadata is not None:
        personal["metadata"] = metadata
    # As text: what orjson gives is kept in a kilobyte, and then each of its next ones costs
    # ten times as much.
    return orjson.dumps(personal).decode() if personal else None


def _all_texts(values: Sequence[object]) -> list[str | None]:
    if not _TEXT_TYPES.issuperset(map(type, values)):
        raise OneByOne
    return [value or None for value in cast("Sequence[str | None]", values)]


def _all_given(values: Sequence[object]) -> list[str]:
    texts = _all_texts(values)
    if None in texts:
        raise OneByOne
    return cast("list[str]", texts)


def _require(
    texts: Iterable[str | None], length_max: int, is_allowed: Callable[[str], bool]
) -> None:
    given = list(filter(None, texts))
    if max(map(len, given), default=0) > length_max or not is_allowed("".join(given)):
        raise OneByOne


def _text(value: object, field: str) -> str:
    if value in EMPTY:
        raise InvalidField(field, "is missing")
    if not isinstance(value, str):
        raise InvalidField(field, "must be a text")
    return value
