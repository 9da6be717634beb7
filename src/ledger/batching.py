"""Take what has queued: one thread that serves many callers at a time."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ledger.errors import Busy


class Sized(Protocol):
    @property
    def size(self) -> int:
        """How much of a batch it fills."""


ItemT = TypeVar("ItemT", bound=Sized)

GATHERING_SECONDS = 0.001
"""How long a batch waits for as many as came last time. Their answers went out together, so
their next questions are on the way; the first of them alone would cost as much as all."""

WAITING_SECONDS_MAX = 2.0
"""Whoever asks while the oldest has waited this long is told to come back."""


class Batcher(Generic[ItemT]):
    """Hands what has queued since the last batch to `serve`, on a thread of its own.

    A lone caller waits for nobody; under load the batches grow by themselves, and wait a moment
    until half as many have come as last time. `serve` must not raise. `batch_size_max` ends a
    batch (its last item may pass it). What waits is bounded twice: `queue_size_max` by its
    number, so that memory is, and `waiting_seconds_max` by its age, so that an answer comes while
    somebody still wants it, however slow a batch is.
    """

    def __init__(
        self,
        name: str,
        serve: Callable[[list[ItemT]], None],
        *,
        batch_size_max: int,
        queue_size_max: int,
        waiting_seconds_max: float = WAITING_SECONDS_MAX,
    ) -> None:
        self._name = name
        self._serve = serve
        self._batch_size_max = batch_size_max
        self._queue_size_max = queue_size_max
        self._waiting_seconds_max = waiting_seconds_max
        self._waiting: deque[tuple[float, ItemT]] = deque()
        self._queued = 0
        self._enough = 1
        """How many items are waited for, a moment long."""
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        return self._queued

    def put(self, item: ItemT) -> None:
        """Raises Busy at once when the queue is full, too slow, or closed."""
        now = time.monotonic()
        with self._changed:
            if self._closed or self._queued >= self._queue_size_max or self._is_late(now):
                raise Busy(f"Too much is waiting for the {self._name}; try again shortly.")
            self._queued += item.size
            self._waiting.append((now, item))
            if len(self._waiting) == self._enough:
                self._changed.notify()

    def close(self) -> None:
        """Serve what was put, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _is_late(self, now: float) -> bool:
        return bool(self._waiting) and now - self._waiting[0][0] > self._waiting_seconds_max

    def _run(self) -> None:
        while batch := self._take():
            self._serve(batch)
            del batch  # it may hold what is erased while nobody comes

    def _take(self) -> list[ItemT]:
        """The next batch; none only when closed and all was served."""
        batch: list[ItemT] = []
        size = 0
        with self._changed:
            if not self._changed.wait_for(self._has_enough, GATHERING_SECONDS):
                self._enough = 1
                self._changed.wait_for(self._has_enough)
            while self._waiting and size < self._batch_size_max:
                _, item = self._waiting.popleft()
                batch.append(item)
                size += item.size
            self._queued -= size
            self._enough = max(1, len(batch) // 2)
        return batch

    def _has_enough(self) -> bool:
        return self._closed or len(self._waiting) >= self._enough
