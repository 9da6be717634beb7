"""Take what has queued: one thread that serves many callers at a time."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, TypeVar

from ledger.errors import Busy


class Sized(Protocol):
    @property
    def size(self) -> int:
        """How much of a batch it fills."""


ItemT = TypeVar("ItemT", bound=Sized)


class Batcher(Generic[ItemT]):
    """Hands what has queued since the last batch to `serve`, on a thread of its own.

    A lone caller waits for nobody; under load the batches grow by themselves. `serve` must
    not raise. `batch_size_max` ends a batch (its last item may pass it), `queue_size_max`
    bounds what waits.
    """

    def __init__(
        self,
        name: str,
        serve: Callable[[list[ItemT]], None],
        *,
        batch_size_max: int,
        queue_size_max: int,
    ) -> None:
        self._name = name
        self._serve = serve
        self._batch_size_max = batch_size_max
        self._queue_size_max = queue_size_max
        self._queue: SimpleQueue[ItemT | None] = SimpleQueue()
        self._queued = 0
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        return self._queued

    def put(self, item: ItemT) -> None:
        """Raises Busy at once when the queue is full or closed."""
        with self._lock:
            if self._closed or self._queued >= self._queue_size_max:
                raise Busy(f"Too much is waiting for the {self._name}; try again shortly.")
            self._queued += item.size
            self._queue.put(item)

    def close(self) -> None:
        """Serve what was put, then stop."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, size = [first], first.size
            while size < self._batch_size_max:
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
                if item is None:
                    self._queue.put(None)  # closing: this batch first, then the end
                    break
                batch.append(item)
                size += item.size
            with self._lock:
                self._queued -= size
            self._serve(batch)
