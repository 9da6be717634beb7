"""The figures of the flow page, asked side by side and kept for a moment."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import psycopg

from api.store import Store
from projections.analytics.question import Moment, moment
from projections.analytics.time_in_status import TimeInStatus, time_in_status
from projections.analytics.transitions import Transition, transitions
from projections.analytics.volume import Bucket, Unit, volume
from projections.feed import head
from projections.queries import Filter

KEPT_SECONDS = 30.0
"""How old figures may be that are shown again although something was recorded since, where they
are dear. The page says for which position they are."""
DEAR_SECONDS = 0.2
KEPT_MAX = 32

FoundT = TypeVar("FoundT")


@dataclass(frozen=True)
class Figures:
    at: Moment
    asked_at: float
    seconds: float
    """How long it took to find them."""
    rows: Sequence[Transition]
    stays: Sequence[TimeInStatus]
    unit: Unit
    volume: Sequence[Bucket]


class FlowFigures:
    """Asks for all figures of a period at once. Figures name nobody but whom the filter names,
    and are forgotten soon, so an erasure need not look for them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(3, "figures")
        self._kept: OrderedDict[Filter, Figures] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, chosen: Filter) -> Figures:
        with self._lock:
            kept = self._kept.get(chosen)
        if kept is not None and self._is_good(kept):
            return kept
        figures = self._ask(chosen)
        with self._lock:
            self._kept[chosen] = figures
            self._kept.move_to_end(chosen)
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return figures

    def close(self) -> None:
        self._pool.shutdown()

    def _is_good(self, kept: Figures) -> bool:
        if kept.seconds > DEAR_SECONDS and time.monotonic() - kept.asked_at < KEPT_SECONDS:
            return True
        with self._store.connection() as connection:
            return head(connection) == kept.at.position

    def _ask(self, chosen: Filter) -> Figures:
        started = time.monotonic()
        with self._store.connection() as connection:
            at = moment(connection, None)
        ask = self._pool.submit
        rows = ask(self._with_connection, lambda c: transitions(c, at, chosen))
        stays = ask(self._with_connection, lambda c: time_in_status(c, at, chosen))
        counted = ask(self._with_connection, lambda c: volume(c, at, chosen))
        unit, buckets = counted.result()
        found = rows.result(), stays.result()
        seconds = time.monotonic() - started
        return Figures(at, started, seconds, *found, unit, buckets)

    def _with_connection(self, ask: Callable[[psycopg.Connection], FoundT]) -> FoundT:
        with self._store.connection() as connection:
            return ask(connection)
