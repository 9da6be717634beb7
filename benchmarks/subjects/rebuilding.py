"""Rebuild the read model, against COPY of its rows and against the library's ProjectionRunner.

COPY gets the rows as bytes from memory, bookings first because history refers to them, each
table in one transaction, with synchronous_commit off as in a rebuild (the rows are derived).
"""

import psycopg

from benchmarks.context import Context, head
from benchmarks.copying import copied_out, copy_in
from benchmarks.dataset import mixed
from benchmarks.filling import import_rows
from benchmarks.results import Goal, Row, compare
from benchmarks.stopwatch import seconds_of
from benchmarks.subjects.stock_runner import events_per_second
from ledger.database import Database
from projections import tables
from projections.rebuild import rebuild

SUBJECT = "rebuild"
PEER = "_peer"
TABLES = ("Booking", "BookingStatusHistory")


def run(context: Context) -> list[Row]:
    size = context.size
    database = context.databases.ledger()
    wanted = size.rebuild_events
    rows = (row for row, _ in zip(mixed(1), range(wanted), strict=False))
    import_rows(database, context.workflow, rows)
    rebuild(database)
    events = head(database)
    with database.connect() as connection:
        blocks = {name: copied_out(connection, f'"{name}"') for name in TABLES}
    rates: dict[str, list[float]] = {"rebuild": [], "COPY": [], "COPY, then indexes": []}
    runner: dict[bool, list[float]] = {True: [], False: []}
    works = {
        "rebuild": lambda: seconds_of(lambda: rebuild(database)),
        "COPY": lambda: _copy(database, blocks, indexes_first=True),
        "COPY, then indexes": lambda: _copy(database, blocks, indexes_first=False),
    }
    for number in context.rounds(SUBJECT):
        for name in works if number % 2 == 0 else reversed(works):
            rates[name].append(events / works[name]())
        for waits, found in runner.items():
            url = context.databases.create()
            found.append(events_per_second(url, size.runner_events, waits_for_disk=waits))
            context.databases.drop(url)
    context.keep(
        SUBJECT,
        {
            **rates,
            "ProjectionRunner": runner[True],
            "ProjectionRunner, not waiting for the disk": runner[False],
        },
    )
    return [
        compare(SUBJECT, "both tables", "events/s", rates["rebuild"],
                "COPY into them with their indexes", rates["COPY"], Goal("≥", 0.5)),
        compare(SUBJECT, "both tables", "events/s", rates["rebuild"],
                "COPY, and their indexes afterwards", rates["COPY, then indexes"]),
        compare(SUBJECT, "both tables", "events/s", rates["rebuild"],
                "eventsourcing's ProjectionRunner", runner[True], Goal("≥", 40)),
        compare(SUBJECT, "both tables", "events/s", rates["rebuild"],
                "the same, not waiting for the disk", runner[False]),
    ]  # fmt: skip


def _copy(database: Database, blocks: dict[str, list[bytes]], *, indexes_first: bool) -> float:
    def fill(connection: psycopg.Connection) -> None:
        if indexes_first:
            tables.create_indexes(connection, PEER)
        for name in TABLES:
            copy_in(connection, f'"{name}{PEER}"', blocks[name])
        if not indexes_first:
            tables.create_indexes(connection, PEER)

    with database.connect() as connection:
        connection.execute("SET synchronous_commit = off")
        tables.drop(connection, PEER)
        tables.create(connection, PEER)
        seconds = seconds_of(lambda: fill(connection))
        tables.drop(connection, PEER)
    return seconds
