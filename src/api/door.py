"""From the calls to what records and reads."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ledger.async_writer import AsyncWriter
from ledger.commands import Answer, Command
from ledger.errors import Refusal
from ledger.plan import Idempotency
from projections.reader import History, HistoryReader, Reading
from projections.recent_changes import Mark

ResultT = TypeVar("ResultT")


class Mailbox:
    """Brings results from other threads to futures of one event loop, those of a batch in one
    wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._woken = False

    async def ask(self, submit: Callable[[Callable[[Any], None]], None]) -> Any:
        """Call `submit` with a callback and wait for what the callback is given."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(result: Any) -> None:
            self._arrived.append((future, result))
            if not self._woken:
                self._woken = True
                self._loop.call_soon_threadsafe(self._deliver)

        submit(done)
        result = await future
        if isinstance(result, Exception):
            raise result
        return result

    def _deliver(self) -> None:
        # Cleared first: what arrives from here on wakes the loop again.
        self._woken = False
        while self._arrived:
            future, result = self._arrived.popleft()
            if not future.done():  # the caller may have gone away
                future.set_result(result)


class Door:
    """What the routes call: record commands, read a booking's events."""

    def __init__(self, writer: AsyncWriter, reader: HistoryReader, mailbox: Mailbox) -> None:
        self._writer = writer
        self._reader = reader
        self._mailbox = mailbox

    async def record(
        self, commands: Sequence[Command], idempotency: Idempotency | None
    ) -> list[Answer]:
        """The answers after they are on disk. Raises what `AsyncWriter.record` does."""
        return await self._writer.record(commands, idempotency)

    async def record_one(self, command: Command, idempotency: Idempotency | None) -> Any:
        """The outcome of one command. Raises its refusal."""
        (answer,) = await self.record([command], idempotency)
        if isinstance(answer, Refusal):
            raise answer
        return answer

    async def read(self, booking_id: str, seen: Mark | None = None) -> Reading:
        """The events of a booking, unless they are still those of the reading with this mark."""
        reading: Reading = await self._mailbox.ask(
            lambda done: self._reader.submit(booking_id, done, seen)
        )
        return reading

    async def history(self, booking_id: str) -> History:
        """The events of a booking, none if it is unknown."""
        history = (await self.read(booking_id)).history
        assert history is not None  # which it is only for those who have seen it
        return history
