"""What is there on a machine with a core for each process: each is held to a slow one.

This machine has too few cores, and they are worth now more and now less. So every process of ours
and of the database has a share of a core, which leaves much of the machine idle. What holds them up
then is what all of them wait for (the append lock, the log, each other), and one process is
compared with a constant answer that has as much. The load generator has what it wants.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.context import Context, head, settle
from benchmarks.load import WARM_UP_SECONDS
from benchmarks.processes import Server
from benchmarks.requests import CONSTANT
from benchmarks.results import Goal, Row, alone, compare
from benchmarks.served import served
from benchmarks.slow_cores import CannotHold, SlowCores
from ledger.database import Database

SUBJECT = "cores"
CHANGE, FIRST_READ, CONSTANT_ANSWER = "change", "history, first reads", "constant answer"
WORKERS = (1, 2, 4)
EACH_MIN = 0.75
"""Of what one process does, for each of several: our own bound."""
MANY_SHARE, MANY_TURN, MANY_CLIENTS = 0.1, 0.001, 128
"""So many clients that each of four processes always has something to do."""
ONE_SHARE, ONE_TURN, ONE_CLIENTS = 0.25, 0.005, 32
BOOKINGS_A_SECOND = 2_000
"""So many that hardly one is asked for again before it is forgotten."""
AGAINST_CONSTANT = {CHANGE: 0.5, FIRST_READ: 0.6}
BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Held:
    """`database` is None where the server has none."""

    server: Server
    requests: Mapping[str, str]
    database: Database | None = None

    def pids(self) -> list[int]:
        """Of the service, its projector, and what the database has for them."""
        pids = [process.pid for process in self.server.processes]
        if self.database is not None:
            with self.database.connect() as connection:
                pids += [row[0] for row in connection.execute(BACKENDS)]
        return pids


@dataclass
class Measured:
    """Rates by what was asked, and of which server; how many cores had nothing to do."""

    rates: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    idle: list[float] = field(default_factory=list)


def run(context: Context) -> list[Row]:
    try:
        return [*_more_processes(context), *_one_process(context)]
    except CannotHold as reason:
        print(f"  {SUBJECT}: cannot be measured here: {reason}", file=sys.stderr)
        context.keep(SUBJECT, {"cannot be measured": str(reason)})
        return []


def _more_processes(context: Context) -> Iterator[Row]:
    with ExitStack() as stack:
        slow = _slow_cores(stack, MANY_SHARE, MANY_TURN)
        held = {str(workers): _ours(context, stack, MANY_CLIENTS, workers) for workers in WORKERS}
        stack.callback(slow.close)
        found = _measure(context, slow, held, MANY_CLIENTS, f"{SUBJECT}, more processes")
    for name, rates in found.rates.items():
        for workers in WORKERS[1:]:
            what = f"{name}, {MANY_CLIENTS} clients, {workers} processes on cores of {MANY_SHARE}"
            goal = Goal("≥", EACH_MIN * workers)
            yield compare(SUBJECT, what, "/s", rates[str(workers)], "one", rates["1"], goal)
    yield alone(SUBJECT, f"idle meanwhile, cores of {MANY_SHARE}", "cores", found.idle)


def _one_process(context: Context) -> Iterator[Row]:
    with ExitStack() as stack:
        slow = _slow_cores(stack, ONE_SHARE, ONE_TURN)
        constant = stack.enter_context(context.constant())
        asked = {CONSTANT_ANSWER: context.load.define([[CONSTANT]] * ONE_CLIENTS)}
        held = {
            "ours": _ours(context, stack, ONE_CLIENTS, 1),
            "constant": Held(constant, asked),
        }
        stack.callback(slow.close)
        found = _measure(context, slow, held, ONE_CLIENTS, f"{SUBJECT}, one process")
    for name, least in AGAINST_CONSTANT.items():
        what = f"{name}, {ONE_CLIENTS} clients, one process, all on cores of {ONE_SHARE}"
        peer = found.rates[CONSTANT_ANSWER]["constant"]
        ours = found.rates[name]["ours"]
        against = "constant answer of FastAPI on such a core"
        yield compare(SUBJECT, what, "/s", ours, against, peer, Goal("≥", least))
    yield alone(SUBJECT, f"idle meanwhile, cores of {ONE_SHARE}", "cores", found.idle)


def _slow_cores(stack: ExitStack, share: float, turn: float) -> SlowCores:
    slow = SlowCores(share, turn)
    stack.callback(slow.remove)  # when what is started from here on has ended
    return slow


def _ours(context: Context, stack: ExitStack, clients: int, workers: int) -> Held:
    bookings = int(BOOKINGS_A_SECOND * context.size.seconds)
    ours = served(context, stack, workers=workers, bookings=bookings, clients=clients)
    ours.server.wait_until_idle()
    # Connections are made where they are wanted first; then each is held from its beginning on.
    for one in ours.requests.values():
        context.load.closed(ours.server.url, one, clients, WARM_UP_SECONDS)
    settle(ours.database)
    requests = {CHANGE: ours.requests["change"], FIRST_READ: ours.requests["history"]}
    return Held(ours.server, requests, ours.database)


def _measure(
    context: Context, slow: SlowCores, held: Mapping[str, Held], clients: int, what: str
) -> Measured:
    """All held back, in turns."""
    found = Measured()
    for number in context.rounds(what, context.size.core_rounds):
        names: Sequence[str] = list(held) if number % 2 == 0 else list(reversed(held))
        for name in names:
            one = held[name]
            slow.hold(one.pids())
            for asked in one.requests:
                rate, idle = _stretch(context, one, asked, clients)
                found.rates.setdefault(asked, {}).setdefault(name, []).append(rate)
                found.idle.append(idle)
    context.keep(what, vars(found))
    return found


def _stretch(context: Context, one: Held, asked: str, clients: int) -> tuple[float, float]:
    before = 0 if one.database is None else head(one.database)
    load, seconds = context.load, context.size.seconds
    found = load.closed(one.server.url, one.requests[asked], clients, seconds)
    if one.database is not None:
        settle(one.database)
        recorded = head(one.database) - before
        if recorded != (found.answered if asked == CHANGE else 0):
            raise RuntimeError(f"{found.answered} answers, but {recorded} events")
    return found.rate, found.idle
