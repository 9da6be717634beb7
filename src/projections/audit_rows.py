"""The rows of the read model beside those that the events give."""

import json
from collections.abc import Iterator
from typing import Any

from projections.audit_snapshot import Snapshot
from projections.findings import Kind
from projections.rows import BookingRow, HistoryRow

VALUE_SHOWN_MAX = 200

Row = HistoryRow | BookingRow
Key = tuple[str, int]

HISTORY = 'SELECT {} FROM "BookingStatusHistory" ORDER BY "bookingId", version, id'
BOOKINGS = 'SELECT {} FROM "Booking" ORDER BY id'


class TableComparison:
    """Compares a table with the rows that it should have, both in the order of their keys.

    Give each of these to `expect`, every key of which nothing is known to `skip`, and call
    `end`. Rows of the table that come in between are too many.
    """

    def __init__(self, snapshot: Snapshot, row_type: type[Row], table: str, query: str) -> None:
        self._findings = snapshot.findings
        self._table = table
        self._row_type = row_type
        columns = ", ".join(f'"{column}"' for column in row_type._fields)
        compared = snapshot.position is not None
        self._rows: Iterator[tuple[Any, ...]] = (
            snapshot.stream(table, query.format(columns)) if compared else iter(())
        )
        self._row: Row | None = None
        self._row_key: Key = ("", 0)
        self._move()

    def expect(self, row: Row) -> None:
        found = self._take(_key(row))
        if found is None:
            self._add("missing_row", "the row is missing", row)
        elif found != row:
            for column, value, expected in zip(row._fields, found, row, strict=True):
                if value != expected and not (column == "metadata" and _same(value, expected)):
                    detail = f"{column} is {_shown(value)}, the events give {_shown(expected)}"
                    self._add("different_value", detail, row)

    def skip(self, key: Key) -> None:
        self._take(key)

    def end(self) -> None:
        while self._row is not None:
            self._extra()

    def _take(self, key: Key) -> Row | None:
        """The row with this key, if it is there; those before it are too many."""
        while self._row is not None and self._row_key < key:
            self._extra()
        found = self._row
        if found is None or self._row_key != key:
            return None
        self._move()
        return found

    def _extra(self) -> None:
        assert self._row is not None
        self._add("extra_row", "the row belongs to no event", self._row)
        self._move()

    def _move(self) -> None:
        """To the next row of the table."""
        row = next(self._rows, None)
        if row is None:
            self._row = None
        else:
            self._row = self._row_type(*row)
            self._row_key = _key(self._row)

    def _add(self, kind: Kind, detail: str, row: Row) -> None:
        booking_id = _key(row)[0]
        self._findings.add(
            kind, f'"{self._table}": {detail}', booking_id, row.version, row.position
        )


def history_comparison(snapshot: Snapshot) -> TableComparison:
    return TableComparison(snapshot, HistoryRow, "BookingStatusHistory", HISTORY)


def booking_comparison(snapshot: Snapshot) -> TableComparison:
    return TableComparison(snapshot, BookingRow, "Booking", BOOKINGS)


def history_key(booking_id: str, version: int) -> Key:
    return (booking_id, version)


def booking_key(booking_id: str) -> Key:
    return (booking_id, 0)


def _key(row: Row) -> Key:
    if isinstance(row, HistoryRow):
        return history_key(row.bookingId, row.version)
    return booking_key(row.id)


def _same(value: Any, expected: Any) -> bool:
    """Whether two JSON texts say the same: releases of the JSON writer spell some numbers apart."""
    try:
        return json.dumps(json.loads(value)) == json.dumps(json.loads(expected))
    except (TypeError, ValueError):
        return False


def _shown(value: Any) -> str:
    text = value.isoformat() if hasattr(value, "isoformat") else repr(value)
    return text if len(text) <= VALUE_SHOWN_MAX else f"{text[:VALUE_SHOWN_MAX]}…"
