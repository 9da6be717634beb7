"""The figures of the flow page: asked in one sight, once for all who want them, and kept."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from api.store import Store
from projections.analytics.question import Moment, newest
from projections.analytics.time_in_status import TimeInStatus, time_in_status
from projections.analytics.transitions import Transition, transitions
from projections.analytics.volume import Bucket, Unit, volume
from projections.feed import head
from projections.queries import Filter

logger = logging.getLogger(__name__)

DEAR_SECONDS = 0.2
"""What takes longer is dear: it is shown again although something was recorded since. The page
says for which position it is."""
KEPT_SECONDS = 30.0
"""How old dear figures may be before they are found anew."""
SHOWN_SECONDS = 600.0
"""How old they may be to be shown while they are. Not those about a person: they could have been
erased since."""
KEPT_MAX = 32
AT_ONCE = 2
"""Periods whose figures are found at one time; who asks for more waits."""
FIRST_EVENTS_MAX = 1_000_000
"""Up to this many events the figures of all time are found at the start, before anybody asks."""


@dataclass(frozen=True)
class Figures:
    at: Moment
    asked_at: float
    seconds: float
    """How long it took to find them, once the read model was there."""
    rows: Sequence[Transition]
    stays: Sequence[TimeInStatus]
    unit: Unit
    volume: Sequence[Bucket]

    @property
    def age(self) -> float:
        """Seconds since they were asked for."""
        return time.monotonic() - self.asked_at


@dataclass(frozen=True)
class Shown:
    """`renewing` says that newer figures are being found."""

    figures: Figures
    renewing: bool


class FlowFigures:
    """Asks for all figures of a period at once, and once for all who want them. Figures name
    nobody but whom the filter names, and those are not shown for long, so an erasure need not
    look for them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._askers = ThreadPoolExecutor(AT_ONCE, "figures of a period")
        self._kept: OrderedDict[Filter, Figures] = OrderedDict()
        self._asked: dict[Filter, Future[Figures]] = {}
        self._lock = threading.Lock()

    def of(self, chosen: Filter) -> Shown:
        """Raises what `moment` does."""
        with self._lock:
            kept = self._kept.get(chosen)
        if kept is not None and self._is_good(kept):
            return Shown(kept, renewing=False)
        asked = self._ask(chosen)
        if kept is not None and _can_be_shown(kept, chosen):
            asked.add_done_callback(_log_failure)
            return Shown(kept, renewing=True)
        return Shown(asked.result(), renewing=False)

    def begin(self) -> None:
        """Find in the background what is asked for first, unless that is a lot."""
        self._askers.submit(self._begin).add_done_callback(_log_failure)

    def close(self) -> None:
        self._askers.shutdown(cancel_futures=True)

    def _begin(self) -> None:
        with self._store.connection() as connection:
            events = head(connection)
        if events <= FIRST_EVENTS_MAX:
            self._ask(Filter()).add_done_callback(_log_failure)

    def _is_good(self, kept: Figures) -> bool:
        if kept.seconds > DEAR_SECONDS and kept.age < KEPT_SECONDS:
            return True
        with self._store.connection() as connection:
            return head(connection) == kept.at.position

    def _ask(self, chosen: Filter) -> Future[Figures]:
        with self._lock:
            asked = self._asked.get(chosen)
            if asked is None:
                asked = self._asked[chosen] = self._askers.submit(self._find_and_keep, chosen)
            return asked

    def _find_and_keep(self, chosen: Filter) -> Figures:
        try:
            figures = self._find(chosen)
            with self._lock:
                self._kept[chosen] = figures
                self._kept.move_to_end(chosen)
                while len(self._kept) > KEPT_MAX:
                    self._kept.popitem(last=False)
            return figures
        finally:
            with self._lock:
                del self._asked[chosen]

    def _find(self, chosen: Filter) -> Figures:
        with self._store.connection() as connection, newest(connection) as at:
            started = time.monotonic()  # to wait for the read model does not make figures dear
            rows = transitions(connection, at, chosen)
            stays = time_in_status(connection, at, chosen)
            unit, buckets = volume(connection, at, chosen)
        return Figures(at, started, time.monotonic() - started, rows, stays, unit, buckets)


def _can_be_shown(kept: Figures, chosen: Filter) -> bool:
    return kept.seconds > DEAR_SECONDS and kept.age < SHOWN_SECONDS and chosen.changed_by is None


def _log_failure(asked: Future[Any]) -> None:
    """For what nobody waits for; the next who asks tries again."""
    if not asked.cancelled() and (error := asked.exception()) is not None:
        logger.warning("figures of the flow could not be found: %s", error)
