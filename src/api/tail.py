"""Follow the events for the live feed: one follower a process, any number of listeners."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from functools import partial

import orjson
import psycopg
from anyio.to_thread import run_sync
from fastapi.sse import format_sse_event

from api.answers import event_document
from api.store import Store
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.personal_data import Erased
from ledger.transcoder import event_mapper
from projections.feed import events_after, head, wait_for_notification
from projections.rows import Positioned

logger = logging.getLogger(__name__)

KEPT_EVENTS = 2_000
BATCH_EVENTS = 500
SENT_EVENTS = 100
"""Together at most: what a listener who does not read has in memory."""
SILENCE_SECONDS = 15.0
"""Proxies close a connection on which nothing comes for a minute, some for half of it."""
HEARTBEAT = format_sse_event(comment="ping")
WAKE_SECONDS = 5.0
UNWANTED_SECONDS = 1.0
"""For how long events are read ahead of those who have not read what came before."""
RECONNECT_SECONDS = 0.5

Item = tuple[int, bytes]
"""A position and the event there, as Server-Sent Event: made once for all who listen."""


class Tail:
    """Keeps the newest events in memory and wakes those who wait for more.

    Listeners pull: a slow one holds nothing but its own position, and reads from the database
    what memory has dropped. While nobody waits for more, nothing is followed: those who do not
    read cost nothing.
    """

    def __init__(self, database: Database, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._database = database
        self._store = store
        self._loop = loop
        self._mapper = event_mapper(database)
        self._kept: deque[Item] = deque(maxlen=KEPT_EVENTS)
        self._more = asyncio.Event()
        self._listeners = 0
        self._waiting = 0
        self._waited_at = 0.0
        self._wanted = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)
        self._thread.start()

    async def newest(self) -> int:
        """The newest position: where "from now on" begins."""
        return await run_sync(self._head)

    @property
    def listeners(self) -> int:
        return self._listeners

    async def follow(self, position: int) -> AsyncGenerator[bytes]:
        """Every event after a position, in order, for ever; a heartbeat where none comes.

        Who goes away closes it: left to be found as garbage, it would be followed for as long.
        """
        self._listeners += 1
        # What came before is read from the database: of an erasure that was answered a moment
        # ago, memory may not have heard.
        has_caught_up = False
        try:
            while not self._stop.is_set():
                more = self._more
                items = self._remembered(position) if has_caught_up else None
                if items is None:
                    items = await run_sync(partial(self._read, position))
                    has_caught_up = len(items) < SENT_EVENTS
                if items:
                    yield b"".join(sent for _, sent in items)
                    position = items[-1][0]
                elif not await self._came(more):
                    yield HEARTBEAT
        finally:
            self._listeners -= 1

    async def _came(self, more: asyncio.Event) -> bool:
        """Whether it came before there was silence for too long."""
        self._waiting += 1
        self._wanted.set()
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                return await more.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
            self._waited_at = time.monotonic()

    def close(self) -> None:
        self._stop.set()
        self._wanted.set()
        self._wake()
        self._thread.join()

    def _remembered(self, position: int) -> list[Item] | None:
        """What is in memory after a position; None where memory does not reach back to it."""
        kept = list(self._kept)
        if not kept or kept[0][0] > position + 1:
            return None
        return kept[position + 1 - kept[0][0] :][:SENT_EVENTS]

    def _read(self, position: int) -> list[Item]:
        with self._store.connection() as connection:
            found = events_after(connection, self._mapper, position, SENT_EVENTS)
        return [_item(one) for one in found]

    def _head(self) -> int:
        with self._store.connection() as connection:
            return head(connection)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wanted.wait()
            try:
                with self._database.connect() as connection:
                    try:
                        self._listen(connection)
                    finally:
                        self._kept.clear()  # nobody would hear that any of it was erased
            except (psycopg.Error, LedgerError) as error:
                # Listeners wait meanwhile; whoever comes back gets what was missed.
                logger.warning("the live feed was interrupted: %s", error)
                self._stop.wait(RECONNECT_SECONDS)

    def _listen(self, connection: psycopg.Connection) -> None:
        connection.execute(f"LISTEN {self._database.channel('events')}")
        position = head(connection)
        # What came before this position and after a listener looked is in the database: look anew.
        self._loop.call_soon_threadsafe(self._wake)
        while self._is_wanted() and not self._stop.is_set():
            events = events_after(connection, self._mapper, position, BATCH_EVENTS)
            if events:
                position = events[-1].position
                erased_at = _last_erasure(events)
                if erased_at:
                    self._kept.clear()  # what comes before may hold what was erased
                    events = [one for one in events if one.position > erased_at]
                self._kept.extend(_item(one) for one in events)
                self._loop.call_soon_threadsafe(self._wake)
            else:
                wait_for_notification(connection, self._stop, WAKE_SECONDS)

    def _is_wanted(self) -> bool:
        if not self._waiting and time.monotonic() - self._waited_at > UNWANTED_SECONDS:
            self._wanted.clear()
            if self._waiting:  # somebody came between the two lines above
                self._wanted.set()
        return self._wanted.is_set()

    def _wake(self) -> None:
        # Those who wait hold the old event; whoever comes next waits for a new one.
        woken, self._more = self._more, asyncio.Event()
        woken.set()


def _last_erasure(events: Sequence[Positioned]) -> int:
    """Its position, 0 where there is none."""
    return max((one.position for one in events if isinstance(one.event, Erased)), default=0)


def _item(positioned: Positioned) -> Item:
    document = orjson.dumps(event_document(positioned)).decode()
    return positioned.position, format_sse_event(data_str=document, id=str(positioned.position))
