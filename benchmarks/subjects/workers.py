"""One serving process and two on the same cores: what a second one gives, and what it costs.

Every process has a writer of its own, and writers take the append lock in turns.
"""

from contextlib import ExitStack

from benchmarks.context import Context, head, settle
from benchmarks.results import Goal, Row, compare
from benchmarks.served import served

SUBJECT = "workers"
CLIENTS = 32
WORKERS = (1, 2)


def run(context: Context) -> list[Row]:
    size, load = context.size, context.load
    rates: dict[str, dict[int, list[float]]] = {}
    with ExitStack() as stack:
        by_workers = {
            workers: served(
                context, stack, workers=workers, bookings=size.bookings, clients=CLIENTS
            )
            for workers in WORKERS
        }
        for number in context.rounds(SUBJECT, context.size.few_rounds):
            for workers in WORKERS if number % 2 == 0 else reversed(WORKERS):
                one = by_workers[workers]
                for name, set_ in one.requests.items():
                    before = head(one.database)
                    found = load.closed(one.server.url, set_, CLIENTS, size.seconds)
                    settle(one.database)
                    if name == "change" and head(one.database) - before != found.answered:
                        raise RuntimeError(f"{found.answered} answers, but other events")
                    rates.setdefault(name, {}).setdefault(workers, []).append(found.rate)
    context.keep(SUBJECT, rates)
    return [
        compare(SUBJECT, f"{name}, 32 clients, two processes", "/s", found[2], "one", found[1],
                Goal("≥", 1))
        for name, found in rates.items()
    ]  # fmt: skip
