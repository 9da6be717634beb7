"""A service whose ledger has bookings to change, and others to read."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.context import Context, settle
from benchmarks.filling import open_bookings, record_histories
from benchmarks.processes import Server
from benchmarks.requests import changes, histories
from ledger.database import Database

STATUSES = ("pending", "confirmed", "completed")


@dataclass(frozen=True)
class Served:
    """`requests` by what they ask for: "change" and "history"."""

    database: Database
    server: Server
    requests: Mapping[str, str]


def served(
    context: Context, stack: ExitStack, *, workers: int, bookings: int, clients: int
) -> Served:
    """So many bookings of each kind. Those to read stay as they are: the quicker service would have
    the longer histories."""
    ids = [f"changed-{number:06}" for number in range(bookings)]
    read_ids = [f"read-{number:06}" for number in range(bookings)]
    database = context.databases.ledger()
    open_bookings(database, context.workflow, ids)
    record_histories(database, context.workflow, read_ids, STATUSES)
    server = stack.enter_context(context.ours(database, "--workers", str(workers)))
    settle(database)
    requests = {
        "change": context.load.define(changes(ids, clients)),
        "history": context.load.define(histories(read_ids, clients)),
    }
    return Served(database, server, requests)
