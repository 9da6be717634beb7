"""How soon a change can be seen in "BookingStatusHistory" at half load.

The commit lies between request and answer, so it is counted from both.
"""

import threading
import time
from bisect import bisect_left
from statistics import quantiles
from typing import Literal

from benchmarks.context import Context, settle
from benchmarks.filling import open_bookings
from benchmarks.load import Paced
from benchmarks.requests import changes
from benchmarks.results import Goal, Row, alone
from ledger.database import Database

SUBJECT = "live lag"
CLIENTS = 32
LANES_CLIENTS = 64
POLL_SECONDS = 0.001

# The newest row by an index. Within a run, times and positions rise together, so it has the
# highest position; and positions become visible in order.
NEWEST = """
    SELECT position FROM "BookingStatusHistory"
    ORDER BY "createdAt" DESC, position DESC LIMIT 1
"""


def run(context: Context) -> list[Row]:
    size, load = context.size, context.load
    ids = [f"lag-{number:06}" for number in range(size.bookings)]
    database = context.databases.ledger()
    open_bookings(database, context.workflow, ids)
    half = len(ids) // 2
    full_load = load.define(changes(ids[:half], CLIENTS))
    paced = load.define(changes(ids[half:], 1))
    p50, p99, from_sent, late, rates = [], [], [], [], []
    with context.ours(database) as server:
        settle(database)
        for _ in context.rounds(SUBJECT):
            rate = load.closed(server.url, full_load, CLIENTS, size.seconds).rate / 2
            settle(database)
            with _Watcher(database) as watcher:
                found = load.paced(server.url, paced, LANES_CLIENTS, [(rate, size.seconds * 2)])
                settle(database)
                time.sleep(POLL_SECONDS * 20)
            percent = quantiles(_lags(found, watcher, "answered"), n=100)
            rates.append(rate)
            p50.append(percent[49])
            p99.append(percent[98])
            from_sent.append(quantiles(_lags(found, watcher, "sent"), n=100)[98])
            late.append(_achieved(found))
    context.keep(
        SUBJECT,
        {"p50": p50, "p99": p99, "p99 from sent": from_sent, "rate": rates, "achieved": late},
    )
    return [
        alone(SUBJECT, "request sent to visible, p99", "ms", from_sent, Goal("≤", 50, "ours")),
        alone(SUBJECT, "answer to visible, p99", "ms", p99),
        alone(SUBJECT, "answer to visible, p50", "ms", p50),
        alone(SUBJECT, "load while measured", "changes/s", rates),
        alone(SUBJECT, "share of that load really sent", "", late),
    ]


def _lags(found: Paced, watcher: "_Watcher", since: Literal["sent", "answered"]) -> list[float]:
    """Milliseconds for each change; 0 where the row could be seen before."""
    lags = []
    for sample in found.samples:
        if sample.status != 200:
            raise RuntimeError(f"status {sample.status} at half load")
        index = bisect_left(watcher.positions, sample.position)
        lags.append(max(0.0, (watcher.times[index] - getattr(sample, since)) * 1000))
    return lags


def _achieved(found: Paced) -> float:
    """Requests sent before the end of the phase, of those that fell due."""
    end = found.phases[0]["end"]
    return sum(sample.sent <= end for sample in found.samples) / len(found.samples)


class _Watcher:
    """Polls the newest position about each millisecond and notes when it first saw it."""

    def __init__(self, database: Database) -> None:
        self.positions: list[int] = []
        self.times: list[float] = []
        self._database = database
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        with self._database.connect() as connection:
            while not self._stop.is_set():
                row = connection.execute(NEWEST, prepare=True).fetchone()
                seen = time.monotonic()
                if row is not None and (not self.positions or row[0] > self.positions[-1]):
                    self.positions.append(row[0])
                    self.times.append(seen)
                time.sleep(POLL_SECONDS)
