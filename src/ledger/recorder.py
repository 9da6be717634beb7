"""Records batches of requests: ahead of the append lock where it can, through lost connections."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import psycopg

from ledger.append_connection import (
    RECONNECT_SECONDS,
    Patience,
    connect_to_append,
    given_up,
    is_in_doubt,
    is_lost,
)
from ledger.database import Database
from ledger.errors import OutcomeUnknown, StoreUnavailable
from ledger.memory import Memory
from ledger.plan import Plan, Reply, Request
from ledger.steps import Steps, run
from ledger.transaction import Transaction
from ledger.transcoder import event_mapper
from ledger.workflow import Workflow

logger = logging.getLogger(__name__)

STREAMS_MAX = 20_000


def utc_now() -> datetime:
    return datetime.now(UTC)


class Recorder:
    """Decides each request by itself and commits the events of all of them in one transaction.

    Used by one at a time. `reconnect_seconds` is how long a lost database is waited for before
    the callers are told.
    """

    def __init__(
        self,
        database: Database,
        workflow: Workflow,
        *,
        clock: Callable[[], datetime] = utc_now,
        reconnect_seconds: float = RECONNECT_SECONDS,
    ) -> None:
        self._database = database
        self._transaction = Transaction(
            database, event_mapper(database), workflow, clock, Memory(STREAMS_MAX)
        )
        self._reconnect_seconds = reconnect_seconds
        self._under_way: Plan | None = None
        self.connection: psycopg.Connection | None = None

    def record(
        self, batch: Sequence[Request], in_doubt: Plan | None = None, *, ahead: bool = True
    ) -> Sequence[Reply | Exception]:
        """Commit a batch; what each request gets. What was recorded is on disk.

        An exception in place of answers: IdempotencyKeyReused, StoreUnavailable (nothing was
        recorded), OutcomeUnknown, or why the database itself refused this request. `in_doubt`: a
        plan of the same batch whose commit was cut off. `ahead`: may go ahead of the lock.
        """
        try:
            return self._commit(batch, in_doubt, ahead=ahead)
        except (OutcomeUnknown, StoreUnavailable) as error:
            return [error] * len(batch)
        except Exception as error:
            self.disconnect()
            if len(batch) == 1:
                logger.exception("a request could not be recorded")
                return [error]
        # Isolated: a request that the database itself refuses must fail alone.
        return [reply for request in batch for reply in self.record([request])]

    def runs_ahead(self, batch: Sequence[Request]) -> bool:
        """Whether `ahead` can be tried."""
        return self._transaction.runs_ahead(batch)

    def ahead(self, batch: Sequence[Request]) -> Steps[Sequence[Reply] | None]:
        """Commit a batch ahead of the lock.

        None: nothing was recorded, it is to be recorded under the lock. What it raises says so
        too, where nothing is `in_doubt` after it.
        """
        for again in (False, True):
            self._under_way = None
            plan = yield from self._transaction.plan_ahead(batch, again=again)
            self._under_way = plan
            recorded = yield from self._transaction.append(plan)
            self._under_way = None
            if recorded:
                return plan.replies
        return None

    def in_doubt(self, error: Exception) -> Plan | None:
        """The plan that may be committed all the same, after this error."""
        plan, self._under_way = self._under_way, None
        return plan if plan is not None and plan.events and is_in_doubt(error) else None

    def forget_keys(self) -> None:
        """Read the keys of bookings again when they are needed."""
        self._transaction.forget_keys()

    def disconnect(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        # The next server may be a replica that has not all of what this one had.
        self._transaction.forget()

    def _commit(
        self, batch: Sequence[Request], in_doubt: Plan | None, *, ahead: bool
    ) -> Sequence[Reply]:
        """Commit through lost connections, as long as the outcome can be found out."""
        patience = Patience(self._reconnect_seconds)
        # One for each connection that was lost in a commit.
        doubtful = [] if in_doubt is None else [in_doubt]
        while True:
            self._under_way = None
            try:
                connection = self._connected()
                if ahead and not doubtful and self.runs_ahead(batch):
                    replies = run(connection, self.ahead(batch))
                    if replies is not None:
                        return replies
                return self._commit_under_lock(connection, batch, doubtful)
            except Exception as error:
                plan = self.in_doubt(error)
                if plan is not None:
                    doubtful.append(plan)
                if not is_lost(error):
                    if not doubtful:
                        raise
                    # Another way to fail, with one of them still out there.
                    self.disconnect()
                    logger.exception("a request could not be recorded")
                    raise given_up(has_events=True) from error
                self.disconnect()
                patience.wait(error, has_events=bool(doubtful))

    def _commit_under_lock(
        self, connection: psycopg.Connection, batch: Sequence[Request], doubtful: Sequence[Plan]
    ) -> Sequence[Reply]:
        transaction = self._transaction
        transaction.begin(connection)
        for plan in doubtful:
            if transaction.is_committed(connection, plan):
                connection.rollback()  # lets go of the lock
                return plan.replies
        plan = transaction.plan(connection, batch)
        self._under_way = plan
        transaction.commit(connection, plan)
        self._under_way = None  # it has keys of bookings
        return plan.replies

    def _connected(self) -> psycopg.Connection:
        if self.connection is None:
            connection = connect_to_append(self._database)
            connection.prepare_threshold = None  # see `Prepared`
            self._transaction.prepare(connection)
            self.connection = connection
        return self.connection
