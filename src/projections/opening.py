"""From stored events to what those want who ask for them, without holding up an event loop."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

from ledger.errors import BookingNotFound, Busy
from ledger.one_thread import one_thread
from ledger.transcoder import EventMapper
from projections.feed import PositionedRow, positioned
from projections.recent_changes import Mark
from projections.rows import PositionedEvent

ENTRIES_AT_ONCE = 100
"""Opened on the event loop before all others have their turn, some 2 ms. A longer history is for a
thread."""
ENTRY_BYTES = 4_096
"""A history counts as one entry more for each of these."""
LONG_BYTES_MAX = 200_000_000
"""Of long histories that wait for the thread; who asks then is told Busy."""

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


Result = Reading[Any] | BaseException


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
    """All have seen all up to the mark. Of each booking that somebody lacks there are its rows,
    none of an unknown one."""

    mark: Mark
    rows: Mapping[str, Sequence[PositionedRow]]


class Work(NamedTuple):
    """Who waits for the same, and what it is made of; `rows` is None where they have it."""

    asking: list[Question]
    make: Make[Any]
    rows: Sequence[PositionedRow] | None
    mark: Mark


class Opener:
    """Opens the events that questions are about, and answers them, in the order of the batches.

    Questions of a batch about the same with an equal `make` get what was made once.
    """

    def __init__(self, mapper: EventMapper) -> None:
        self._mapper = mapper
        self._work: deque[Work] = deque()
        self._is_scheduled = False
        self._thread = one_thread("long histories")
        self._long_bytes = 0
        """Of what waits for the thread."""

    def answer(self, questions: Sequence[Question], found: Found) -> None:
        askers: dict[tuple[str, Make[Any]], list[Question]] = {}
        for question in questions:
            askers.setdefault((question.booking_id, question.make), []).append(question)
        for (booking_id, make), asking in askers.items():
            self._work.append(Work(asking, make, found.rows.get(booking_id), found.mark))
        if not self._is_scheduled:
            self._go_on()

    def close(self) -> None:
        """To be called when nobody waits for an answer."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _go_on(self) -> None:
        self._is_scheduled = False
        entries = 0
        while self._work:
            if entries >= ENTRIES_AT_ONCE:
                self._is_scheduled = True
                asyncio.get_running_loop().call_soon(self._go_on)
                return
            entries += self._open(self._work.popleft())

    def _open(self, work: Work) -> int:
        """How many entries that was, for the loop."""
        asking, make, rows, mark = work
        if rows is None:
            tell(asking, Reading(None, mark))
        elif not rows:
            tell(asking, BookingNotFound(booking_id=asking[0].booking_id))
        elif _is_wanted(asking):
            size = sum(len(row[4]) for row in rows)
            entries = len(rows) + size // ENTRY_BYTES
            if entries <= ENTRIES_AT_ONCE:
                tell(asking, self._made(make, rows, mark))
                return entries
            self._use_thread(work, size)
        return 0

    def _use_thread(self, work: Work, size: int) -> None:
        asking, make, rows, mark = work
        if self._long_bytes >= LONG_BYTES_MAX:
            tell(asking, Busy("Too many long histories are being read; try again shortly."))
            return

        def made() -> Result | None:
            return self._made(make, rows or (), mark) if _is_wanted(asking) else None

        def ended(done: "asyncio.Future[Result | None]") -> None:
            self._long_bytes -= size
            if not done.cancelled() and (result := done.result()) is not None:
                tell(asking, result)

        self._long_bytes += size
        asyncio.get_running_loop().run_in_executor(self._thread, made).add_done_callback(ended)

    def _made(self, make: Make[Any], rows: Sequence[PositionedRow], mark: Mark) -> Result:
        try:
            # Of one booking, so none is a decision about personal data.
            history = cast("History", list(positioned(self._mapper, rows)))
            return Reading(make(history), mark)
        except Exception as error:  # noqa: BLE001  # raised where it is waited for
            return error


def _is_wanted(asking: Sequence[Question]) -> bool:
    return any(not question.answer.done() for question in asking)


def tell(asking: Sequence[Question], result: Result) -> None:
    """Answer questions, but of those who have gone away."""
    for question in asking:
        if question.answer.done():
            continue
        if isinstance(result, BaseException):
            question.answer.set_exception(result)
        else:
            question.answer.set_result(result)
