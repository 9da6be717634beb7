"""Read the histories of single bookings straight from their events.

The events are the truth, so this is always fresh and needs no projection: it answers while the
read model lags, is rebuilt or is broken.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar, cast

import psycopg

from ledger.database import Database
from ledger.errors import BookingNotFound, StoreUnavailable
from ledger.loop_batching import LoopBatcher
from ledger.prepared import Prepared, Statement, texts
from ledger.steps import Steps, Watch, run
from ledger.transcoder import event_mapper
from projections.feed import EVENTS_OF, PositionedRow, positioned, rows_by_stream
from projections.recent_changes import Mark, RecentChanges
from projections.rows import PositionedEvent

BATCH_BOOKINGS_MAX = 200
QUEUE_BOOKINGS_MAX = 5_000
ENTRIES_AT_ONCE = 100
"""Made on the event loop before others have their turn. A longer history is for the thread."""

ResultT = TypeVar("ResultT")
History = Sequence[PositionedEvent]
Make = Callable[[History], ResultT]
"""Makes what is wanted of the events of a booking, in order; there is at least one."""


class Reading(NamedTuple, Generic[ResultT]):
    """What was made of the events of a booking, with all up to the mark.

    `made` is None where the asker has it: nothing was appended since what it has seen.
    """

    made: ResultT | None
    mark: Mark


Answers = list["asyncio.Future[Reading[Any]]"]
Askers = Iterator[tuple[tuple[str, Make[Any]], Answers]]
"""Who waits for the same, by booking and what is to be made."""


@dataclass(slots=True)  # not frozen, which takes three times as long to make
class Question:
    booking_id: str
    make: Make[Any]
    seen: Mark | None
    """What the asker knows of the booking already."""
    answer: "asyncio.Future[Reading[Any]]"

    @property
    def size(self) -> int:
        return 1


class Found(NamedTuple):
    """All have seen all up to the mark; `rows` are of the bookings that somebody lacks."""

    mark: Mark
    rows: Mapping[str, Sequence[PositionedRow]]


class HistoryReader:
    """Answers many callers of one event loop with one or two queries, through one connection.

    The first query asks what was appended lately, where that matters to somebody: whoever has the
    events of a booking from an earlier reading is told that they are still all, where they are.
    A thread connects, and opens long histories.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mapper = event_mapper(database)
        self._connection: psycopg.Connection | None = None
        self._changes = RecentChanges()
        self._events = Prepared(EVENTS_OF.replace("%b", "$1"))
        self._watch: Watch[Found] | None = None
        self._thread = ThreadPoolExecutor(1, "history reader")
        self._batcher = LoopBatcher(
            "history reader",
            self._begin,
            batch_size_max=BATCH_BOOKINGS_MAX,
            queue_size_max=QUEUE_BOOKINGS_MAX,
        )

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
        return await answer

    async def close(self) -> None:
        """Answer what was asked, then stop."""
        await self._batcher.close()
        self._disconnect()
        self._thread.shutdown()

    def _begin(self, questions: list[Question]) -> None:
        if self._watch is None:
            self._use_thread(questions)
        else:
            self._watch.run(self._ask(questions), partial(self._asked, questions))

    def _asked(self, questions: list[Question], result: Found | Exception) -> None:
        if isinstance(result, Exception):
            # The connection may have been lost long ago, unnoticed: once more on a new one.
            self._disconnect()
            self._use_thread(questions)
        else:
            self._found(questions, result)

    def _use_thread(self, questions: list[Question]) -> None:
        def asked(result: Found | BaseException) -> None:
            self._begin_watch()
            if isinstance(result, BaseException):
                answers = [question.answer for question in questions]
                self._batcher.ended(partial(_tell, answers, result))
            else:
                self._found(questions, result)

        self._in_thread(partial(self._connect_and_ask, questions), asked)

    def _found(self, questions: list[Question], found: Found) -> None:
        askers: dict[tuple[str, Make[Any]], Answers] = {}
        for question in questions:
            askers.setdefault((question.booking_id, question.make), []).append(question.answer)
        self._batcher.ended(partial(self._answer, iter(askers.items()), found))

    def _answer(self, askers: Askers, found: Found) -> None:
        entries = 0
        for (booking_id, make), answers in askers:
            rows = found.rows.get(booking_id)
            if rows is None:
                _tell(answers, Reading(None, found.mark))
            elif not rows:
                _tell(answers, BookingNotFound(booking_id=booking_id))
            elif len(rows) > ENTRIES_AT_ONCE:
                work = partial(self._made, make, rows, found.mark)
                self._in_thread(work, partial(_tell, answers))
            else:
                _tell(answers, self._made(make, rows, found.mark))
                entries += len(rows)
                if entries >= ENTRIES_AT_ONCE:
                    asyncio.get_running_loop().call_soon(self._answer, askers, found)
                    return

    def _made(
        self, make: Make[Any], rows: Sequence[PositionedRow], mark: Mark
    ) -> Reading[Any] | Exception:
        try:
            # Of one booking, so none is a decision about personal data.
            history = cast("History", list(positioned(self._mapper, rows)))
            return Reading(make(history), mark)
        except Exception as error:  # noqa: BLE001  # raised where it is waited for
            return error

    def _in_thread(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """`then` gets what the work returns or raises."""
        try:
            done = asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError as error:  # no more threads to be had
            then(error)
            return
        done.add_done_callback(lambda done: then(done.exception() or done.result()))

    def _connect_and_ask(self, questions: list[Question]) -> Found:
        try:
            self._connection = connection = self._database.connect()
            connection.prepare_threshold = None  # see `Prepared`
            self._events.prepare(connection.pgconn)
            # The next server may be a replica that has not all of what the last one had.
            self._changes = RecentChanges()
            self._changes.prepare(connection)
            return run(connection, self._ask(questions))
        except psycopg.Error as error:
            self._disconnect()
            raise StoreUnavailable(f"The database cannot be reached: {error}") from error

    def _ask(self, questions: list[Question]) -> Steps[Found]:
        changes = self._changes
        if any(question.seen is not None for question in questions):
            yield from changes.catch_up()
        # What is read is newer, if anything: then it is read once more when asked for again.
        mark = changes.mark
        unknown = {q.booking_id for q in questions if changes.since(q.booking_id, q.seen)}
        rows: dict[str, Sequence[PositionedRow]] = dict.fromkeys(unknown, ())
        if unknown:
            result = yield Statement(self._events, (texts(sorted(unknown)),))
            rows.update(rows_by_stream(result))
        return Found(mark, rows)

    def _begin_watch(self) -> None:
        """The connection is the loop's again, if there is one."""
        if self._connection is None:
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


def _tell(answers: Answers, result: Reading[Any] | BaseException) -> None:
    for answer in answers:
        if answer.done():
            continue  # the caller may have gone away
        if isinstance(result, BaseException):
            answer.set_exception(result)
        else:
            answer.set_result(result)
