"""The projector: follows the events and derives the read model, exactly once and in order."""

import logging
import threading
import time

import psycopg

from ledger.database import Database
from ledger.transcoder import event_mapper
from projections import tables
from projections.feed import stream_after, wait_for_notification
from projections.follower import ADVANCE, POSITION, Follower, ProjectionMissing
from projections.log import tile_table as log_tiles
from projections.rebuild import rebuild
from projections.rows import batch_rows
from projections.writing import TableWriter

logger = logging.getLogger(__name__)

BATCH_EVENTS = 2_000
WAKE_SECONDS = 5.0
INTERVAL_SECONDS = 0.01
"""While events keep coming, batches begin so far apart at least: fewer and fuller ones leave the
database and the processor to the writers (decision 0034)."""
PAUSE_SECONDS = 0.005
"""And there is such a pause after each, however long it took. Both bound what the read model lags
behind under load."""


def ensure(database: Database) -> None:
    """Set up what is derived where it is missing, at position 0. Safe when several do so."""
    with database.connect() as connection, connection.transaction():
        connection.execute(
            "SELECT pg_advisory_xact_lock(%s)", (database.lock_key("projection setup"),)
        )
        log_tiles.ensure(connection, database.schema)
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


class Projector(Follower):
    """Derives the read model."""

    name = tables.NAME
    lock = "projector"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._mapper = event_mapper(database)
        self._writer = TableWriter(tables.LIVE)

    def follow(self, connection: psycopg.Connection, stop: threading.Event) -> None:
        # A crash may lose the last rows with their position; both are derived again.
        connection.execute("SET synchronous_commit = off")
        self._renew_if_outdated(connection)
        connection.execute(f"LISTEN {self._database.channel('events')}")
        self.project(connection)
        self.recovered(connection)
        while not stop.is_set():
            began = time.monotonic()
            projected = self.project(connection)
            if 0 < projected < BATCH_EVENTS:
                time.sleep(max(PAUSE_SECONDS, began + INTERVAL_SECONDS - time.monotonic()))
            elif projected == 0:
                wait_for_notification(connection, stop, WAKE_SECONDS)

    def project(self, connection: psycopg.Connection) -> int:
        """Project one batch; the number of events in it."""
        with connection.transaction():
            # The row lock keeps a rebuild's switch and a second projector out until we commit.
            found = connection.execute(POSITION, (self.name,)).fetchone()
            if found is None:
                raise ProjectionMissing(f"There is no projection {self.name!r}.")
            if found[0] != tables.VERSION:
                raise tables.OtherReadModel(found[0])  # another release has rebuilt it
            batch = batch_rows(stream_after(connection, self._mapper, found[1], BATCH_EVENTS))
            if batch.events:
                self._writer.write(connection, batch)
                connection.execute(ADVANCE, (batch.position, self.name))
        return batch.events

    def _renew_if_outdated(self, connection: psycopg.Connection) -> None:
        found = tables.derived(connection)
        # A newer one is left to whoever made it, or two releases would rebuild it in turns.
        if found is not None and found[0] < tables.VERSION:
            logger.info("the read model is of version %s, rebuilding", found[0])
            rebuild(self._database)
