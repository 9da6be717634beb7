"""The projector: follows the events and derives the read model, exactly once and in order."""

import logging
import threading
import time

import psycopg

from ledger.database import Database
from ledger.errors import LedgerError
from ledger.transcoder import event_mapper
from projections import tables
from projections.feed import events_after, wait_for_notification
from projections.rebuild import rebuild
from projections.rows import batch_rows

logger = logging.getLogger(__name__)

BATCH_EVENTS = 2_000
WAKE_SECONDS = 5.0
STANDBY_SECONDS = 0.25
GATHER_SECONDS = 0.01
"""Pause after a batch while events keep coming: fewer and fuller batches leave the database
and the processor to the writers. It bounds what the read model lags behind under load."""

POSITION = "SELECT position FROM projection WHERE name = %s FOR UPDATE"
ADVANCE = """
    UPDATE projection
    SET position = %s, updated_at = now(), failed_at = NULL, failure = NULL
    WHERE name = %s
"""
FAILED = "UPDATE projection SET failed_at = now(), failure = %s WHERE name = %s"
RECOVERED = """
    UPDATE projection SET failed_at = NULL, failure = NULL
    WHERE name = %s AND failed_at IS NOT NULL
"""


class ProjectionMissing(LedgerError):
    """The read model was never set up"""


def ensure(database: Database) -> None:
    """Set up the read model where it is missing, at position 0. Safe when several start at once."""
    with database.connect() as connection, connection.transaction():
        connection.execute(
            "SELECT pg_advisory_xact_lock(%s)", (database.lock_key("projection setup"),)
        )
        if tables.exist(connection):
            return
        # Dropped by somebody, or never there: either way events give it all again. Beside what
        # is left, and switched as in a rebuild: views may depend on the table that is still there.
        tables.create(connection, tables.SETUP)
        tables.create_indexes(connection, tables.SETUP)
        tables.create_views(connection, tables.SETUP, database.schema)
        tables.drop(connection, tables.LIVE)
        tables.rename(connection, tables.SETUP)
        connection.execute(
            """
            INSERT INTO projection (name, version, position) VALUES (%s, %s, 0)
            ON CONFLICT (name) DO UPDATE SET version = excluded.version, position = 0
            """,
            (tables.NAME, tables.VERSION),
        )


class Projector:
    """Projects until it is stopped or fails. One is active at a time; others stand by.

    It dies on the first failure, which it leaves in the `projection` table for health to show:
    whoever runs it starts it again. Rows and position commit together, so wherever it is
    killed, the next one goes on at the right event.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mapper = event_mapper()

    def run(self, stop: threading.Event) -> None:
        with self._database.connect() as connection:
            if not self._become_active(connection, stop):
                return
            # A crash may lose the last rows with their position; both are derived again.
            connection.execute("SET synchronous_commit = off")
            try:
                self._renew_if_outdated(connection)
                self._follow(connection, stop)
            except Exception as error:
                self._leave_failure(error)
                raise

    def project(self, connection: psycopg.Connection) -> int:
        """Project one batch; the number of events in it."""
        with connection.transaction():
            # The row lock keeps a rebuild's switch and a second projector out until we commit.
            found = connection.execute(POSITION, (tables.NAME,)).fetchone()
            if found is None:
                raise ProjectionMissing(f"There is no projection {tables.NAME!r}.")
            events = events_after(connection, self._mapper, found[0], BATCH_EVENTS)
            if events:
                tables.write(connection, batch_rows(events), tables.LIVE)
                connection.execute(ADVANCE, (events[-1].position, tables.NAME))
        return len(events)

    def _become_active(self, connection: psycopg.Connection, stop: threading.Event) -> bool:
        # Asked again and again, not waited for: a waiting statement would hold back vacuum.
        key = self._database.lock_key("projector")
        while not stop.is_set():
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
            if row == (True,):
                return True
            stop.wait(STANDBY_SECONDS)
        return False

    def _renew_if_outdated(self, connection: psycopg.Connection) -> None:
        row = connection.execute(
            "SELECT version FROM projection WHERE name = %s", (tables.NAME,)
        ).fetchone()
        if row is not None and row[0] != tables.VERSION:
            logger.info("the read model is of version %s, rebuilding", row[0])
            rebuild(self._database)

    def _follow(self, connection: psycopg.Connection, stop: threading.Event) -> None:
        connection.execute(f"LISTEN {self._database.channel('events')}")
        self.project(connection)
        # Also where no event came since: what stood in the way, as a lost connection, is gone.
        connection.execute(RECOVERED, (tables.NAME,))
        while not stop.is_set():
            projected = self.project(connection)
            if 0 < projected < BATCH_EVENTS:
                time.sleep(GATHER_SECONDS)
            elif projected == 0:
                wait_for_notification(connection, stop, WAKE_SECONDS)

    def _leave_failure(self, error: Exception) -> None:
        try:
            with self._database.connect() as connection:
                connection.execute(FAILED, (f"{type(error).__name__}: {error}", tables.NAME))
        except (LedgerError, psycopg.Error) as unrecorded:
            logger.warning("the failure could not be left in the database: %s", unrecorded)
