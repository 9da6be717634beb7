"""Import a history, against COPY of the very events that come of it.

The peer's rows lie in memory and go into a table with the same key, index and triggers.
Nobody asks it to parse, to decide, to chain or to notice what it has had before.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import psycopg

from benchmarks.context import COMMAND, MASTER_KEY_TEXT, WORKFLOW, Context, head
from benchmarks.copying import copied_out, copy_in, copy_rows
from benchmarks.dataset import Row as DataRow
from benchmarks.dataset import hotel, incidents, write_csv
from benchmarks.processes import environment
from benchmarks.results import Goal, Row, alone, compare
from benchmarks.stopwatch import seconds_of
from ledger.database import Database

SUBJECT = "import"
EVENTS = "ledger_events"
PER_TRANSACTION = 10_000
COLUMN_TYPES = ("text", "int8", "text", "bytea", "int8")


def run(context: Context) -> list[Row]:
    directory = context.new_directory()
    shapes = {
        "hotel": hotel(1, context.size.import_bookings),
        "incidents": incidents(1, context.size.import_bookings // 2),
    }
    rows: list[Row] = []
    for shape, data in shapes.items():
        rows += _shape(context, shape, data, directory)
    return rows


def _shape(context: Context, shape: str, data: Iterator[DataRow], directory: Path) -> list[Row]:
    file = directory / f"{shape}.csv"
    write_csv(data, file)
    rates: dict[str, list[float]] = {"import": [], "whole": [], "bytes": [], "values": []}
    copies = _copies_of_its_events(context, file)

    def imported() -> None:
        database = context.databases.ledger()
        started = time.monotonic()
        seconds = import_csv(database, file)
        whole = time.monotonic() - started
        rates["import"].append(head(database) / seconds)
        rates["whole"].append(head(database) / whole)
        context.databases.drop(database.url)

    for number in context.rounds(f"{SUBJECT} {shape}"):
        works = [
            imported,
            *(partial(_copied, context, rates[name], copies[name]) for name in copies),
        ]
        for work in works if number % 2 == 0 else reversed(works):
            work()
    context.keep(f"{SUBJECT} {shape}", rates)
    return [
        compare(SUBJECT, shape, "events/s", rates["import"],
                "COPY of the events as bytes, one transaction", rates["bytes"],
                Goal("≥", 0.25)),
        compare(SUBJECT, shape, "events/s", rates["import"],
                f"COPY of the events as Python values, {PER_TRANSACTION:,} a transaction",
                rates["values"]),
        alone(SUBJECT, f"{shape}, with start-up and the read model", "events/s", rates["whole"]),
    ]  # fmt: skip


Copy = Callable[[psycopg.Connection], None]


def _copies_of_its_events(context: Context, file: Path) -> dict[str, Copy]:
    """The ways to copy the events of an import, which is not measured."""
    database = context.databases.ledger()
    import_csv(database, file)
    with database.connect() as connection:
        blocks = copied_out(connection, EVENTS)
        values = connection.execute(f"TABLE {EVENTS}", binary=True).fetchall()
    context.databases.drop(database.url)
    return {
        "bytes": partial(_copy_bytes, blocks=blocks),
        "values": partial(_copy_values, values=values),
    }


def _copied(context: Context, rates: list[float], copy: Copy) -> None:
    """Into a ledger of its own, empty before."""
    target = context.databases.ledger()
    with target.connect() as connection:
        seconds = seconds_of(lambda: copy(connection))
    rates.append(head(target) / seconds)
    context.databases.drop(target.url)


def _copy_bytes(connection: psycopg.Connection, blocks: Sequence[bytes]) -> None:
    copy_in(connection, EVENTS, blocks)


def _copy_values(connection: psycopg.Connection, values: Sequence[tuple[object, ...]]) -> None:
    for first in range(0, len(values), PER_TRANSACTION):
        copy_rows(connection, EVENTS, COLUMN_TYPES, values[first : first + PER_TRANSACTION])


def import_csv(database: Database, file: Path) -> float:
    """The seconds that the command itself reports: rows read, decided and on disk."""
    done = subprocess.run(
        [COMMAND, "import", str(file), "--json", "--database-url", database.url,
         "--workflow", str(WORKFLOW)],
        check=True,
        cwd=file.parent,
        env=environment({"LEDGER_MASTER_KEY": MASTER_KEY_TEXT}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    summary: dict[str, float] = json.loads(done.stdout)
    if summary["rejected"]:
        raise RuntimeError(f"rejected: {summary}")
    return summary["seconds"]
