"""One connection for whatever strangers can make the service look up, used in turns.

However much they ask for, it takes no more of the database than that.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from ledger.database import Database
from ledger.errors import StoreUnavailable

TURN_SECONDS = 10.0


class Lookup:
    """Close it. The connection is made when it is first needed, and anew when it was lost."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._connection: psycopg.Connection | None = None  # owned by whoever has the turn

    @contextmanager
    def turn(self) -> Iterator["Lookup"]:
        """Wait until nobody else looks up. Raises StoreUnavailable where that takes too long."""
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise StoreUnavailable("The database is too slow to look a key up.")
        try:
            yield self
        finally:
            self._turn.release()

    def first(self, statement: str, values: Sequence[object]) -> tuple[Any, ...] | None:
        """The first row, for whoever has the turn. Raises StoreUnavailable.

        The statement runs twice where the connection breaks under it.
        """
        fresh = self._connection is None
        try:
            if self._connection is None:
                self._connection = self._database.connect()
            return self._connection.execute(statement, values).fetchone()
        except psycopg.OperationalError as error:
            self._disconnect()
            if fresh:
                raise StoreUnavailable(f"The database cannot be reached: {error}") from error
            # A connection that lay idle may have been lost long ago.
            return self.first(statement, values)

    def close(self) -> None:
        with self._turn:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
