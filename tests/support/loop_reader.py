"""The reader of histories, called from a thread."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from loop_thread import LoopThread

from ledger.database import Database
from projections.opening import History, Reading
from projections.reader import HistoryReader
from projections.recent_changes import Mark

Found = Reading[History] | BaseException


class LoopReader:
    def __init__(self, database: Database) -> None:
        self._loop = LoopThread()
        self._reader = HistoryReader(database)

    def read(self, booking_id: str, seen: Mark | None = None) -> Reading[History]:
        return self._loop.run(self._reader.read(booking_id, tuple, seen))

    def read_together(self, booking_ids: Sequence[str]) -> list[Found]:
        """What each asker gets, all of one batch. The reader is connected."""

        async def ask() -> list[Found]:
            # The first question is a batch of its own; who comes meanwhile is the next one.
            first = asyncio.create_task(self._reader.read(booking_ids[0], len))
            await asyncio.sleep(0)
            asked = [self._reader.read(one, tuple) for one in booking_ids]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            await asyncio.wait([first])
            first.exception()
            return answers

        return self._loop.run(ask())

    def close(self) -> None:
        self._loop.run(self._reader.close())
        self._loop.close()


@contextmanager
def reading(database: Database) -> Iterator[LoopReader]:
    reader = LoopReader(database)
    try:
        yield reader
    finally:
        reader.close()
