"""Fill a ledger through its own writer, quickly."""

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import islice

from api.imports.chunks import CHUNK_ROWS
from api.imports.rows import RowReader
from benchmarks.dataset import Row
from ledger.booking import Change
from ledger.commands import OpenBooking, RecordStatus
from ledger.database import Database
from ledger.import_writer import ImportWriter
from ledger.imported_rows import ImportedRows
from ledger.workflow import Workflow
from ledger.writer import Writer

CHUNK = 1_000


def import_rows(database: Database, workflow: Workflow, rows: Iterable[Row]) -> float:
    """What `booking-ledger import` does, without the file, its parsing and its second process.

    Returns the seconds it took.
    """
    reader = RowReader(bytes(32), workflow)
    values = iter(rows)
    started = time.monotonic()
    with closing(ImportWriter(database, workflow, "benchmark")) as writer:
        while True:
            chunk = ImportedRows()
            for row in islice(values, CHUNK_ROWS):
                reader.read(row, chunk)
            if not len(chunk):
                break
            writer.record(chunk)
    return time.monotonic() - started


def open_bookings(database: Database, workflow: Workflow, booking_ids: Sequence[str]) -> None:
    commands = [OpenBooking(one, _change("pending")) for one in booking_ids]
    _write(database, workflow, commands)


def record_histories(
    database: Database, workflow: Workflow, booking_ids: Sequence[str], statuses: Sequence[str]
) -> None:
    """Give each booking these statuses, one event each."""
    for status in statuses:
        _write(database, workflow, [RecordStatus(one, _change(status)) for one in booking_ids])


def _write(
    database: Database, workflow: Workflow, commands: Sequence[OpenBooking | RecordStatus]
) -> None:
    with closing(Writer(database, workflow)) as writer:
        for first in range(0, len(commands), CHUNK):
            writer.execute(commands[first : first + CHUNK])


def _change(status: str) -> Change:
    return Change(
        status=status,
        changed_by="anna@frontdesk",
        reason="the guest called",
        actor="api-key",
        source="benchmark",
    )
