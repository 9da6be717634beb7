"""What every projector does: be the one that is active, and leave its failure for health."""

import logging
import threading
import time
from abc import ABC, abstractmethod
from typing import ClassVar

import psycopg

from ledger.database import Database
from ledger.errors import LedgerError

logger = logging.getLogger(__name__)

STANDBY_SECONDS = 0.25
PAUSE_SECONDS_MIN = 0.2
PAUSE_SECONDS_MAX = 10.0
STEADY_SECONDS = 30.0

POSITION = "SELECT version, position FROM projection WHERE name = %s FOR UPDATE"
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
    """The projection was never set up"""


class Follower(ABC):
    """Projects until it is stopped or fails. One is active at a time; others stand by.

    It dies on the first failure, which it leaves in the `projection` table for health to show:
    whoever runs it starts it again. What it derives commits with the position that it has
    reached, so wherever it is killed, the next one goes on at the right event.
    """

    name: ClassVar[str]
    """Of its row in `projection`."""
    lock: ClassVar[str]
    """Held by the one that is active."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @abstractmethod
    def follow(self, connection: psycopg.Connection, stop: threading.Event) -> None:
        """Project what is there and what comes, until `stop` is set. May raise anything."""

    def run(self, stop: threading.Event) -> None:
        with self._database.connect() as connection:
            if not self._become_active(connection, stop):
                return
            try:
                self.follow(connection, stop)
            except Exception as error:
                self._leave_failure(error)
                raise

    def recovered(self, connection: psycopg.Connection) -> None:
        """For when nothing had to be projected: what stood in the way, as a lost connection,
        is gone."""
        connection.execute(RECOVERED, (self.name,))

    def _become_active(self, connection: psycopg.Connection, stop: threading.Event) -> bool:
        # Asked again and again, not waited for: a waiting statement would hold back vacuum.
        key = self._database.lock_key(self.lock)
        while not stop.is_set():
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
            if row == (True,):
                return True
            stop.wait(STANDBY_SECONDS)
        return False

    def _leave_failure(self, error: Exception) -> None:
        try:
            with self._database.connect() as connection:
                connection.execute(FAILED, (f"{type(error).__name__}: {error}", self.name))
        except (LedgerError, psycopg.Error) as unrecorded:
            logger.warning("the failure could not be left in the database: %s", unrecorded)


def keep_running(follower: Follower, stop: threading.Event) -> None:
    """Run it, and again whenever it fails, ever more slowly, until `stop` is set."""
    pause = PAUSE_SECONDS_MIN
    while not stop.is_set():
        started = time.monotonic()
        try:
            follower.run(stop)
        except Exception as error:
            known = isinstance(error, LedgerError | psycopg.OperationalError)
            logger.error(  # noqa: TRY400  # traced where it is a defect
                "the projection %s failed: %s", follower.name, error, exc_info=not known
            )
        if time.monotonic() - started > STEADY_SECONDS:
            pause = PAUSE_SECONDS_MIN
        stop.wait(pause)
        pause = min(pause * 2, PAUSE_SECONDS_MAX)
