"""From the calls to what records and reads."""

from collections.abc import Sequence
from typing import Any, TypeVar, cast

from ledger.async_writer import AsyncWriter
from ledger.commands import Answer, Command
from ledger.errors import Refusal
from ledger.plan import Idempotency
from projections.opening import Make, Reading
from projections.reader import HistoryReader
from projections.recent_changes import Mark

ResultT = TypeVar("ResultT")


class Door:
    """What the routes call: record commands, read a booking's events."""

    def __init__(self, writer: AsyncWriter, reader: HistoryReader) -> None:
        self._writer = writer
        self._reader = reader

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

    async def read(
        self, booking_id: str, make: Make[ResultT], seen: Mark | None = None
    ) -> Reading[ResultT]:
        """What `make` makes of the events of a booking: see `HistoryReader.read`."""
        return await self._reader.read(booking_id, make, seen)

    async def made(self, booking_id: str, make: Make[ResultT]) -> ResultT:
        """The same, for those who have seen nothing of it."""
        # None is made only for those who have seen it, or by `make`.
        return cast("ResultT", (await self.read(booking_id, make)).made)
