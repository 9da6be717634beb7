"""What more serving processes give where there are more cores: each process on a slow core.

This machine may have too few. So every process of ours and of the database is held to a tenth of a
core, which leaves much of the machine idle, and only what all of them wait for can hold them up:
the append lock, the log, each other. The load generator has what it wants.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from benchmarks.context import Context, head, settle
from benchmarks.filling import open_bookings, record_histories
from benchmarks.processes import Server
from benchmarks.requests import changes, histories
from benchmarks.results import Goal, Row, alone, compare
from benchmarks.slow_cores import CannotHold, SlowCores
from ledger.database import Database

SUBJECT = "cores"
SHARE = 0.1
WORKERS = (1, 2, 4)
CLIENTS = 128
"""So many that each of four processes always has something to do."""
STATUSES = ("pending", "confirmed", "completed")
EACH_MIN = 0.75
"""Of what one process does, for each of several: our own bound."""
BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Served:
    database: Database
    server: Server
    requests: dict[str, str]

    def pids(self) -> list[int]:
        """Of the service, its projector, and what the database has for them."""
        with self.database.connect() as connection:
            backends = [row[0] for row in connection.execute(BACKENDS)]
        return [*(process.pid for process in self.server.processes), *backends]


def run(context: Context) -> list[Row]:
    try:
        return _rows(context)
    except CannotHold as reason:
        print(f"  {SUBJECT}: cannot be measured here: {reason}", file=sys.stderr)
        context.keep(SUBJECT, {"cannot be measured": str(reason)})
        return []


def _rows(context: Context) -> list[Row]:
    rates: dict[str, dict[int, list[float]]] = {}
    idle: list[float] = []
    with ExitStack() as stack:
        served = {workers: _served(context, stack, workers) for workers in WORKERS}
        slow = stack.enter_context(closing(SlowCores(SHARE)))  # lets them go before they end
        for number in context.rounds(SUBJECT, context.size.few_rounds):
            for workers in WORKERS if number % 2 == 0 else reversed(WORKERS):
                one = served[workers]
                slow.hold(one.pids())
                for name in one.requests:
                    rate, unused = _measured(context, one, name)
                    rates.setdefault(name, {}).setdefault(workers, []).append(rate)
                    idle.append(unused)
    context.keep(SUBJECT, {"rates": rates, "idle": idle})
    return [
        *(
            _row(name, workers, found[workers], found[1])
            for name, found in rates.items()
            for workers in WORKERS[1:]
        ),
        alone(SUBJECT, "idle meanwhile", "cores", idle),
    ]


def _served(context: Context, stack: ExitStack, workers: int) -> Served:
    ids = [f"cores-{number:06}" for number in range(context.size.bookings)]
    read_ids = [f"read-{number:06}" for number in range(context.size.bookings)]
    database = context.databases.ledger()
    open_bookings(database, context.workflow, ids)
    record_histories(database, context.workflow, read_ids, STATUSES)
    server = stack.enter_context(context.ours(database, "--workers", str(workers)))
    settle(database)
    requests = {
        "change": context.load.define(changes(ids, CLIENTS)),
        # So many that hardly one is asked for again before it is forgotten.
        "history, first reads": context.load.define(histories(read_ids, CLIENTS)),
    }
    server.wait_until_idle()
    # Connections are made where they are wanted first; then each is held from its beginning on.
    for one in requests.values():
        context.load.closed(server.url, one, CLIENTS, 1)
    settle(database)
    return Served(database, server, requests)


def _measured(context: Context, one: Served, name: str) -> tuple[float, float]:
    """Requests a second, and how many cores had nothing to do."""
    before = head(one.database)
    found = context.load.closed(one.server.url, one.requests[name], CLIENTS, context.size.seconds)
    settle(one.database)
    recorded = head(one.database) - before
    if recorded != (found.answered if name == "change" else 0):
        raise RuntimeError(f"{found.answered} answers, but {recorded} events")
    return found.rate, found.idle


def _row(name: str, workers: int, rates: Sequence[float], of_one: Sequence[float]) -> Row:
    goal = Goal("≥", EACH_MIN * workers)
    what = f"{name}, {CLIENTS} clients, {workers} processes on cores of {SHARE}"
    return compare(SUBJECT, what, "/s", rates, "one", of_one, goal)
