"""Rebuild the read model beside the live one, and switch."""

import logging
import time
from dataclasses import dataclass

import psycopg

from ledger.database import Database
from ledger.errors import LedgerError
from ledger.transcoder import event_mapper
from projections import tables
from projections.feed import head, stream_after
from projections.filling import Progress, fill, set_up
from projections.filling_days import days_beside
from projections.rows import batch_rows
from projections.writing import TableWriter

__all__ = ["Progress", "RebuildReport", "RebuildRunning", "rebuild"]

logger = logging.getLogger(__name__)

BATCH_EVENTS = 10_000
SWITCH_LOCK_TIMEOUT = "2s"
SWITCH_ATTEMPTS = 120

MOVED = """
    INSERT INTO projection (name, version, position) VALUES (%s, %s, %s)
    ON CONFLICT (name) DO UPDATE SET version = excluded.version, position = excluded.position,
        updated_at = now(), failed_at = NULL, failure = NULL
"""


class RebuildRunning(LedgerError):
    """Another rebuild of this ledger is running"""


@dataclass(frozen=True)
class RebuildReport:
    events: int
    seconds: float


def rebuild(database: Database, progress: Progress | None = None) -> RebuildReport:
    """Derive every row anew from the events and put the new tables in the place of the old.

    The service goes on answering from the old ones, and the live projector goes on writing
    them; the switch is one short transaction. A crash before it leaves tables that the next
    rebuild drops, and the old ones in place. Raises RebuildRunning.
    """
    started = time.monotonic()
    with database.connect() as connection, database.try_lock(connection, "rebuild") as alone:
        if not alone:
            raise RebuildRunning("Another rebuild of this ledger is running; wait for its end.")
        # Now: that there is none to be had should not come out when all is filled.
        with database.connect() as beside:
            for one in (connection, beside):
                set_up(one)
            tables.drop(connection, tables.REBUILD)
            tables.create(connection, tables.REBUILD)
            build = _Build(connection, database)
            build.fill(progress)
            build.derive(beside)
        build.catch_up(progress)
        build.switch()
    return RebuildReport(build.events, time.monotonic() - started)


class _Build:
    def __init__(self, connection: psycopg.Connection, database: Database) -> None:
        self._connection = connection
        self._database = database
        self._mapper = event_mapper(database)
        self._position = 0
        self._has_days = False
        self._writer = TableWriter(tables.REBUILD)
        self._begun_at = head(connection)
        self.events = 0

    def fill(self, progress: Progress | None = None) -> None:
        """Fill the empty history from all events."""
        missing = True
        while missing:
            before, self._position = self._position, head(self._connection)
            filled = fill(
                self._connection,
                self._database,
                self._mapper,
                before,
                self._position,
                progress,
                self._begun_at,
            )
            self.events += filled.events
            # Here and not chunk by chunk: an erasure concerns rows that another process fills.
            tables.erase(self._connection, filled.erased, tables.REBUILD)
            missing = head(self._connection) - self._position >= BATCH_EVENTS

    def derive(self, beside: psycopg.Connection) -> None:
        """All else out of the history: bookings, keys and indexes, and the days `beside` them."""
        with days_beside(self._connection, beside):
            tables.derive_bookings(self._connection, tables.REBUILD)
            tables.create_indexes(self._connection, tables.REBUILD)
            self._connection.execute('ANALYZE "Booking_rebuild"')
        self._has_days = True

    def catch_up(self, progress: Progress | None = None) -> None:
        """Project what came since, as the projector does, each batch in a transaction."""
        newest = head(self._connection)
        while True:
            with self._connection.transaction():
                count = self._project()
            if progress is not None:
                progress(self._position, max(newest, self._position))
            if count < BATCH_EVENTS:
                return

    def switch(self) -> None:
        """Tries again where readers hold the old tables: they must not be queued up for long."""
        for attempt in range(1, SWITCH_ATTEMPTS + 1):
            position = self._position, self.events
            try:
                with self._connection.transaction():
                    self._switch(attempt)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                self._position, self.events = position
                # At a rollback psycopg gives up all that is prepared, where it prepared any of it.
                self._writer = TableWriter(tables.REBUILD)
                if attempt == SWITCH_ATTEMPTS:
                    raise
                logger.info("readers hold the old tables, attempt %s to switch", attempt)
                time.sleep(0.5)
                self.catch_up()  # or each attempt would keep the live projector longer from work
            else:
                return

    def _switch(self, attempt: int) -> None:
        connection = self._connection
        connection.execute(f"SET LOCAL lock_timeout = '{SWITCH_LOCK_TIMEOUT}'")
        # From here on the live projector waits; what it had written is among our events. It goes on
        # from where we end: whoever waits here until nobody records any more waits for ever.
        connection.execute("SELECT FROM projection WHERE name = %s FOR UPDATE", (tables.NAME,))
        newest = head(connection)
        while self._position < newest and self._project():
            pass
        tables.lock_live(connection, attempt)
        tables.create_views(connection, tables.REBUILD, self._database.schema)
        tables.drop(connection, tables.LIVE)
        tables.rename(connection, tables.REBUILD)
        connection.execute(MOVED, (tables.NAME, tables.VERSION, self._position))

    def _project(self) -> int:
        stream = stream_after(self._connection, self._mapper, self._position, BATCH_EVENTS)
        batch = batch_rows(stream)
        if batch.events:
            self._writer.write(self._connection, batch, days=self._has_days)
            self._position = batch.position
            self.events += batch.events
        return batch.events
