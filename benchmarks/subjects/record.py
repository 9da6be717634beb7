"""Record a change over HTTP: one event a request."""

import time
from contextlib import ExitStack
from statistics import median

import psycopg

from benchmarks.context import Context, head, settle
from benchmarks.disk import bytes_per_event
from benchmarks.filling import open_bookings
from benchmarks.load import Stretch
from benchmarks.machine import cores_worth
from benchmarks.requests import CONSTANT, changes, openings
from benchmarks.results import Goal, Row, alone, compare
from benchmarks.servers.inserting import INSERT, STATE, TABLE
from benchmarks.subjects.plain import prepare

CLIENTS = 32
SUBJECT = "record"


def run(context: Context) -> list[Row]:
    size, load = context.size, context.load
    ids = [f"record-{number:06}" for number in range(size.bookings)]
    database = context.databases.ledger()
    open_bookings(database, context.workflow, ids)
    # A set for each server: it goes on where it was, so that each request changes something.
    many, many_alone, many_least = (load.define(changes(ids[CLIENTS:], CLIENTS)) for _ in range(3))
    single = load.define(changes(ids[:CLIENTS], 1))
    unprojected = context.databases.ledger()
    open_bookings(unprojected, context.workflow, ids)
    constants = load.define([[CONSTANT]] * CLIENTS)
    seen: dict[str, list[Stretch]] = {}
    inserts: list[float] = []
    worth: list[float] = []
    resident: list[dict[str, float]] = []
    with ExitStack() as stack:
        server = stack.enter_context(context.ours(database))
        ours = server.url
        alone_ = stack.enter_context(context.ours(unprojected, "--no-projector")).url
        least = stack.enter_context(context.least()).url
        inserting = stack.enter_context(context.inserting()).url
        constant = stack.enter_context(context.constant()).url
        raw = stack.enter_context(context.raw()).url
        plain = stack.enter_context(context.plain_eventsourcing()).url
        plain_changes = prepare(load, plain, min(size.bookings, 2_000), CLIENTS)
        insert = stack.enter_context(_InsertedRow(context.databases.create()))

        def measure(name: str, url: str, requests: str, clients: int = CLIENTS) -> None:
            written = {ours: database, alone_: unprojected}.get(url)
            before = 0 if written is None else head(written)
            stretch = load.closed(url, requests, clients, size.seconds)
            seen.setdefault(name, []).append(stretch)
            settle(database)
            if written is not None and (recorded := head(written) - before) != stretch.answered:
                raise RuntimeError(f"{stretch.answered} answers, but {recorded} events")

        for number in context.rounds(SUBJECT):
            count = int(20_000 * size.seconds)
            new = load.define(openings(f"new-{number}", count, CLIENTS))
            keyed = load.define(openings(f"keyed-{number}", count, CLIENTS, with_keys=True))
            works = [
                lambda: measure("constant", constant, constants),
                lambda: measure("change", ours, many),
                lambda: measure("least", least, many_least),
                lambda: measure("unprojected", alone_, many_alone),
                lambda: measure("plain", plain, plain_changes),
                lambda: measure("open", ours, new),
                lambda: measure("open, keyed", ours, keyed),
                lambda: measure("one constant", constant, constants, 1),
                lambda: measure("one change", ours, single, 1),
                lambda: measure("one inserting", inserting, constants, 1),
                lambda: inserts.append(insert.milliseconds(size.seconds / 2)),
                lambda: measure("ceiling", raw, constants),
            ]
            # Neither is always the first after the other: some machines tire.
            worth.append(cores_worth())
            for work in works if number % 2 == 0 else reversed(works):
                work()
            resident.append({one: held / 2**20 for one, held in server.resident_bytes().items()})
    context.keep("cores worth", worth)
    context.keep(SUBJECT, {name: [vars(one) for one in found] for name, found in seen.items()})
    context.keep("record inserts", inserts)
    disk = bytes_per_event(database)
    context.keep("record disk", disk)
    context.keep("record resident", resident)
    return [
        *_rows(seen, inserts),
        alone(SUBJECT, "all cores together, where one alone is 1", "cores", worth),
        alone(SUBJECT, "on disk, as it comes: an event", "bytes", [disk["all of it"]]),
        *(
            compare(SUBJECT, f"resident memory of the {one}, after the last round", "MiB",
                    [resident[-1][one]], "after the first", [resident[0][one]])
            for one in resident[0]
        ),
    ]  # fmt: skip


def _rows(seen: dict[str, list[Stretch]], inserts: list[float]) -> list[Row]:
    def rates(name: str) -> list[float]:
        return [one.rate for one in seen[name]]

    change = seen["change"]
    alone_at = [one.p50 for one in seen["one change"]]
    floor = [one.p50 + insert for one, insert in zip(seen["one constant"], inserts, strict=True)]
    inserting = [one.p50 for one in seen["one inserting"]]
    ceiling = "constant answer of FastAPI"
    return [
        compare(SUBJECT, "change, 32 clients", "/s", rates("change"), ceiling, rates("constant"),
                Goal("≥", 0.5)),
        compare(SUBJECT, "change, 32 clients", "/s", rates("change"),
                "plain eventsourcing behind FastAPI", rates("plain"), Goal("≥", 8)),
        compare(SUBJECT, "a plain group commit, 32 clients", "/s", rates("least"),
                ceiling, rates("constant")),
        compare(SUBJECT, "change, 32 clients", "/s", rates("change"),
                "a plain group commit", rates("least")),
        compare(SUBJECT, "change without a projector, 32 clients", "/s", rates("unprojected"),
                ceiling, rates("constant")),
        compare(SUBJECT, "open, 32 clients", "/s", rates("open"), ceiling, rates("constant")),
        compare(SUBJECT, "open, 32 clients, an Idempotency-Key each", "/s", rates("open, keyed"),
                "without", rates("open")),
        compare(SUBJECT, "p99 of a change, 32 clients", "ms", [one.p99 for one in change],
                "its p50", [one.p50 for one in change], Goal("≤", 3)),
        compare(SUBJECT, "p50 of a change, 1 client", "ms", alone_at,
                "one INSERT commit + a constant answer", floor, Goal("≤", 1.5)),
        compare(SUBJECT, "p50 of an INSERT and a constant answer in one process, 1 client", "ms",
                inserting, "one INSERT commit + a constant answer", floor),
        compare(SUBJECT, "p50 of a change, 1 client", "ms", alone_at,
                "an INSERT and a constant answer in one process", inserting),
        compare(SUBJECT, "constant answer, 32 clients", "/s", rates("constant"),
                "load generator's ceiling", rates("ceiling")),
        alone(SUBJECT, "core time of the load generator at the constant answer", "cores",
              [one.client_cpu for one in seen["constant"]]),
        alone(SUBJECT, "one INSERT commit", "ms", inserts),
        alone(SUBJECT, "stolen by the host at a change, 32 clients", "cores",
              [one.stolen for one in change]),
        alone(SUBJECT, "idle at a change, 32 clients", "cores", [one.idle for one in change]),
    ]  # fmt: skip


class _InsertedRow:
    """One plain INSERT, committed, through the same driver."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(TABLE)
        self._next = 0

    def __enter__(self) -> "_InsertedRow":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def milliseconds(self, seconds: float) -> float:
        """The median over some seconds."""
        times: list[float] = []
        end = time.monotonic() + seconds
        while (started := time.monotonic()) < end:
            self._next += 1
            self._connection.execute(INSERT, (self._next, STATE))
            times.append((time.monotonic() - started) * 1000)
        return median(times)
