"""Take what has queued on an event loop: one batch at a time serves many callers."""

import asyncio
from collections.abc import Callable
from typing import Generic

from ledger.waiting import GATHERING_SECONDS, ItemT, Waiting


class LoopBatcher(Generic[ItemT]):
    """Hands what has queued since the last batch to `begin`, on the loop that everybody is on.

    `begin` must not raise, and not wait; whoever has served the batch calls `ended`. For the
    bounds see `Waiting`.
    """

    def __init__(
        self,
        name: str,
        begin: Callable[[list[ItemT]], None],
        *,
        batch_size_max: int,
        queue_size_max: int,
    ) -> None:
        self._serve = begin
        self._waiting: Waiting[ItemT] = Waiting(
            name, batch_size_max=batch_size_max, queue_size_max=queue_size_max
        )
        self._is_serving = False
        self._gathering: asyncio.Handle | None = None
        self._all_served = asyncio.Event()

    @property
    def queued(self) -> int:
        return self._waiting.size

    @property
    def is_serving(self) -> bool:
        return self._is_serving

    def put(self, item: ItemT) -> None:
        """Raises Busy at once when the queue is full, too slow, or closed."""
        self._waiting.put(item)
        self._begin_if_enough()

    def ended(self, answer: Callable[[], None]) -> None:
        """The batch is served, but for its answers."""
        self._is_serving = False
        # The next batch first: the database works on it while the answers go out.
        self._begin_if_enough()
        answer()
        if not self._is_serving and self._waiting.enough > 1:
            self._gathering = asyncio.get_running_loop().call_soon(self._gather)

    async def close(self) -> None:
        """Serve what was put, then stop."""
        self._waiting.close()
        self._begin_if_enough()
        await self._all_served.wait()

    def _begin_if_enough(self) -> None:
        if self._is_serving or not self._waiting.has_enough:
            return
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        batch = self._waiting.take()
        if batch:
            self._is_serving = True
            self._serve(batch)
        else:
            self._all_served.set()  # has enough though there is nothing: it is closed

    def _gather(self) -> None:
        """The answers have gone out by now: only from here on can more come."""
        loop = asyncio.get_running_loop()
        self._gathering = loop.call_later(GATHERING_SECONDS, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._waiting.wait_for_one()
        self._begin_if_enough()
