"""From stored events to what those want who ask for them, without holding up an event loop."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

from ledger.errors import BookingNotFound, Busy
from ledger.one_thread import one_thread
from ledger.transcoder import EventMapper
from projections.feed import PositionedRow, positioned
from projections.recent_changes import Mark
from projections.rows import PositionedEvent

ENTRIES_AT_ONCE = 100
"""Made on the event loop before others have their turn. A longer history is for a thread."""
LONG_ENTRIES_MAX = 200_000
"""Entries of long histories that wait for the thread, some 200 MB; who asks then is told Busy."""

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


Askers = Iterator[tuple[tuple[str, Make[Any]], list[Question]]]
"""Who waits for the same, by booking and what is to be made."""


class Opener:
    """Opens the events that questions are about, and answers them.

    Questions about the same with an equal `make` get what was made once.
    """

    def __init__(self, mapper: EventMapper) -> None:
        self._mapper = mapper
        self._thread = one_thread("long histories")
        self._long_entries = 0
        """That wait for the thread."""

    def answer(self, questions: Sequence[Question], found: Found) -> None:
        askers: dict[tuple[str, Make[Any]], list[Question]] = {}
        for question in questions:
            askers.setdefault((question.booking_id, question.make), []).append(question)
        self._answer(iter(askers.items()), found)

    def close(self) -> None:
        """To be called when nobody waits for an answer."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _answer(self, askers: Askers, found: Found) -> None:
        entries = 0
        for (booking_id, make), asking in askers:
            rows = found.rows.get(booking_id)
            if rows is None:
                tell(asking, Reading(None, found.mark))
            elif not rows:
                tell(asking, BookingNotFound(booking_id=booking_id))
            elif len(rows) > ENTRIES_AT_ONCE:
                self._use_thread(asking, make, rows, found.mark)
            else:
                tell(asking, self._made(make, rows, found.mark))
                entries += len(rows)
                if entries >= ENTRIES_AT_ONCE:
                    asyncio.get_running_loop().call_soon(self._answer, askers, found)
                    return

    def _use_thread(
        self, asking: list[Question], make: Make[Any], rows: Sequence[PositionedRow], mark: Mark
    ) -> None:
        if self._long_entries >= LONG_ENTRIES_MAX:
            tell(asking, Busy("Too many long histories are being read; try again shortly."))
            return

        def work() -> Result | None:
            is_wanted = any(not question.answer.done() for question in asking)
            return self._made(make, rows, mark) if is_wanted else None

        def ended(done: "asyncio.Future[Result | None]") -> None:
            self._long_entries -= len(rows)
            if not done.cancelled() and (made := done.result()) is not None:
                tell(asking, made)

        self._long_entries += len(rows)
        asyncio.get_running_loop().run_in_executor(self._thread, work).add_done_callback(ended)

    def _made(self, make: Make[Any], rows: Sequence[PositionedRow], mark: Mark) -> Result:
        try:
            # Of one booking, so none is a decision about personal data.
            history = cast("History", list(positioned(self._mapper, rows)))
            return Reading(make(history), mark)
        except Exception as error:  # noqa: BLE001  # raised where it is waited for
            return error


def tell(asking: Sequence[Question], result: Result) -> None:
    """Answer questions, but of those who have gone away."""
    for question in asking:
        if question.answer.done():
            continue
        if isinstance(result, BaseException):
            question.answer.set_exception(result)
        else:
            question.answer.set_result(result)
