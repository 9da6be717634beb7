"""Other Python event-sourcing packages at the same work, without HTTP: see `packages.work`."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from importlib.metadata import version
from typing import TypeVar
from uuid import UUID

import psycopg

from benchmarks.context import Context, head
from benchmarks.database import library_environment
from benchmarks.filling import open_bookings, record_histories
from benchmarks.packages.work import (
    CALLERS,
    CHANGED_BY,
    CHANGES_A_BOOKING,
    LONG_EVENTS,
    REASON,
    Measured,
    bookings_for,
    replay_milliseconds,
    status_after,
)
from benchmarks.processes import environment
from benchmarks.results import Row, compare
from benchmarks.servers.plain_eventsourcing import Bookings
from benchmarks.stopwatch import seconds_of
from benchmarks.subjects.stock_runner import events_per_second
from ledger.booking import Change
from ledger.commands import ChangeStatus, Outcome
from ledger.event_store import BookingLedger
from ledger.writer import Writer
from projections import tables
from projections.runner import Projector

IdT = TypeVar("IdT")

SUBJECT = "packages"
MODULES = ("eventsource_py", "event_sourcery")
WORK = {
    "record_1": ("record, 1 caller", "/s"),
    "record_32": ("record, 32 callers", "/s"),
    "replay_ms": ("replay a booking of 20 events", "ms"),
    "project": ("project", "events/s"),
}


def run(context: Context) -> list[Row]:
    seen: dict[str, list[Measured]] = {}
    works = [_ours, _plain, *_others(context)]
    for number in context.rounds(SUBJECT, context.size.few_rounds):
        for work in works if number % 2 == 0 else reversed(works):
            measured = work(context)
            seen.setdefault(measured.package, []).append(measured)
    if context.packages_python is None:
        print("  the other packages are not installed: run `make bench`", file=sys.stderr)
    context.keep(SUBJECT, {name: [vars(one) for one in found] for name, found in seen.items()})
    ours = seen.pop("ours")
    return [
        compare(
            SUBJECT,
            name,
            unit,
            [getattr(one, field) for one in ours],
            package,
            [getattr(one, field) for one in found],
        )
        for field, (name, unit) in WORK.items()
        for package, found in seen.items()
    ]


def _ours(context: Context) -> Measured:
    changes = context.size.package_events
    database = context.databases.ledger()
    sets = [[f"{kind}-{n}" for n in range(bookings_for(changes))] for kind in "ab"]
    open_bookings(database, context.workflow, sets[0] + sets[1])
    with closing(Writer(database, context.workflow)) as writer:

        def record(booking_ids: list[str]) -> None:
            for version_ in range(2, 2 + CHANGES_A_BOOKING):
                for booking_id in booking_ids:
                    change = Change(
                        status=status_after(version_),
                        changed_by=CHANGED_BY,
                        reason=REASON,
                        actor="api-key",
                        source="benchmark",
                    )
                    (answer,) = writer.execute([ChangeStatus(booking_id, change)])
                    assert isinstance(answer, Outcome)

        record_1, record_32 = _record_rates(record, sets)
    long = [status_after(number) for number in range(1, LONG_EVENTS + 1)]
    record_histories(database, context.workflow, ["long"], long)
    with closing(BookingLedger(database)) as ledger:
        replay_ms = replay_milliseconds(lambda: ledger.repository.get("long"))
    projector, events = Projector(database), head(database)
    with database.connect() as connection:
        # The projector itself does not wait for the disk; the other packages do.
        connection.execute("SET synchronous_commit = on")

        def project() -> None:
            while projector.project(connection):
                pass

        rate = events / seconds_of(project)
    context.databases.drop(database.url)
    return Measured("ours", record_1, record_32, replay_ms, rate)


def _plain(context: Context) -> Measured:
    changes = context.size.package_events
    url = context.databases.create()
    with closing(Bookings(library_environment(url))) as bookings:
        sets = [
            [bookings.open_booking(status_after(1), CHANGED_BY, REASON) for _ in range(size)]
            for size in [bookings_for(changes)] * 2
        ]

        def record(booking_ids: list[UUID]) -> None:
            for version_ in range(2, 2 + CHANGES_A_BOOKING):
                for booking_id in booking_ids:
                    bookings.change_status(booking_id, status_after(version_), CHANGED_BY, REASON)

        record_1, record_32 = _record_rates(record, sets)
        long = bookings.open_booking(status_after(1), CHANGED_BY, REASON)
        for number in range(2, LONG_EVENTS + 1):
            bookings.change_status(long, status_after(number), CHANGED_BY, REASON)
        replay_ms = replay_milliseconds(lambda: bookings.repository.get(long))
    context.databases.drop(url)
    url = context.databases.create()
    project = events_per_second(url, changes * 2)
    context.databases.drop(url)
    package = f"eventsourcing {version('eventsourcing')}, plain"
    return Measured(package, record_1, record_32, replay_ms, project)


def _record_rates(
    record: Callable[[list[IdT]], None], sets: list[list[IdT]]
) -> tuple[float, float]:
    """Changes a second with one caller on the first set, and with many on the second."""
    changes = len(sets[0]) * CHANGES_A_BOOKING
    one = changes / seconds_of(lambda: record(sets[0]))
    started = time.monotonic()
    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(record, [sets[1][n::CALLERS] for n in range(CALLERS)]))
    return one, changes / (time.monotonic() - started)


def _others(context: Context) -> list[Callable[[Context], Measured]]:
    if context.packages_python is None:
        return []
    return [partial(_other, module) for module in MODULES]


def _other(module: str, context: Context) -> Measured:
    assert context.packages_python is not None
    url = context.databases.create()
    with psycopg.connect(url, autocommit=True) as connection:
        tables.create(connection, tables.LIVE)
        tables.create_indexes(connection, tables.LIVE)
    done = subprocess.run(
        [
            str(context.packages_python),
            "-m",
            f"benchmarks.packages.{module}",
            url,
            str(context.size.package_events),
        ],
        check=True,
        env=environment({}),
        stdout=subprocess.PIPE,
    )
    context.databases.drop(url)
    return Measured(**json.loads(done.stdout))
