"""How soon after its commit a change can be seen in "BookingStatusHistory", at half load.

One query a millisecond, or nearly so, sees what is committed and what is in the read model: both
times are those of its answer.
"""

import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from statistics import quantiles

from benchmarks.context import Context, settle
from benchmarks.filling import open_bookings
from benchmarks.load import LoadGenerator, Paced, Sample
from benchmarks.requests import changes
from benchmarks.results import Goal, Row, alone
from ledger.database import Database

SUBJECT = "live lag"
CLIENTS = 32
LANES_CLIENTS = 64
POLL_SECONDS = 0.001

# By indexes. Within a run, times and positions rise together, so the newest row has the highest
# position; and positions become visible in order.
NEWEST = """
    SELECT (SELECT max(notification_id) FROM ledger_events), (
        SELECT position FROM "BookingStatusHistory"
        ORDER BY "createdAt" DESC, position DESC LIMIT 1
    )
"""


def run(context: Context) -> list[Row]:
    size, load = context.size, context.load
    ids = [f"lag-{number:06}" for number in range(size.bookings)]
    database = context.databases.ledger()
    open_bookings(database, context.workflow, ids)
    half = len(ids) // 2
    full_load = load.define(changes(ids[:half], CLIENTS))
    paced = load.define(changes(ids[half:], 1))
    p50, p99, from_answer, late, rates = [], [], [], [], []
    with context.ours(database) as server:
        settle(database)
        for _ in context.rounds(SUBJECT):
            rate = load.closed(server.url, full_load, CLIENTS, size.seconds).rate / 2
            settle(database)
            found, watcher = _watched(load, server.url, database, paced, rate, size.seconds * 2)
            percent = quantiles(_lags(found, watcher), n=100)
            rates.append(rate)
            p50.append(percent[49])
            p99.append(percent[98])
            from_answer.append(quantiles(_from_answers(found, watcher), n=100)[98])
            late.append(_achieved(found))
    context.keep(
        SUBJECT,
        {
            "p50": p50,
            "p99": p99,
            "p99 from the answer": from_answer,
            "rate": rates,
            "achieved": late,
        },
    )
    return [
        alone(SUBJECT, "commit to visible, p99", "ms", p99, Goal("≤", 50, "ours")),
        alone(SUBJECT, "commit to visible, p50", "ms", p50),
        alone(SUBJECT, "answer to visible, p99", "ms", from_answer),
        alone(SUBJECT, "load while measured", "changes/s", rates),
        alone(SUBJECT, "share of that load really sent", "", late),
    ]


def lags(
    load: LoadGenerator, url: str, database: Database, requests: str, rate: float, seconds: float
) -> list[float]:
    """Milliseconds from commit to row, for each change of a stretch at that rate."""
    return _lags(*_watched(load, url, database, requests, rate, seconds))


def _watched(
    load: LoadGenerator, url: str, database: Database, requests: str, rate: float, seconds: float
) -> "tuple[Paced, _Watcher]":
    with _Watcher(database) as watcher:
        found = load.paced(url, requests, LANES_CLIENTS, [(rate, seconds)])
        settle(database)
        time.sleep(POLL_SECONDS * 20)
    return found, watcher


def _lags(found: Paced, watcher: "_Watcher") -> list[float]:
    """Milliseconds from commit to row, for each change."""
    return [
        (watcher.projected.time_of(one.position) - watcher.committed.time_of(one.position)) * 1000
        for one in _answered(found)
    ]


def _from_answers(found: Paced, watcher: "_Watcher") -> list[float]:
    """Milliseconds from the arrival of each answer; 0 where the row could be seen before."""
    return [
        max(0.0, (watcher.projected.time_of(one.position) - one.answered) * 1000)
        for one in _answered(found)
    ]


def _answered(found: Paced) -> list[Sample]:
    for sample in found.samples:
        if sample.status != 200:
            raise RuntimeError(f"status {sample.status} at half load")
    return found.samples


def _achieved(found: Paced) -> float:
    """Requests sent before the end of the phase, of those that fell due."""
    end = found.phases[0]["end"]
    return sum(sample.sent <= end for sample in found.samples) / len(found.samples)


@dataclass
class _Seen:
    """When a position was first there, or a later one."""

    positions: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def add(self, position: int | None, time_: float) -> None:
        if position is not None and (not self.positions or position > self.positions[-1]):
            self.positions.append(position)
            self.times.append(time_)

    def time_of(self, position: int) -> float:
        return self.times[bisect_left(self.positions, position)]


class _Watcher:
    """Polls the newest positions about each millisecond and notes when it first saw them."""

    def __init__(self, database: Database) -> None:
        self.committed, self.projected = _Seen(), _Seen()
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
                assert row is not None
                self.committed.add(row[0], seen)
                self.projected.add(row[1], seen)
                time.sleep(POLL_SECONDS)
