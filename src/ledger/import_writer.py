"""The writer of imports: rows in bulk, in large transactions while nobody else appends."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import psycopg

from ledger.append_connection import (
    RECONNECT_SECONDS,
    Patience,
    connect_to_append,
    is_in_doubt,
    is_lost,
)
from ledger.database import Database
from ledger.errors import LedgerError, StoreUnavailable
from ledger.import_transaction import Decided, ImportTransaction, Overtaken, Taken
from ledger.imported_rows import ImportedRows
from ledger.recorder import utc_now
from ledger.workflow import Workflow

ROWS_UNDER_LOCK = 500
"""A transaction where others append too, some 10 ms: they wait for the lock while it decides."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Rows, and what was decided on them; None where that is left for when they are stored."""

    rows: ImportedRows
    decided: Decided | None
    attempt: int


class PartlyRecorded(LedgerError):
    """The beginning of the rows is recorded, the others are not, or may be"""

    def __init__(self, rows: int, taken: Taken, why: LedgerError | psycopg.Error) -> None:
        super().__init__(f"{rows:,} rows were recorded, then: {why}")
        self.rows = rows
        self.taken = taken
        self.why = why


class Recording:
    """Rows on their way to the disk, or there already."""

    def __init__(self, result: Callable[[], Taken]) -> None:
        self._result = result

    def result(self) -> Taken:
        """Wait until they are there. To be called once. Raises what `ImportWriter.record` does."""
        return self._result()


class ImportWriter:
    """Records the rows of one source. For one thread; writers may serve the same ledger beside it.

    The database stores rows while the next are decided on: `decide`, then wait for the
    `Recording` of the rows before, then `store`. `reconnect_seconds` is how long a lost database
    is waited for.
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
        """Belongs to the thread that stores, while it does."""
        self._reading: psycopg.Connection | None = None
        self._thread = ThreadPoolExecutor(1, "import")
        self._attempt = 0
        """Goes up whenever what was decided since is void."""

    def record(self, rows: ImportedRows) -> Taken:
        """Decide, store and wait: rows are on disk then, each once however often it comes.

        Raises UnknownStatus, StoreUnavailable (nothing was recorded), OutcomeUnknown, or why the
        database refuses them. Where others append too rows are recorded in parts, and it raises
        PartlyRecorded where that of the others failed.
        """
        return self.store(self.decide(rows)).result()

    def decide(self, rows: ImportedRows) -> Decision:
        """Raises UnknownStatus, or why the database refuses the rows; nothing is recorded."""
        if not self._transaction.alone:
            return Decision(rows, None, self._attempt)
        try:
            if self._reading is None:
                self._reading = self._connect_to_read()
            decided = self._transaction.decide(self._reading, rows)
        except Exception as error:
            self._give_up_ahead()
            if not is_lost(error):
                raise
            return Decision(rows, None, self._attempt)  # whoever stores finds out how long
        return Decision(rows, decided, self._attempt)

    def store(self, decision: Decision) -> Recording:
        """Begin to store rows, after the result of those before. Raises what `record` does."""
        rows, decided = decision.rows, decision.decided
        if decided is None or decision.attempt != self._attempt:
            # Now and not when their result is asked for: the next rows are decided on before.
            taken = self._record_under_lock(rows, None)
            return Recording(lambda: taken)
        storing = self._thread.submit(self._store, decided)
        return Recording(lambda: self._stored(rows, decided, storing))

    def close(self) -> None:
        self._thread.shutdown()
        self._disconnect()
        self._give_up_ahead()

    def _store(self, decided: Decided) -> None:
        self._transaction.store(self._connected(), decided)

    def _stored(self, rows: ImportedRows, decided: Decided, storing: Future[None]) -> Taken:
        in_doubt: Decided | None = None
        try:
            storing.result()
        except Overtaken:
            self._transaction.alone = False
        except Exception as error:
            self._disconnect()
            if decided.is_committing and is_in_doubt(error):
                in_doubt = decided
            elif not is_lost(error):
                self._give_up_ahead()
                raise
        else:
            return decided.taken
        self._give_up_ahead()
        return self._record_under_lock(rows, in_doubt)

    def _record_under_lock(self, rows: ImportedRows, in_doubt: Decided | None) -> Taken:
        """In parts, as others who append too wait for the lock meanwhile; all of them at once
        where they may be there already."""
        if in_doubt is not None:
            return self._record_at_once(rows, in_doubt)
        self._transaction.require_statuses(rows)
        done, taken, alone = 0, Taken(), True
        for part in rows.parts(ROWS_UNDER_LOCK):
            try:
                taken.add(self._record_at_once(part, None))
            except (LedgerError, psycopg.Error) as error:
                if done:
                    raise PartlyRecorded(done, taken, error) from error
                raise
            done += len(part)
            alone = alone and self._transaction.alone
        self._transaction.alone = alone
        return taken

    def _record_at_once(self, rows: ImportedRows, in_doubt: Decided | None) -> Taken:
        patience = Patience(self._reconnect_seconds)
        while True:
            decided: Decided | None = None
            try:
                connection = self._connected()
                if in_doubt is not None and self._transaction.is_committed(connection, in_doubt):
                    return in_doubt.taken
                in_doubt = None
                decided = self._transaction.decide_under_lock(connection, rows)
                self._transaction.store_under_lock(connection, decided)
            except Exception as error:
                self._disconnect()  # or the append lock would be held until the next call
                self._give_up_ahead()
                if decided is not None and decided.is_committing and is_in_doubt(error):
                    in_doubt = decided  # and stays so where the question itself was refused
                elif not is_lost(error):
                    raise
                patience.wait(error, has_events=in_doubt is not None)
            else:
                return decided.taken

    def _give_up_ahead(self) -> None:
        """Nothing that was decided or read before is good any more."""
        self._attempt += 1
        self._transaction.forget()
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _connect_to_read(self) -> psycopg.Connection:
        connection = connect_to_append(self._database)
        if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
            # Of several hosts, a standby that may lag behind: it may have keys that are destroyed.
            connection.close()
            raise StoreUnavailable("This is a standby.")
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = connect_to_append(self._database)
        return self._connection


def fingerprint_key(database: Database) -> bytes:
    """What the rows of a ledger's imports are known by."""
    return database.require_master_key().derive(b"imported row")
