"""Take what has queued: one thread that serves many callers at a time."""

import threading
from collections.abc import Callable
from typing import Generic

from ledger.waiting import GATHERING_SECONDS, WAITING_SECONDS_MAX, ItemT, Waiting


class Batcher(Generic[ItemT]):
    """Hands what has queued since the last batch to `serve`, on a thread of its own.

    `serve` must not raise. For the bounds see `Waiting`.
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
        self._serve = serve
        self._waiting: Waiting[ItemT] = Waiting(
            name,
            batch_size_max=batch_size_max,
            queue_size_max=queue_size_max,
            waiting_seconds_max=waiting_seconds_max,
        )
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        return self._waiting.size

    def put(self, item: ItemT) -> None:
        """Raises Busy at once when the queue is full, too slow, or closed."""
        with self._changed:
            self._waiting.put(item)
            if len(self._waiting) == self._waiting.enough:
                self._changed.notify()

    def close(self) -> None:
        """Serve what was put, then stop."""
        with self._changed:
            self._waiting.close()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            self._serve(batch)
            del batch  # it may hold what is erased while nobody comes

    def _take(self) -> list[ItemT]:
        """The next batch; none only when closed and all was served."""
        with self._changed:
            if not self._changed.wait_for(self._has_enough, GATHERING_SECONDS):
                self._waiting.wait_for_one()
                self._changed.wait_for(self._has_enough)
            return self._waiting.take()

    def _has_enough(self) -> bool:
        return self._waiting.has_enough
