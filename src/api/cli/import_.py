"""`import`: take in the status history of another system."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import click
import psycopg
from tqdm import tqdm

from api.cli.options import json_option, ledger_options
from api.cli.output import print_facts, print_json, progress_bar
from api.imports.formats import Format, format_of
from api.imports.garbage import rarely_collected
from api.imports.reading import Reading, reading
from api.imports.rejects import RejectsFile
from api.imports.run import ImportRun, Summary
from api.imports.stop import StopRequest
from api.settings import read_settings
from api.storage import open_database
from ledger.database import Database
from ledger.errors import LedgerError, OutcomeUnknown, StoreUnavailable
from ledger.import_writer import ImportWriter, fingerprint_key
from ledger.limits import check_source
from projections.catch_up import catch_up

EXIT_REJECTED = 3
EXIT_INTERRUPTED = 130
STDIN = "-"
IN_WORDS = {
    "known": "already known",
    "rowsPerSecond": "rows/s",
    "position": "newest position",
}
GOES_ON = "Run the same command again to go on: nothing is written twice."
LOST: dict[type[Exception], str] = {
    StoreUnavailable: "The database cannot be reached, or takes no changes now.",
    OutcomeUnknown: "The connection to the database was lost while rows were being committed: "
    "those may be recorded or not.",
}
"""What a caller of the service would be told is about one change."""


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "ndjson"]),
    help="Default: by the file's name (.csv, .ndjson, .jsonl, each also with .gz).",
)
@click.option(
    "--source", help="Name of the source, kept with each event. Default: the file's name."
)
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for rows that cannot be taken. Default: NAME.rejects.csv, in this directory.",
)
@click.option("--assume-utc", is_flag=True, help="Take times without an offset as UTC.")
@ledger_options
@json_option
def import_(
    file: str,
    format_: Format | None,
    source: str | None,
    rejects: Path | None,
    assume_utc: bool,
    as_json: bool,
    **given: object,
) -> None:
    """Import a status history from FILE, or from standard input where FILE is "-".

    FILE is CSV with a header, or NDJSON. Its columns are bookingId, toStatus and createdAt
    (RFC 3339 with an offset), and if known fromStatus, changedBy, reason and metadata (a JSON
    object). The order within a booking is the file's.

    Importing again writes nothing twice: the same file, a longer one, one that overlaps, or
    one that was broken off. Imported events are not held to the workflow's transitions, but
    its statuses must be known. Where a row's fromStatus disagrees with the ledger, the event
    keeps the true one and the claim beside it, and is counted as disputed.

    Exit codes: 0 all rows taken; 3 some rejected, see the rejects file; 130 interrupted and
    1 failed, after which the same command goes on where it stopped.
    """
    name = "stdin" if file == STDIN else Path(file).name
    format_ = format_ or format_of(name)
    if format_ is None:
        raise click.UsageError(f"The format of {file!r} is not known: give --format.")
    rejects = rejects or Path(f"{name}.rejects.csv")
    if file != STDIN and rejects.exists() and rejects.samefile(file):
        raise click.UsageError("The rejects file must not be the file that is imported.")
    settings = read_settings(**given)
    workflow = settings.read_workflow()
    source = check_source(source or name, "--source")
    with ExitStack() as stack:
        binary = stack.enter_context(_opened(file))
        how = Reading(format_, name.lower().endswith(".gz"), workflow, assume_utc)
        chunks_with = stack.enter_context(reading(binary, how))
        database = stack.enter_context(open_database(settings))
        rejects_file = stack.enter_context(RejectsFile(rejects))
        stop = stack.enter_context(StopRequest())
        writer = stack.enter_context(closing(ImportWriter(database, workflow, source)))
        chunks = stack.enter_context(closing(chunks_with(fingerprint_key(database))))
        run = ImportRun(writer, rejects_file)
        try:
            with rarely_collected(), _progress(binary, name, sized=file != STDIN) as progress:
                run.run(chunks, stop, progress)
        except (LedgerError, psycopg.Error, OSError) as error:
            _report(run.summary, rejects, as_json=as_json)
            why = LOST.get(type(error)) or f"{str(error).strip().removesuffix('.')}."
            raise ImportFailed(f"{why} {GOES_ON}") from error
        writer.close()
        if run.summary.complete:
            _update_read_model(database)
    _report(run.summary, rejects, as_json=as_json)
    sys.exit(_exit_code(run.summary))


class ImportFailed(LedgerError):
    """The import did not come to its end"""


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == STDIN:
        yield sys.stdin.buffer
    else:
        with Path(file).open("rb") as binary:
            yield binary


@contextmanager
def _progress(binary: BinaryIO, name: str, *, sized: bool) -> Iterator[Callable[[Summary], None]]:
    """A bar by bytes where there is a size, so that it knows the time left; else by rows."""
    with tqdm(
        desc=f"import {name}",
        total=Path(binary.name).stat().st_size if sized else None,
        unit="B" if sized else " rows",
        unit_scale=True,
        disable=None,
    ) as bar:

        def show(summary: Summary) -> None:
            bar.set_postfix_str(
                f"{summary.rows:,} rows, {summary.rows_per_second:,.0f} rows/s", refresh=False
            )
            done = summary.rows if summary.bytes_read is None else summary.bytes_read
            bar.update(done - bar.n)

        yield show


def _update_read_model(database: Database) -> None:
    """Without a projector running, what was imported could not be seen in lists and views."""
    try:
        with progress_bar("read model", "events") as progress:
            catch_up(database, progress)
    except (LedgerError, psycopg.Error) as error:
        click.echo(f"Warning: all is recorded, but the read model is behind: {error}", err=True)


def _report(summary: Summary, rejects: Path, *, as_json: bool) -> None:
    taken = summary.taken
    facts: dict[str, object] = {
        "rows": summary.rows,
        "opened": taken.opened,
        "changed": taken.changed,
        "unchanged": taken.unchanged,
        "known": taken.known,
        "disputed": taken.disputed,
        "rejected": summary.rejected,
        "seconds": round(summary.seconds, 3),
        "rowsPerSecond": round(summary.rows_per_second),
        "position": taken.position,
    }
    if as_json:
        rejects_file = str(rejects) if summary.rejected else None
        print_json({**facts, "complete": summary.complete, "rejectsFile": rejects_file})
        return
    print_facts({IN_WORDS.get(name, name): value for name, value in facts.items()})
    if summary.rejected:
        click.echo(f"Rejected rows and why: {rejects}", err=True)


def _exit_code(summary: Summary) -> int:
    if not summary.complete:
        click.echo(f"Interrupted. {GOES_ON}", err=True)
        return EXIT_INTERRUPTED
    return EXIT_REJECTED if summary.rejected else 0
