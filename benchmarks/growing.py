"""A ledger of some size with its service, and the calls that are measured on it."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import quantiles
from urllib.parse import urlencode

from api.cursors import encode_cursor
from benchmarks.context import settle
from benchmarks.filling import open_bookings
from benchmarks.load import LoadGenerator, Stretch
from benchmarks.processes import Server
from benchmarks.requests import bulk, bulk_changes, changes, histories, request
from benchmarks.subjects.lag import lags
from ledger.database import Database
from ledger.workflow import Workflow

CLIENTS = 32
LIST_CLIENTS = 4
POSITIONS_A_BOOKING = 16
"""Drawn for each booking that is wanted: not each position opens one."""
BULK_CLIENTS, BULK_CHANGES = 4, 500
LAG_RATE = 1_000
FIRST_READS, FIRST_READ_SECONDS = 5, 60.0
"""One client has one of so many, the others go to many clients; and for how long they have time."""
TURNS = 2
"""In which the ledgers take turns within a round, each for a part of the time: one, the other, the
other, the one. What the machine does for others falls on both that way."""
FINAL = ("Check-Out", "Arrived")

OLD_CHANGES = "record, 32 clients, bookings of all ages"
FIRST_READ = "read a history for the first time, 1 client, p50"
FIRST_READS_MANY = "read a history for the first time, 32 clients"
UNTOUCHED = (OLD_CHANGES, FIRST_READ, FIRST_READS_MANY)
"""The works that come to pages which nobody has touched for long."""

# By position: bookings of all ages, so that no part of the ledger is favoured.
PICK = """
    SELECT originator_id FROM ledger_events
    WHERE notification_id = ANY (%s) AND originator_version = 1
"""
OPENED_AS = 'SELECT "toStatus" FROM "BookingStatusHistory" WHERE "fromStatus" IS NULL LIMIT 1'
MIDDLE = """
    SELECT "createdAt", position FROM "BookingStatusHistory"
    WHERE "toStatus" = %(status)s AND "createdAt" <= (
        SELECT min("createdAt") + (max("createdAt") - min("createdAt")) / 2
        FROM "BookingStatusHistory" WHERE "toStatus" = %(status)s
    )
    ORDER BY "createdAt" DESC, position DESC LIMIT 1
"""


@dataclass(frozen=True)
class Requests:
    """`change` is of bookings that were opened just now, as in the subject `record`; `old_change`
    of bookings of all ages, from the first time that they are touched on. `two_filters` are met
    often, and by no row together."""

    change: str
    single: str
    old_change: str
    bulk: str
    first_read: str
    first_reads: str
    history: str
    not_modified: str
    first_page: str
    deep_page: str
    two_filters: str


@dataclass(frozen=True)
class Work:
    """`measure` gives requests a second, or milliseconds, each time that it is its turn."""

    measure: "Callable[[Grown], float]"
    turns: int = TURNS


@dataclass(frozen=True)
class Grown:
    database: Database
    server: Server
    requests: Requests

    @staticmethod
    def works(load: LoadGenerator, round_seconds: float) -> dict[str, Work]:
        """What is measured, each for so long in a round."""
        seconds = round_seconds / TURNS

        def rate(
            name: str, clients: int, one: Grown, expected: Sequence[int] = (200, 201)
        ) -> float:
            requests = getattr(one.requests, name)
            found = load.closed(one.server.url, requests, clients, seconds, expected).rate
            settle(one.database)
            return found

        def p50(name: str, one: Grown) -> float:
            found = load.closed(one.server.url, getattr(one.requests, name), 1, seconds).p50
            settle(one.database)
            return found

        def bulk_rate(one: Grown) -> float:
            # A call takes long: in half of the time there would be too few.
            found = load.closed(one.server.url, one.requests.bulk, BULK_CLIENTS, round_seconds)
            settle(one.database)
            return found.rate

        def first(name: str, clients: int, one: Grown) -> Stretch:
            url, requests = one.server.url, getattr(one.requests, name)
            return load.closed(url, requests, clients, FIRST_READ_SECONDS, once=True)

        def first_p50(one: Grown) -> float:
            return first("first_read", 1, one).p50

        def first_rate(one: Grown) -> float:
            return first("first_reads", CLIENTS, one).rate

        def lag(one: Grown) -> float:
            url, changes = one.server.url, one.requests.single
            return quantiles(lags(load, url, one.database, changes, LAG_RATE, seconds), n=100)[98]

        return {
            "record, 32 clients, new bookings": Work(partial(rate, "change", CLIENTS)),
            OLD_CHANGES: Work(partial(rate, "old_change", CLIENTS)),
            "record, 1 client, p50": Work(partial(p50, "single")),
            "calls of 500 changes, 4 clients": Work(bulk_rate, turns=1),
            f"commit to visible at {LAG_RATE} changes/s, p99": Work(lag),
            FIRST_READ: Work(first_p50, turns=1),
            FIRST_READS_MANY: Work(first_rate, turns=1),
            "read a history, 32 clients": Work(partial(rate, "history", CLIENTS)),
            "read a history, 1 client, p50": Work(partial(p50, "history")),
            "history not modified (304), 32 clients": Work(
                partial(rate, "not_modified", CLIENTS, expected=(304,))
            ),
            "list by status, first page": Work(partial(rate, "first_page", LIST_CLIENTS)),
            "list by status, page in the middle": Work(partial(rate, "deep_page", LIST_CLIENTS)),
            "list by two filters, none has both": Work(partial(rate, "two_filters", LIST_CLIENTS)),
        }


def defined(
    load: LoadGenerator, database: Database, workflow: Workflow, bookings: int, round_: int
) -> Requests:
    """As many bookings are changed and read in each ledger, however large it is: what is measured
    is what the others cost, which lie there. They are others in each round."""
    ids, status, cursor = _picked(database, bookings, round_)
    with database.connect() as connection:
        opened_as = connection.execute(OPENED_AS).fetchone()
        assert opened_as is not None
    new_ids = [f"new-{round_}-{number:06}" for number in range(bookings)]
    open_bookings(database, workflow, new_ids)
    page = {"toStatus": status, "limit": 50}
    unchanged = ids[len(ids) // 2 :]
    first = len(unchanged) // FIRST_READS
    path = "/api/status-history?"
    first_page = request("GET", path + urlencode(page))
    deep = request("GET", path + urlencode({**page, "cursor": cursor}))
    both = {"toStatus": opened_as[0], "fromStatus": opened_as[0], "limit": 50}
    return Requests(
        change=load.define(changes(new_ids, CLIENTS)),
        single=load.define(changes(new_ids[:CLIENTS], 1)),
        old_change=load.define(changes(ids[: len(ids) // 2], CLIENTS)),
        bulk=load.define(
            [
                bulk(list(bulk_changes(f"{round_}-{client}", bookings, BULK_CHANGES)))
                for client in range(BULK_CLIENTS)
            ]
        ),
        # Others, which stay as they are: the quicker ledger would have the longer histories.
        first_read=load.define(histories(unchanged[:first], 1)),
        first_reads=load.define(histories(unchanged[first:], CLIENTS)),
        history=load.define(histories(unchanged, CLIENTS)),
        not_modified=load.define(histories(unchanged, CLIENTS, {"If-None-Match": "*"})),
        first_page=load.define([[first_page]] * LIST_CLIENTS),
        deep_page=load.define([[deep]] * LIST_CLIENTS),
        two_filters=load.define([[request("GET", path + urlencode(both))]] * LIST_CLIENTS),
    )


def _picked(database: Database, bookings: int, round_: int) -> tuple[list[str], str, str]:
    """Bookings of all ages, a status that many had, and a cursor in the middle of its list."""
    chance = random.Random(round_)
    with database.connect() as connection:
        row = connection.execute("SELECT max(notification_id) FROM ledger_events").fetchone()
        assert row is not None
        positions = [chance.randint(1, row[0]) for _ in range(bookings * POSITIONS_A_BOOKING)]
        ids = [found[0] for found in connection.execute(PICK, (positions,))]
        if len(ids) < bookings:
            raise RuntimeError(f"only {len(ids)} bookings were drawn, not {bookings}")
        for status in FINAL:
            middle = connection.execute(MIDDLE, {"status": status}).fetchone()
            if middle is not None:
                break
        else:
            raise RuntimeError(f"no booking came to be one of {FINAL}")
    chance.shuffle(ids)
    return ids[:bookings], status, encode_cursor(*middle)
