"""Fill a ledger through its own writer, quickly."""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from api.imports.formats import Record, Reject
from api.imports.rejects import RejectsFile
from api.imports.rows import RowReader
from api.imports.run import ImportRun
from api.imports.stop import StopRequest
from benchmarks.dataset import Row
from ledger.booking import Change
from ledger.commands import OpenBooking, RecordStatus
from ledger.database import Database
from ledger.workflow import Workflow
from ledger.writer import Writer

CHUNK = 1_000


def import_rows(database: Database, workflow: Workflow, rows: Iterable[Row]) -> float:
    """What `booking-ledger import` does, without the file, its parsing and the read model.

    Returns the seconds it took.
    """
    records: Iterator[Record | Reject] = (
        Record(line, tuple(row), "") for line, row in enumerate(rows, start=1)
    )
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # as the command does
    try:
        with (
            closing(Writer(database, workflow)) as writer,
            tempfile.TemporaryDirectory() as directory,
            RejectsFile(Path(directory, "rejects.csv")) as rejects,
        ):
            run = ImportRun(writer, RowReader("benchmark", bytes(32)), rejects)
            run.run(records, StopRequest(), lambda _: None)
    finally:
        sys.setswitchinterval(before)
    if run.summary.rejected:
        raise RuntimeError(f"{run.summary.rejected} rows were rejected")
    return run.summary.seconds


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
