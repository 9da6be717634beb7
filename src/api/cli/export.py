"""`export`: the history as a file of another tool."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click
from pydantic import TypeAdapter, ValidationError

from api.cli.options import json_option, ledger_options
from api.cli.output import print_facts, print_json, progress_bar
from api.models import Time
from api.settings import read_settings
from api.storage import open_database
from ledger.database import Database
from projections.analytics.question import moment
from projections.catch_up import catch_up
from projections.exports.formats import FORMATS
from projections.exports.parquet import write_months
from projections.exports.source import Export
from projections.feed import head
from projections.queries import Filter
from projections.rebuild import Progress

STDOUT = "-"


def _time(ctx: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    del ctx, parameter
    if value is None:
        return None
    try:
        found: datetime = TypeAdapter(Time).validate_python(value)
    except ValidationError as error:
        raise click.BadParameter(
            f"{value!r} must be an RFC 3339 time with an offset, such as 2026-03-01T00:00:00Z"
        ) from error
    return found


@click.command()
@click.option(
    "--format", "format_", type=click.Choice(list(FORMATS)), required=True, help="What to write."
)
@click.option("--output", required=True, help='The file, or "-" for standard output.')
@click.option("--as-of-position", type=click.IntRange(min=0), help="As it was at this position.")
@click.option("--partition-by", type=click.Choice(["month"]), help="Parquet: a folder of files.")
@click.option("--booking", "booking_id", help="Only changes of this booking.")
@click.option("--from-status", help="Only changes out of this status.")
@click.option("--to-status", help="Only changes into this status.")
@click.option("--changed-by", help="Only changes by this person or program.")
@click.option("--since", callback=_time, help="Only what occurred from this time on.")
@click.option("--until", callback=_time, help="Only what occurred before this time.")
@ledger_options
@json_option
def export(
    format_: str,
    output: str,
    as_of_position: int | None,
    partition_by: str | None,
    booking_id: str | None,
    from_status: str | None,
    to_status: str | None,
    changed_by: str | None,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
    **given: object,
) -> None:
    """Write the status history as a file: all of it, or the changes that the filters choose.

    Rows are by booking and version. The file appears under its name when it is whole, and
    replaces an older one; a folder (--partition-by) must not exist yet. A position always
    gives the same content. `import` takes CSV and NDJSON again.
    """
    if output == STDOUT and (as_json or partition_by):
        raise click.UsageError("With --output - there is no room for --json or --partition-by.")
    if partition_by and format_ != "parquet":
        raise click.UsageError("--partition-by goes with --format parquet only.")
    FORMATS[format_].require()
    chosen = Filter(booking_id, to_status, from_status, changed_by, since, until)
    started = time.monotonic()
    counter = _Counter()
    with open_database(read_settings(**given)) as database:
        chosen_rows = _export(database, as_of_position, chosen, counter)
        with progress_bar(f"export {format_}", "rows") as progress:
            counter.show(progress, chosen_rows.count())
            if partition_by:
                _write_folder(chosen_rows, Path(output))
            else:
                _write_file(chosen_rows, format_, output)
    facts = {"rows": counter.rows, "position": chosen_rows.position}
    _report(facts, output, time.monotonic() - started, as_json=as_json)


class _Counter:
    """The rows of an export, shown as they are read. A format may read them more than once."""

    def __init__(self) -> None:
        self.rows = 0
        self._progress: Progress | None = None
        self._total = 0

    def __call__(self, done: int) -> None:
        self.rows = done
        if self._progress is not None:
            self._progress(done, self._total)

    def show(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total


def _export(
    database: Database, as_of_position: int | None, chosen: Filter, counter: _Counter
) -> Export:
    with database.connect() as connection:
        newest = head(connection)
        with progress_bar("read model", "events") as progress:
            catch_up(database, progress)  # without a projector running, nobody else would
        at = moment(connection, newest if as_of_position is None else as_of_position)
    return Export(database.connect, at.position, chosen, counter)


def _write_file(export: Export, format_: str, output: str) -> None:
    with _whole_file(output) as binary:
        for chunk in FORMATS[format_].chunks(export):
            binary.write(chunk)


def _write_folder(export: Export, folder: Path) -> None:
    """The same for a folder, which cannot replace another."""
    if folder.exists():
        raise FileExistsError(f"{folder} exists; a partitioned export makes its folder itself.")
    part = _part(folder)
    try:
        part.mkdir()
        write_months(export, part)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextmanager
def _whole_file(output: str) -> Iterator[BinaryIO]:
    """A file that takes its name when all is on disk; after an error there is nothing of it."""
    if output == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    part = _part(path)
    try:
        with part.open("xb") as binary:
            yield binary
            binary.flush()
            os.fsync(binary.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _report(facts: dict[str, int], output: str, seconds: float, *, as_json: bool) -> None:
    rate = round(facts["rows"] / seconds)
    if as_json:
        figures = {"seconds": round(seconds, 3), "rowsPerSecond": rate}
        print_json({**facts, **figures, "output": output})
    elif output != STDOUT:
        print_facts({**facts, "seconds": round(seconds, 1), "rows per second": rate})
