"""The writer of an event loop: no change of thread between a request and the database."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

import psycopg

from ledger.append_connection import RECONNECT_SECONDS
from ledger.commands import Answer, Command
from ledger.database import Database
from ledger.loop_batching import LoopBatcher
from ledger.one_thread import one_thread
from ledger.plan import Idempotency, Plan, Reply, Request
from ledger.recorder import Recorder, utc_now
from ledger.steps import Watch
from ledger.workflow import Workflow
from ledger.writer import BATCH_COMMANDS_MAX, QUEUE_COMMANDS_MAX

Replies = Sequence[Reply | Exception]


class AsyncWriter:
    """Records the commands of one event loop through one connection; see `Writer`.

    What goes ahead of the append lock is decided on the loop, which then waits for the answer
    of the database with everything else that it waits for. All the rest is for a thread:
    connecting, batches under the lock, large ones. One batch is recorded at a time.
    """

    def __init__(
        self,
        database: Database,
        workflow: Workflow,
        *,
        clock: Callable[[], datetime] = utc_now,
        queue_commands_max: int = QUEUE_COMMANDS_MAX,
        reconnect_seconds: float = RECONNECT_SECONDS,
    ) -> None:
        self._recorder = Recorder(
            database, workflow, clock=clock, reconnect_seconds=reconnect_seconds
        )
        self._batcher = LoopBatcher(
            "writer",
            self._begin,
            batch_size_max=BATCH_COMMANDS_MAX,
            queue_size_max=queue_commands_max,
        )
        self._thread = one_thread("writer")
        self._watch: Watch[Sequence[Reply] | None] | None = None
        self._began_at = time.monotonic()

    async def record(
        self, commands: Sequence[Command], idempotency: Idempotency | None = None
    ) -> list[Answer]:
        """The answers, in order, after they are on disk.

        Raises Busy at once when the queue is full or the writer is closed, IdempotencyKeyReused,
        StoreUnavailable (nothing was recorded) or OutcomeUnknown. Who gives up waiting does not
        take the commands back.
        """
        future: asyncio.Future[list[Answer] | Exception]
        future = asyncio.get_running_loop().create_future()
        self._batcher.put(Request(commands, idempotency, partial(_deliver, future)))
        result = await future
        if isinstance(result, Exception):
            try:
                raise result
            finally:
                # The error knows this frame, which must not know the error: until somebody looks
                # for such circles, what was to be recorded would stay in memory.
                del result, future
        return result

    @property
    def queued_commands(self) -> int:
        return self._batcher.queued

    def forget_keys(self, idle_seconds: float) -> None:
        """Forget the keys of bookings, if nothing was recorded for so long.

        Another process may have destroyed one. Whoever records learns of it, whoever does not would
        have it in memory for ever.
        """
        if not self._batcher.is_serving and time.monotonic() - self._began_at >= idle_seconds:
            self._recorder.forget_keys()

    async def close(self) -> None:
        """Record what was submitted, then stop."""
        await self._batcher.close()
        self._end_watch()
        self._recorder.disconnect()
        self._thread.shutdown()

    def _begin(self, batch: list[Request]) -> None:
        self._began_at = time.monotonic()
        if self._watch is not None and self._recorder.runs_ahead(batch):
            self._watch.run(self._recorder.ahead(batch), partial(self._ran_ahead, batch))
        else:
            self._use_thread(batch)

    def _ran_ahead(
        self, batch: Sequence[Request], result: Sequence[Reply] | Exception | None
    ) -> None:
        if isinstance(result, Exception):
            in_doubt = self._recorder.in_doubt(result)
            self._lost()
            self._use_thread(batch, in_doubt)
        elif result is None:
            self._use_thread(batch, ahead=False)
        else:
            self._ended(batch, result)

    def _use_thread(
        self, batch: Sequence[Request], in_doubt: Plan | None = None, *, ahead: bool = True
    ) -> None:
        self._end_watch()  # the connection is the thread's meanwhile
        record = partial(self._recorder.record, batch, in_doubt, ahead=ahead)
        recorded = asyncio.get_running_loop().run_in_executor(self._thread, record)
        recorded.add_done_callback(partial(self._thread_recorded, batch))

    def _thread_recorded(
        self, batch: Sequence[Request], recorded: "asyncio.Future[Replies]"
    ) -> None:
        self._begin_watch()  # if only to learn that the connection ends
        self._ended(batch, recorded.result())

    def _ended(self, batch: Sequence[Request], replies: Replies) -> None:
        self._batcher.ended(partial(_answer, batch, replies))

    def _begin_watch(self) -> None:
        """The connection is the loop's again, if there is one."""
        connection = self._recorder.connection
        if connection is None:
            return
        try:
            self._watch = Watch(connection, asyncio.get_running_loop(), self._lost)
        except (psycopg.OperationalError, OSError):  # it has been lost meanwhile
            self._recorder.disconnect()

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def _lost(self) -> None:
        self._end_watch()
        self._recorder.disconnect()


def _answer(batch: Sequence[Request], replies: Replies) -> None:
    for request, reply in zip(batch, replies, strict=True):
        request.done(reply)


def _deliver(
    future: "asyncio.Future[list[Answer] | Exception]", result: list[Answer] | Exception
) -> None:
    if not future.done():  # the caller may have gone away
        future.set_result(result)
