"""Read the history of one booking over HTTP: again and again, and for the first time.

A service keeps the answers of the last ten seconds; one that was just started has none.
"""

import random
from contextlib import ExitStack
from functools import partial

from benchmarks.context import Context, settle
from benchmarks.filling import record_histories
from benchmarks.load import WARM_UP_SECONDS, Stretch
from benchmarks.processes import Server
from benchmarks.requests import CONSTANT, histories
from benchmarks.results import Goal, Row, compare

CLIENTS = 32
SUBJECT = "read"
STATUSES = ("pending", "confirmed", "completed")
FIRST_READS_A_SECOND = 10_000
"""More than are read, so that none is read twice."""
KEPT = 2_000
"""Bookings that are read again and again: all of them within a second."""
FIRST = {"first": "1", "first, two processes": "2"}
"""With how many serving processes."""


def run(context: Context) -> list[Row]:
    size, load = context.size, context.load
    ids = [f"read-{number:06}" for number in range(KEPT)]
    database = context.databases.ledger()
    record_histories(database, context.workflow, ids, STATUSES)
    seconds = size.seconds + WARM_UP_SECONDS
    others = [f"once-{number:06}" for number in range(int(FIRST_READS_A_SECOND * seconds))]
    record_histories(database, context.workflow, others, STATUSES)
    random.Random(1).shuffle(ids)
    random.Random(1).shuffle(others)
    known = {"If-None-Match": f'"v{len(STATUSES)}"'}
    requests = {
        "history": load.define(histories(ids, CLIENTS)),
        "not modified": load.define(histories(ids, CLIENTS, known)),
        "constant": load.define([[CONSTANT]] * CLIENTS),
    }
    seen: dict[str, list[Stretch]] = {name: [] for name in (*requests, *FIRST)}
    processor: dict[str, list[float]] = {"history": [], "not modified": []}
    with ExitStack() as stack:
        ours = stack.enter_context(context.ours(database))
        constant = stack.enter_context(context.constant())
        settle(database)

        def measure(name: str, server: Server, expected: int) -> None:
            if name in processor:  # what was kept in the last round is no more
                load.closed(server.url, requests["history"], CLIENTS, 1)
            before = server.processor_seconds()
            found = load.closed(server.url, requests[name], CLIENTS, size.seconds, (expected,))
            seen[name].append(found)
            if name in processor:
                used = server.processor_seconds() - before
                processor[name].append(used / (found.rate * seconds) * 1_000_000)

        def measure_first(name: str) -> None:
            once = load.define(histories(others, CLIENTS))
            with context.ours(database, "--workers", FIRST[name]) as fresh:
                fresh.wait_until_idle()  # the first address is there before the last process
                found = load.closed(fresh.url, once, CLIENTS, size.seconds, (200,))
            if found.answered > len(others):
                raise RuntimeError("some histories were read twice")
            seen[name].append(found)

        for number in context.rounds(SUBJECT, size.few_rounds):
            works = [
                partial(measure, "constant", constant, 200),
                partial(measure, "history", ours, 200),
                partial(measure, "not modified", ours, 304),
                *(partial(measure_first, name) for name in FIRST),
            ]
            for work in works if number % 2 == 0 else reversed(works):
                work()
    context.keep(SUBJECT, {name: [vars(one) for one in found] for name, found in seen.items()})
    rates = {name: [one.rate for one in found] for name, found in seen.items()}
    ceiling = "constant answer of FastAPI"
    return [
        compare(SUBJECT, "history of 3 entries, 32 clients, again and again", "/s",
                rates["history"], ceiling, rates["constant"], Goal("≥", 0.6)),
        compare(SUBJECT, "the same, each for the first time", "/s", rates["first"], ceiling,
                rates["constant"], Goal("≥", 0.6)),
        compare(SUBJECT, "the same, two serving processes", "/s", rates["first, two processes"],
                ceiling, rates["constant"]),
        compare(SUBJECT, "again, with If-None-Match (304)", "/s", rates["not modified"],
                "history", rates["history"]),
        compare(SUBJECT, "304: processor time of the service", "µs", processor["not modified"],
                "history", processor["history"], Goal("≤", 1)),
        compare(SUBJECT, "p99 of a history, 32 clients", "ms",
                [one.p99 for one in seen["history"]], "its p50",
                [one.p50 for one in seen["history"]]),
    ]  # fmt: skip
