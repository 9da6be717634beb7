"""Processor time of one recorded change, by process: where each microsecond goes.

From the processes' own times, over stretches of load; what PostgreSQL does in the background
(checkpoints, the writer of its log) is with its other work. And of the serving process, what it
does with its time: runs, waits for a core, or for others.
"""

from collections.abc import Mapping, Sequence

import psutil

from benchmarks.context import Context, settle
from benchmarks.filling import open_bookings
from benchmarks.load import LoadGenerator
from benchmarks.processes import Server, used_seconds, waited_seconds
from benchmarks.requests import CONSTANT, changes
from benchmarks.results import Row, alone
from benchmarks.subjects import bulk
from ledger.database import Database

SUBJECT = "processor"
IN_CALLS = f"in calls of {bulk.PER_CALL}"
CLIENTS = {"32 clients": 32, "1 client": 1, IN_CALLS: bulk.CLIENTS}
PARTS = {
    "service": "the serving process",
    "projector": "the projector",
    "writing": "PostgreSQL for the service: append, commit",
    "projecting": "PostgreSQL for the projector: read model, log",
    "other": "PostgreSQL otherwise",
    "load": "load generator",
    "idle": "idle",
    "stolen": "stolen by the host",
}
WAITS = ("it runs", "it could run, and has no core", "it waits for others")
# Who projects holds a lock of its own for as long as it does; who appends, for a transaction.
SESSIONS = """
    SELECT pid, EXISTS (
        SELECT FROM pg_locks WHERE pg_locks.pid = session.pid AND locktype = 'advisory' AND granted
    )
    FROM pg_stat_activity AS session
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def run(context: Context) -> list[Row]:
    size, load = context.size, context.load
    ids = [f"processor-{number:06}" for number in range(size.bookings)]
    database = context.databases.ledger()
    open_bookings(database, context.workflow, ids)
    half = len(ids) // 2
    requests = {
        "32 clients": load.define(changes(ids[:half], 32)),
        "1 client": load.define(changes(ids[half:], 1)),
        IN_CALLS: bulk.define(context),
    }
    constants = load.define([[CONSTANT]] * bulk.CONSTANT_CLIENTS)
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in CLIENTS}
    rates: dict[str, list[float]] = {name: [] for name in CLIENTS}
    answers: list[dict[str, float]] = []
    with context.ours(database) as server, context.constant() as constant:
        settle(database)
        for _ in context.rounds(SUBJECT, size.few_rounds):
            for name, clients in CLIENTS.items():
                before = _used(server, load, database)
                found = load.closed(server.url, requests[name], clients, size.seconds)
                waits = _waits(server, before, found.took)
                settle(database)
                used = _used(server, load, database)
                each = bulk.PER_CALL if name == IN_CALLS else 1
                rates[name].append(found.rate * each)
                seen[name].append(
                    {
                        part: (used[part] - before[part]) / (found.answered * each) * 1_000_000
                        for part in PARTS
                    }
                    | waits
                )
            answers.append(_constant(constant, load, constants, size.seconds))
    context.keep(SUBJECT, {"rates": rates, "microseconds": seen, "constant": answers})
    return [*_rows(seen, rates), *_constant_rows(answers)]


def _rows(
    seen: Mapping[str, Sequence[Mapping[str, float]]], rates: Mapping[str, Sequence[float]]
) -> list[Row]:
    return [
        row
        for name, found in seen.items()
        for row in (
            alone(SUBJECT, f"changes, {name}", "/s", rates[name]),
            *(
                alone(SUBJECT, f"a change, {name}: {what}", "µs", [one[part] for one in found])
                for part, what in PARTS.items()
            ),
            *(
                alone(SUBJECT, f"the serving process, {name}: {what}", "of its time",
                      [one[what] for one in found])
                for what in WAITS
                if name != IN_CALLS  # the event loop and a thread at once: shares do not add up
            ),
        )
    ]  # fmt: skip


def _constant(
    constant: Server, load: LoadGenerator, requests: str, seconds: float
) -> dict[str, float]:
    """Microseconds of processor time of a constant answer."""
    generator = psutil.Process(load.pid)
    before, generator_before = constant.processor_seconds(), used_seconds(generator)
    found = load.closed(constant.url, requests, bulk.CONSTANT_CLIENTS, seconds)
    each = 1_000_000 / found.answered
    return {
        "service": (constant.processor_seconds() - before) * each,
        "load": (used_seconds(generator) - generator_before) * each,
    }


def _constant_rows(found: Sequence[Mapping[str, float]]) -> list[Row]:
    return [
        alone(SUBJECT, f"a constant answer: {PARTS[part]}", "µs", [one[part] for one in found])
        for part in ("service", "load")
    ]


def _waits(server: Server, before: Mapping[str, float], seconds: float) -> dict[str, float]:
    """What the serving process did since, in shares of these seconds."""
    service = server.processes[0]
    ran = (used_seconds(service) - before["service"]) / seconds
    waited = (waited_seconds(service) - before["waited"]) / seconds
    return dict(zip(WAITS, (ran, waited, 1 - ran - waited), strict=True))


def _used(server: Server, load: LoadGenerator, database: Database) -> dict[str, float]:
    """Seconds so far, by part."""
    used = dict.fromkeys(PARTS, 0.0)
    service, *projectors = server.processes
    used["service"], used["waited"] = used_seconds(service), waited_seconds(service)
    used["projector"] = sum(map(used_seconds, projectors))
    used["load"] = used_seconds(psutil.Process(load.pid))
    with database.connect() as connection:
        sessions = dict(connection.execute(SESSIONS).fetchall())
        own = psutil.Process(connection.info.backend_pid)
        postmaster = own.parent()
        assert postmaster is not None
        for process in (postmaster, *postmaster.children()):
            part = {True: "projecting", False: "writing", None: "other"}[sessions.get(process.pid)]
            used[part] += 0 if process.pid == own.pid else used_seconds(process)
    machine = psutil.cpu_times()
    used["idle"], used["stolen"] = machine.idle, machine.steal
    return used
