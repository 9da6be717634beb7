"""Read the histories of single bookings straight from their events.

The events are the truth, so this is always fresh and needs no projection: it answers while the
read model lags, is rebuilt or is broken.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from ledger.batching import Batcher
from ledger.database import Database
from ledger.errors import LedgerError, StoreUnavailable
from ledger.transcoder import event_mapper
from projections.feed import read_histories
from projections.recent_changes import Mark, RecentChanges
from projections.rows import PositionedEvent

logger = logging.getLogger(__name__)

BATCH_BOOKINGS_MAX = 200
QUEUE_BOOKINGS_MAX = 5_000

History = Sequence[PositionedEvent]


@dataclass(frozen=True, slots=True)
class Reading:
    """The events of a booking in order, none for an unknown one, with all up to the mark.

    `history` is None where the asker has them: nothing was appended since what it has seen.
    """

    history: History | None
    mark: Mark


@dataclass(frozen=True, slots=True)
class Question:
    booking_id: str
    done: Callable[[Reading | Exception], None]
    seen: Mark | None = None
    """What the asker knows of the booking already."""

    @property
    def size(self) -> int:
        return 1


class HistoryReader:
    """Answers many callers with one or two queries, through one thread and one connection.

    The first query asks what was appended lately, where that matters to somebody: whoever has the
    events of a booking from an earlier reading is told that they are still all, where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mapper = event_mapper(database)
        self._connection: psycopg.Connection | None = None
        self._changes = RecentChanges()
        self._batcher = Batcher(
            "history reader",
            self._answer,
            batch_size_max=BATCH_BOOKINGS_MAX,
            queue_size_max=QUEUE_BOOKINGS_MAX,
        )

    def submit(
        self,
        booking_id: str,
        done: Callable[[Reading | Exception], None],
        seen: Mark | None = None,
    ) -> None:
        """`done` gets a Reading; `seen` is the mark of the one that the caller still has.

        It is called on the reader's thread and must be quick. It gets StoreUnavailable instead
        while the database cannot be reached, or why the events cannot be read. Raises Busy at once
        when the queue is full.
        """
        self._batcher.put(Question(booking_id, done, seen))

    def close(self) -> None:
        self._batcher.close()
        self._disconnect()

    def _answer(self, questions: list[Question]) -> None:
        try:
            mark, histories = self._read(questions)
        except StoreUnavailable as error:
            for question in questions:
                question.done(error)
            return
        except Exception as error:
            # Where one booking was altered, or is of a newer version of the ledger, those who ask
            # for others must not be told so.
            if len(questions) > 1:
                for question in questions:
                    self._answer([question])
                return
            if not isinstance(error, LedgerError):
                logger.exception("a history could not be read")
            questions[0].done(error)
            return
        for question in questions:
            question.done(Reading(histories.get(question.booking_id), mark))

    def _read(self, questions: list[Question]) -> tuple[Mark, dict[str, History]]:
        """What all have seen then, and the events of those bookings that somebody does not have."""
        fresh = self._connection is None
        try:
            if self._connection is None:
                self._connection = self._database.connect()
            changes = self._changes
            if any(question.seen is not None for question in questions):
                changes.catch_up(self._connection)
            # What is read is newer, if anything: then it is read once more when asked for again.
            mark = changes.mark
            unknown = {q.booking_id for q in questions if changes.since(q.booking_id, q.seen)}
            histories: dict[str, History] = dict.fromkeys(unknown, ())
            if unknown:
                found = read_histories(self._connection, self._mapper, sorted(unknown))
                histories.update(found)
        except psycopg.Error as error:
            self._disconnect()
            if fresh:
                raise StoreUnavailable(f"The database cannot be reached: {error}") from error
            # The connection may have been lost long ago, unnoticed: once more on a new one.
            return self._read(questions)
        return mark, histories

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        # The next server may be a replica that has not all of what this one had.
        self._changes = RecentChanges()
