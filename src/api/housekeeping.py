"""What has to be done from time to time while the service runs."""

import logging
import threading
import time

import psycopg

from api import sessions
from api.settings import Settings
from ledger.database import Database
from ledger.errors import LedgerError, StoreUnavailable

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
FORGET_SECONDS = 3600.0
FORGET_BATCH = 10_000

FORGET = """
    DELETE FROM idempotency WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM idempotency
        WHERE recorded_at < now() - make_interval(days => %s) LIMIT %s
    ))
"""


class Housekeeping:
    """Starts the embedded database again if it was killed; forgets old idempotency keys and
    sessions."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._stop = threading.Event()
        self._forgotten_at = float("-inf")
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                with self._database.connect() as connection:
                    self._forget(connection)
            except StoreUnavailable:
                self._revive()
            except psycopg.Error as error:
                logger.warning("housekeeping: %s", error)

    def _revive(self) -> None:
        """A lease starts the embedded server where it is not running; ours keeps it."""
        if self._settings.database_url is not None:
            return
        from api.embedded import embedded_postgres  # noqa: PLC0415  # only where it is in use

        logger.warning("the embedded database does not answer; starting it again")
        try:
            with embedded_postgres(self._settings.data_dir):
                pass
        except LedgerError:
            logger.exception("the embedded database could not be started")

    def _forget(self, connection: psycopg.Connection) -> None:
        if time.monotonic() - self._forgotten_at < FORGET_SECONDS:
            return
        connection.execute(sessions.FORGET)
        days = self._settings.idempotency_days
        while days and connection.execute(FORGET, (days, FORGET_BATCH)).rowcount == FORGET_BATCH:
            if self._stop.is_set():
                return
        self._forgotten_at = time.monotonic()
