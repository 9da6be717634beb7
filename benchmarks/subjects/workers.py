"""One serving process and two on the same cores: what a second one gives, and what it costs.

Every process has a writer of its own, and writers take the append lock in turns.
"""

from contextlib import ExitStack

from benchmarks.context import Context, head, settle
from benchmarks.filling import open_bookings, record_histories
from benchmarks.requests import changes, histories
from benchmarks.results import Goal, Row, compare

SUBJECT = "workers"
CLIENTS = 32
WORKERS = (1, 2)
STATUSES = ("pending", "confirmed", "completed")


def run(context: Context) -> list[Row]:
    size, load = context.size, context.load
    ids = [f"workers-{number:06}" for number in range(size.bookings)]
    read_ids = [f"read-{number:06}" for number in range(size.bookings)]
    rates: dict[str, dict[int, list[float]]] = {}
    with ExitStack() as stack:
        served = {}
        for workers in WORKERS:
            database = context.databases.ledger()
            open_bookings(database, context.workflow, ids)
            # They stay as they are, so that both have the same to read in each round.
            record_histories(database, context.workflow, read_ids, STATUSES)
            server = stack.enter_context(context.ours(database, "--workers", str(workers)))
            settle(database)
            requests = {
                "change": load.define(changes(ids, CLIENTS)),
                "history": load.define(histories(read_ids, CLIENTS)),
            }
            served[workers] = (database, server.url, requests)
        for number in context.rounds(SUBJECT, context.size.few_rounds):
            for workers in WORKERS if number % 2 == 0 else reversed(WORKERS):
                database, url, requests = served[workers]
                for name, set_ in requests.items():
                    before = head(database)
                    found = load.closed(url, set_, CLIENTS, size.seconds)
                    settle(database)
                    if name == "change" and head(database) - before != found.answered:
                        raise RuntimeError(f"{found.answered} answers, but other events")
                    rates.setdefault(name, {}).setdefault(workers, []).append(found.rate)
    context.keep(SUBJECT, rates)
    return [
        compare(SUBJECT, f"{name}, 32 clients, two processes", "/s", found[2], "one", found[1],
                Goal("≥", 1))
        for name, found in rates.items()
    ]  # fmt: skip
