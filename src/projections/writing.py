"""Writes batches of rows into the tables, live or those of a rebuild."""

import psycopg

from ledger.prepared import (
    Prepared,
    as_milliseconds,
    as_text,
    integers,
    small_integers,
    texts,
    timestamps,
)
from projections import tables
from projections.flow_days import DayWriter
from projections.rows import Batch, BookingRow, since_1970

# The time of the change before is where the stay began that ends now.
UPDATE_BOOKINGS = """
    UPDATE "Booking{s}" AS booking
    SET status = changed.status, version = changed.version,
        "updatedAt" = changed.updated_at, position = changed.position
    FROM unnest($1::text[], $2::text[], $3::int[], $4::timestamp[], $5::bigint[])
            AS changed (id, status, version, updated_at, position)
        JOIN "Booking{s}" AS before USING (id)
    WHERE booking.id = changed.id
    RETURNING booking.id, before."updatedAt"
"""


class TableWriter:
    """Used on one connection at a time. It may be another one later."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._update = Prepared(UPDATE_BOOKINGS.replace("{s}", suffix))
        self._days = DayWriter(suffix)

    def write(self, connection: psycopg.Connection, batch: Batch, *, days: bool = True) -> None:
        """Write the rows of a batch, bookings first: history refers to them. To be called within a
        transaction. Without `days`, those are filled later."""
        if batch.opened:
            tables.write_bookings(connection, batch.opened, self._suffix)
        changed_before = self._change(connection, batch.changed) if batch.changed else {}
        if batch.history:
            tables.write_history(connection, batch.history, self._suffix)
            if days:
                self._days.add(connection, batch.history, changed_before)
        tables.erase(connection, batch.erased, self._suffix)

    def _change(self, connection: psycopg.Connection, rows: list[BookingRow]) -> dict[str, int]:
        """When each booking had changed last before; milliseconds since 1970."""
        parameters = (
            texts([row.id for row in rows]),
            texts([row.status for row in rows]),
            small_integers([row.version for row in rows]),
            timestamps([since_1970(row.updatedAt) for row in rows]),
            integers([row.position for row in rows]),
        )
        found = self._update.execute(connection, parameters)
        return {
            as_text(found.get_value(row, 0)): as_milliseconds(found.get_value(row, 1))
            for row in range(found.ntuples)
        }
