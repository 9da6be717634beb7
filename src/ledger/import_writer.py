"""The writer of imports: rows in bulk, one transaction a call, through lost connections."""

import logging
import time
from collections.abc import Callable
from datetime import datetime

import psycopg

from ledger.append_connection import (
    CONNECTION_LOST,
    RECONNECT_SECONDS,
    connect_to_append,
    given_up,
    is_refused,
)
from ledger.database import Database
from ledger.errors import StoreUnavailable
from ledger.import_transaction import ImportTransaction, Stored, Taken
from ledger.imported_rows import ImportedRows
from ledger.recorder import utc_now
from ledger.workflow import Workflow

logger = logging.getLogger(__name__)


class ImportWriter:
    """Records the rows of one source. For one thread; writers may serve the same ledger beside it.

    `reconnect_seconds` is how long a lost database is waited for.
    """

    def __init__(
        self,
        database: Database,
        workflow: Workflow,
        source: str,
        *,
        clock: Callable[[], datetime] = utc_now,
        reconnect_seconds: float = RECONNECT_SECONDS,
    ) -> None:
        self._database = database
        self._transaction = ImportTransaction(database, workflow, f"import:{source}", clock)
        self._reconnect_seconds = reconnect_seconds
        self._connection: psycopg.Connection | None = None

    def record(self, rows: ImportedRows) -> Taken:
        """Record rows; they are on disk when this returns, each once however often it comes.

        Raises UnknownStatus or StoreUnavailable (nothing was recorded), or OutcomeUnknown.
        """
        deadline = time.monotonic() + self._reconnect_seconds
        in_doubt: Stored | None = None
        while True:
            stored: Stored | None = None
            try:
                connection = self._connected()
                if in_doubt is not None and self._transaction.is_committed(connection, in_doubt):
                    return in_doubt.taken
                in_doubt = None
                stored = self._transaction.store(connection, rows)
                connection.execute("COMMIT", prepare=False)
            except psycopg.errors.ProgramLimitExceeded:
                self.close()
                raise  # an OperationalError too, but about what was sent: trying again is in vain
            except (*CONNECTION_LOST, StoreUnavailable) as error:
                if stored is not None and not is_refused(error):
                    in_doubt = stored  # and stays so where the question itself was refused
                self.close()
                if time.monotonic() > deadline:
                    logger.error("given up: %s", error)  # noqa: TRY400  # the caller is told
                    raise given_up(has_events=in_doubt is not None) from error
                time.sleep(0.1)
            except psycopg.Error:
                self.close()  # or the append lock would be held until the next call
                raise
            else:
                self._transaction.keep(stored)
                return stored.taken

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._transaction.forget()

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = connect_to_append(self._database)
        return self._connection


def fingerprint_key(database: Database) -> bytes:
    """What the rows of a ledger's imports are known by."""
    return database.require_master_key().derive(b"imported row")
