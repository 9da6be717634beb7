"""What waits to be served together, in order and bounded."""

import time
from collections import deque
from typing import Generic, Protocol, TypeVar

from ledger.errors import Busy


class Sized(Protocol):
    @property
    def size(self) -> int:
        """How much of a batch it fills."""


ItemT = TypeVar("ItemT", bound=Sized)

GATHERING_SECONDS = 0.001
"""How long a batch waits for those who came the last times. Their answers went out together, so
their next questions are on the way; the first of them alone would cost as much as all."""

WAITING_SECONDS_MAX = 2.0
"""Whoever asks while the oldest has waited this long is told to come back."""


class Waiting(Generic[ItemT]):
    """The items that wait for the next batch. Its owner guards it where there are threads.

    A lone caller waits for nobody; under load the batches grow by themselves, and wait a moment
    for most of those who came the last two times. `batch_size_max` ends a batch (its last item may
    pass it). What waits is bounded twice: `queue_size_max` by its number, so that memory is, and
    `waiting_seconds_max` by its age, so that an answer comes while somebody still wants it, however
    slow a batch is.
    """

    def __init__(
        self,
        name: str,
        *,
        batch_size_max: int,
        queue_size_max: int,
        waiting_seconds_max: float = WAITING_SECONDS_MAX,
    ) -> None:
        self._name = name
        self._batch_size_max = batch_size_max
        self._queue_size_max = queue_size_max
        self._waiting_seconds_max = waiting_seconds_max
        self._items: deque[tuple[float, ItemT]] = deque()
        self._closed = False
        self.size = 0
        self.enough = 1
        """How many items are waited for, a moment long."""
        self._last = 1

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: ItemT) -> None:
        """Raises Busy at once when it is full, too slow, or closed."""
        now = time.monotonic()
        if self._closed or self.size >= self._queue_size_max or self._is_late(now):
            raise Busy(f"Too much is waiting for the {self._name}; try again shortly.")
        self.size += item.size
        self._items.append((now, item))

    def take(self) -> list[ItemT]:
        """The next batch."""
        batch: list[ItemT] = []
        size = 0
        while self._items and size < self._batch_size_max:
            _, item = self._items.popleft()
            batch.append(item)
            size += item.size
        self.size -= size
        # Who waits while a batch is served is the next one: two groups take turns. Three quarters
        # of their mean keep them alike. With half of the last one, they drifted to 1 and 31.
        self.enough = max(1, (len(batch) + self._last) * 3 // 8)
        self._last = len(batch)
        return batch

    def wait_for_one(self) -> None:
        """The others did not come in time."""
        self.enough = self._last = 1

    @property
    def has_enough(self) -> bool:
        return self._closed or len(self._items) >= self.enough

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True

    def _is_late(self, now: float) -> bool:
        return bool(self._items) and now - self._items[0][0] > self._waiting_seconds_max
