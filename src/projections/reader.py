"""Read the histories of single bookings straight from their events.

The events are the truth, so this is always fresh and needs no projection: it answers while the
read model lags, is rebuilt or is broken.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from ledger.batching import Batcher
from ledger.database import Database
from ledger.errors import LedgerError, StoreUnavailable
from ledger.sealing import SealBroken
from ledger.transcoder import event_mapper
from projections.feed import read_histories
from projections.rows import PositionedEvent

BATCH_BOOKINGS_MAX = 200
QUEUE_BOOKINGS_MAX = 5_000

History = Sequence[PositionedEvent]


@dataclass(frozen=True, slots=True)
class Question:
    booking_id: str
    done: Callable[[History | LedgerError], None]

    @property
    def size(self) -> int:
        return 1


class HistoryReader:
    """Answers many callers' questions with one query, through one thread and one connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mapper = event_mapper(database)
        self._connection: psycopg.Connection | None = None
        self._batcher = Batcher(
            "history reader",
            self._answer,
            batch_size_max=BATCH_BOOKINGS_MAX,
            queue_size_max=QUEUE_BOOKINGS_MAX,
        )

    def submit(self, booking_id: str, done: Callable[[History | LedgerError], None]) -> None:
        """`done` gets the events of the booking in order, none for an unknown one.

        It is called on the reader's thread and must be quick. It gets StoreUnavailable instead
        while the database cannot be reached. Raises Busy at once when the queue is full.
        """
        self._batcher.put(Question(booking_id, done))

    def close(self) -> None:
        self._batcher.close()
        self._disconnect()

    def _answer(self, questions: list[Question]) -> None:
        try:
            histories = self._read({question.booking_id for question in questions})
        except LedgerError as error:
            # Where one booking was altered, those who ask for others must not be told so.
            alone = isinstance(error, SealBroken) and len(questions) > 1
            for question in questions:
                if alone:
                    self._answer([question])
                else:
                    question.done(error)
            return
        for question in questions:
            question.done(histories.get(question.booking_id, ()))

    def _read(self, booking_ids: set[str]) -> dict[str, list[PositionedEvent]]:
        fresh = self._connection is None
        try:
            if self._connection is None:
                self._connection = self._database.connect()
            return read_histories(self._connection, self._mapper, sorted(booking_ids))
        except psycopg.Error as error:
            self._disconnect()
            if fresh:
                raise StoreUnavailable(f"The database cannot be reached: {error}") from error
            # The connection may have been lost long ago, unnoticed: once more on a new one.
            return self._read(booking_ids)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
