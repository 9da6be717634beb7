"""Read the histories of single bookings straight from their events.

The events are the truth, so this is always fresh and needs no projection: it answers while the
read model lags, is rebuilt or is broken.
"""

import asyncio
from functools import partial

import psycopg
from psycopg.pq.abc import PGresult

from ledger.database import Database
from ledger.errors import StoreUnavailable
from ledger.loop_batching import LoopBatcher
from ledger.one_thread import one_thread
from ledger.prepared import Prepared, Statement, texts
from ledger.steps import Steps, Watch, run
from ledger.transcoder import event_mapper
from projections.feed import EVENTS_OF, PositionedRow, rows_by_stream
from projections.opening import Found, Make, Opener, Question, Reading, ResultT, tell
from projections.recent_changes import Mark, RecentChanges

BATCH_BOOKINGS_MAX = 200
QUEUE_BOOKINGS_MAX = 5_000
ROWS_AT_ONCE = 1_000
"""Sorted by booking on the event loop, some 1 ms. More are for the thread."""

Asked = Found | tuple[Mark, set[str], PGresult]
"""What was found; of too many rows for the event loop, as it came: mark, bookings, rows."""


class HistoryReader:
    """Answers many callers of one event loop with one or two queries, through one connection.

    The first query asks what was appended lately, where that matters to somebody: whoever has the
    events of a booking from an earlier reading is told that they are still all, where they are.
    The loop asks; a thread connects.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._opener = Opener(event_mapper(database))
        self._connection: psycopg.Connection | None = None
        self._changes = RecentChanges()
        self._events = Prepared(EVENTS_OF.replace("%b", "$1"))
        self._watch: Watch[Asked] | None = None
        self._thread = one_thread("history reader")
        self._batcher = LoopBatcher(
            "history reader",
            self._begin,
            batch_size_max=BATCH_BOOKINGS_MAX,
            queue_size_max=QUEUE_BOOKINGS_MAX,
        )
        self._askers = 0
        self._nobody_asks = asyncio.Event()

    async def read(
        self, booking_id: str, make: Make[ResultT], seen: Mark | None = None
    ) -> Reading[ResultT]:
        """What `make` makes of the events; `seen` is the mark of what the caller still has.

        Callers who ask together with an equal `make` get the same. Raises BookingNotFound, Busy at
        once when too many wait, StoreUnavailable while the database cannot be reached, or why the
        events cannot be read.
        """
        answer: asyncio.Future[Reading[ResultT]] = asyncio.get_running_loop().create_future()
        self._batcher.put(Question(booking_id, make, seen, answer))
        self._askers += 1
        try:
            return await answer
        finally:
            self._askers -= 1
            if self._askers == 0:
                self._nobody_asks.set()

    async def close(self) -> None:
        """Answer what was asked, then stop."""
        await self._batcher.close()
        while self._askers:
            self._nobody_asks.clear()
            await self._nobody_asks.wait()
        self._disconnect()
        self._opener.close()
        self._thread.shutdown()

    def _begin(self, questions: list[Question]) -> None:
        if self._watch is None:
            self._use_thread(questions)
        else:
            self._watch.run(self._ask(questions), partial(self._asked, questions))

    def _asked(self, questions: list[Question], result: Asked | Exception) -> None:
        if isinstance(result, Exception):
            # The connection may have been lost long ago, unnoticed: once more on a new one.
            self._disconnect()
            self._use_thread(questions)
        elif isinstance(result, Found):
            self._batcher.ended(partial(self._opener.answer, questions, result))
        else:
            sorting = asyncio.get_running_loop().run_in_executor(self._thread, _sorted, *result)
            sorting.add_done_callback(partial(self._thread_ended, questions))

    def _use_thread(self, questions: list[Question]) -> None:
        work = partial(self._connect_and_ask, questions)
        asking = asyncio.get_running_loop().run_in_executor(self._thread, work)
        asking.add_done_callback(partial(self._thread_ended, questions))

    def _thread_ended(self, questions: list[Question], done: "asyncio.Future[Found]") -> None:
        self._begin_watch()
        error = done.exception()
        if error is None:
            self._asked(questions, done.result())
        else:
            self._batcher.ended(partial(tell, questions, error))

    def _connect_and_ask(self, questions: list[Question]) -> Found:
        try:
            self._connection = connection = self._database.connect()
            connection.prepare_threshold = None  # see `Prepared`
            self._events.prepare(connection.pgconn)
            # The next server may be a replica that has not all of what the last one had.
            self._changes = RecentChanges()
            self._changes.prepare(connection)
            asked = run(connection, self._ask(questions))
        except psycopg.Error as error:
            self._disconnect()
            raise StoreUnavailable(f"The database cannot be reached: {error}") from error
        return asked if isinstance(asked, Found) else _sorted(*asked)

    def _ask(self, questions: list[Question]) -> Steps[Asked]:
        changes = self._changes
        if any(question.seen is not None for question in questions):
            yield from changes.catch_up()
        # What is read is newer, if anything: then it is read once more when asked for again.
        mark = changes.mark
        unknown = {q.booking_id for q in questions if changes.since(q.booking_id, q.seen)}
        if not unknown:
            return Found(mark, {})
        result = yield Statement(self._events, (texts(sorted(unknown)),))
        if result.ntuples > ROWS_AT_ONCE:
            return mark, unknown, result
        return _sorted(mark, unknown, result)

    def _begin_watch(self) -> None:
        """The connection is the loop's again, if there is one."""
        if self._connection is None or self._watch is not None:
            return
        try:
            self._watch = Watch(self._connection, asyncio.get_running_loop(), self._disconnect)
        except (psycopg.OperationalError, OSError):  # it has been lost meanwhile
            self._disconnect()

    def _disconnect(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _sorted(mark: Mark, bookings: set[str], result: PGresult) -> Found:
    rows: dict[str, list[PositionedRow]] = {one: [] for one in bookings}
    rows.update(rows_by_stream(result))
    return Found(mark, rows)
