"""Many changes in one call."""

from contextlib import ExitStack

from benchmarks.context import Context, head, settle
from benchmarks.load import Stretch
from benchmarks.requests import CONSTANT, bulk, bulk_changes
from benchmarks.results import Goal, Row, alone, compare
from ledger.database import Database

CLIENTS = 4
PER_CALL = 500
CONSTANT_CLIENTS = 32
SUBJECT = "bulk"


def run(context: Context) -> list[Row]:
    size, load = context.size, context.load
    requests = define(context)
    unprojected_requests = define(context)  # so that each goes on where it was
    constants = load.define([[CONSTANT]] * CONSTANT_CLIENTS)
    database, unprojected = context.databases.ledger(), context.databases.ledger()
    seen: dict[str, list[Stretch]] = {"bulk": [], "unprojected": [], "constant": []}
    with ExitStack() as stack:
        ours = stack.enter_context(context.ours(database)).url
        alone_ = stack.enter_context(context.ours(unprojected, "--no-projector")).url
        constant = stack.enter_context(context.constant()).url

        def calls(name: str, url: str, requests: str, written: Database) -> None:
            before = head(written)
            # Long enough that the calls which straddle its ends do not matter.
            stretch = load.closed(url, requests, CLIENTS, size.seconds * 2)
            seen[name].append(stretch)
            recorded = head(written) - before
            settle(database)
            if recorded != PER_CALL * stretch.answered:
                raise RuntimeError(f"{recorded} events for {stretch.answers} calls")

        def answers() -> None:
            seen["constant"].append(
                load.closed(constant, constants, CONSTANT_CLIENTS, size.seconds)
            )

        works = [
            lambda: calls("bulk", ours, requests, database),
            answers,
            lambda: calls("unprojected", alone_, unprojected_requests, unprojected),
        ]
        for number in context.rounds(SUBJECT):
            for work in works if number % 2 == 0 else reversed(works):
                work()
    context.keep(SUBJECT, {name: [vars(one) for one in found] for name, found in seen.items()})
    return _rows(seen)


def define(context: Context) -> str:
    """Calls of changes of as many bookings as other subjects have, a sequence a client."""
    bookings = max(PER_CALL, context.size.bookings // CLIENTS // PER_CALL * PER_CALL)
    lanes = [bulk(list(bulk_changes(client, bookings, PER_CALL))) for client in range(CLIENTS)]
    return context.load.define(lanes)


def _rows(seen: dict[str, list[Stretch]]) -> list[Row]:
    changes = {name: [one.rate * PER_CALL for one in found] for name, found in seen.items()}
    rates, what = changes["bulk"], f"{PER_CALL} changes a call, {CLIENTS} clients"
    return [
        alone(SUBJECT, what, "changes/s", rates, Goal("≥", 10_000, "ours")),
        compare(SUBJECT, what, "changes/s", rates, "constant answer of FastAPI, 32 clients",
                [one.rate for one in seen["constant"]]),
        compare(SUBJECT, "the same without a projector", "changes/s", changes["unprojected"],
                "with one", rates),
        alone(SUBJECT, "p50 of a call", "ms", [one.p50 for one in seen["bulk"]]),
        alone(SUBJECT, "idle meanwhile", "cores", [one.idle for one in seen["bulk"]]),
    ]  # fmt: skip
