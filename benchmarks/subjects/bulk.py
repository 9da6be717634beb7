"""Many changes in one call."""

from benchmarks.context import Context, head, settle
from benchmarks.load import Stretch
from benchmarks.requests import bulk, bulk_changes
from benchmarks.results import Goal, Row, alone

CLIENTS = 4
PER_CALL = 500
SUBJECT = "bulk"


def run(context: Context) -> list[Row]:
    size, load = context.size, context.load
    database = context.databases.ledger()
    bookings = max(PER_CALL, size.bookings // CLIENTS // PER_CALL * PER_CALL)
    lanes = [bulk(list(bulk_changes(client, bookings, PER_CALL))) for client in range(CLIENTS)]
    requests = load.define(lanes)
    seen: list[Stretch] = []
    with context.ours(database) as server:
        for _ in context.rounds(SUBJECT):
            before = head(database)
            # Long enough that the calls which straddle its ends do not matter.
            seen.append(load.closed(server.url, requests, CLIENTS, size.seconds * 2))
            recorded = head(database) - before
            settle(database)
            if recorded != PER_CALL * seen[-1].answered:
                raise RuntimeError(f"{recorded} events for {seen[-1].answers} calls")
    context.keep(SUBJECT, [vars(one) for one in seen])
    return [
        alone(SUBJECT, f"{PER_CALL} changes a call, {CLIENTS} clients", "changes/s",
              [one.rate * PER_CALL for one in seen], Goal("≥", 10_000, "ours")),
        alone(SUBJECT, "p50 of a call", "ms", [one.p50 for one in seen]),
    ]  # fmt: skip
