"""Read the history of one booking over HTTP: again and again, and for the first time.

A service keeps the answers that it gave of late; one that was just started has none.
"""

import random
from contextlib import ExitStack

from benchmarks.context import Context, settle
from benchmarks.filling import record_histories
from benchmarks.load import WARM_UP_SECONDS, Stretch
from benchmarks.requests import CONSTANT, histories
from benchmarks.results import Goal, Row, compare

CLIENTS = 32
SUBJECT = "read"
STATUSES = ("pending", "confirmed", "completed")
FIRST_READS_A_SECOND = 10_000
"""More than are read, so that none is read twice."""


def run(context: Context) -> list[Row]:
    size, load = context.size, context.load
    ids = [f"read-{number:06}" for number in range(size.bookings)]
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
    seen: dict[str, list[Stretch]] = {name: [] for name in (*requests, "first")}
    with ExitStack() as stack:
        ours = stack.enter_context(context.ours(database)).url
        constant = stack.enter_context(context.constant()).url
        settle(database)
        for _ in context.rounds(SUBJECT):
            for name, url, expected in (
                ("constant", constant, 200),
                ("history", ours, 200),
                ("not modified", ours, 304),
            ):
                seen[name].append(
                    load.closed(url, requests[name], CLIENTS, size.seconds, (expected,))
                )
            once = load.define(histories(others, CLIENTS))
            with context.ours(database) as fresh:
                found = load.closed(fresh.url, once, CLIENTS, size.seconds, (200,))
            if found.answered > len(others):
                raise RuntimeError("some histories were read twice")
            seen["first"].append(found)
    context.keep(SUBJECT, {name: [vars(one) for one in found] for name, found in seen.items()})
    rates = {name: [one.rate for one in found] for name, found in seen.items()}
    ceiling = "constant answer of FastAPI"
    return [
        compare(SUBJECT, "history of 3 entries, 32 clients", "/s", rates["history"], ceiling,
                rates["constant"], Goal("≥", 0.6)),
        compare(SUBJECT, "the same, each for the first time", "/s", rates["first"], ceiling,
                rates["constant"]),
        compare(SUBJECT, "the same with If-None-Match (304)", "/s", rates["not modified"],
                "history", rates["history"], Goal("≥", 1)),
        compare(SUBJECT, "p99 of a history, 32 clients", "ms",
                [one.p99 for one in seen["history"]], "its p50",
                [one.p50 for one in seen["history"]]),
    ]  # fmt: skip
