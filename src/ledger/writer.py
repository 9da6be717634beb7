"""The one door in: every change, wherever it comes from, is a command given to a writer.

A writer takes what has queued, decides each command by itself and commits the events of all
of them, with their idempotency answers, in one transaction (group commit).
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime

import psycopg

from ledger.batching import Batcher
from ledger.commands import Answer, Command
from ledger.database import Database
from ledger.errors import OutcomeUnknown, StoreUnavailable
from ledger.memory import Memory
from ledger.plan import Idempotency, Plan, Reply, Request
from ledger.transaction import Transaction
from ledger.transcoder import event_mapper
from ledger.workflow import Workflow

logger = logging.getLogger(__name__)

BATCH_COMMANDS_MAX = 1_000
QUEUE_COMMANDS_MAX = 20_000
STREAMS_MAX = 20_000
RECONNECT_SECONDS = 5.0
LOOK_UP_BY_INDEX = b"""
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off
"""
"""Planned once, not for each transaction, which took a third of the time of loading. The rest
keeps a plan that was made while the ledger was empty right when it has grown."""
CONNECTION_LOST = (
    psycopg.OperationalError,
    # We stood still within a transaction for too long.
    psycopg.errors.IdleInTransactionSessionTimeout,
    # A standby answers behind the same name, or the provider has stopped writes for a while.
    psycopg.errors.ReadOnlySqlTransaction,
)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Writer:
    """Records commands from any number of threads through one thread and one connection.

    Several writers, in this process or others, may serve the same ledger. `queue_commands_max`
    bounds what waits; `reconnect_seconds` is how long a lost database is waited for before the
    callers are told.
    """

    def __init__(
        self,
        database: Database,
        workflow: Workflow,
        *,
        clock: Callable[[], datetime] = utc_now,
        queue_commands_max: int = QUEUE_COMMANDS_MAX,
        reconnect_seconds: float = RECONNECT_SECONDS,
    ) -> None:
        self._database = database
        self._transaction = Transaction(
            database, event_mapper(database), workflow, clock, Memory(STREAMS_MAX)
        )
        self._reconnect_seconds = reconnect_seconds
        self._connection: psycopg.Connection | None = None
        self._batcher = Batcher(
            "writer",
            self._record_batch,
            batch_size_max=BATCH_COMMANDS_MAX,
            queue_size_max=queue_commands_max,
        )

    def submit(
        self,
        commands: Sequence[Command],
        done: Callable[[list[Answer] | Exception], None],
        idempotency: Idempotency | None = None,
    ) -> None:
        """Queue commands; `done` gets their answers, in order, after they are on disk.

        `done` is called on the writer's thread and must be quick. It gets an exception instead:
        IdempotencyKeyReused, StoreUnavailable (nothing was recorded) or OutcomeUnknown.
        Raises Busy at once when the queue is full or the writer is closed.
        """
        self._batcher.put(Request(commands, idempotency, done))

    def execute(
        self, commands: Sequence[Command], idempotency: Idempotency | None = None
    ) -> list[Answer]:
        """Submit and wait for the answers."""
        future: Future[list[Answer]] = Future()

        def done(result: list[Answer] | Exception) -> None:
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.submit(commands, done, idempotency)
        return future.result()

    @property
    def queued_commands(self) -> int:
        return self._batcher.queued

    def close(self) -> None:
        """Record what was submitted, then stop."""
        self._batcher.close()
        self._disconnect()

    def _record_batch(self, batch: list[Request]) -> None:
        for request in self._record(batch):
            # Isolated: a request that the database itself refuses must fail alone.
            self._record([request])

    def _record(self, batch: list[Request]) -> list[Request]:
        """Commit a batch and answer it; return the requests to be tried one by one instead."""
        replies: Sequence[Reply | Exception]
        try:
            replies = self._commit(batch)
        except (OutcomeUnknown, StoreUnavailable) as error:
            replies = [error] * len(batch)
        except Exception as error:
            self._disconnect()
            if len(batch) > 1:
                return batch
            logger.exception("a request could not be recorded")
            replies = [error]
        for request, reply in zip(batch, replies, strict=True):
            request.done(reply)
        return []

    def _commit(self, batch: list[Request]) -> list[Reply]:
        """Commit through lost connections, as long as the outcome can be found out."""
        deadline = time.monotonic() + self._reconnect_seconds
        transaction = self._transaction
        doubtful: list[Plan] = []  # one for each connection that was lost in a commit
        while True:
            plan = None
            try:
                connection = self._connected()
                if not doubtful and transaction.runs_ahead(batch):
                    plan = transaction.plan_ahead(connection, batch)
                    if transaction.append(connection, plan):
                        return plan.replies
                    plan = None
                transaction.begin(connection)
                there = self._committed(connection, doubtful)
                if there is not None:
                    return there.replies
                plan = transaction.plan(connection, batch)
                transaction.commit(connection, plan)
            except psycopg.errors.ProgramLimitExceeded:
                raise  # an OperationalError too, but about what was sent: trying again is in vain
            except (*CONNECTION_LOST, StoreUnavailable) as error:
                if plan is not None and plan.events and not is_refused(error):
                    doubtful.append(plan)
                self._disconnect()
                if time.monotonic() > deadline:
                    logger.error("given up: %s", error)  # noqa: TRY400  # callers are told
                    raise given_up(has_events=bool(doubtful)) from error
                time.sleep(0.1)
            else:
                return plan.replies

    def _committed(self, connection: psycopg.Connection, doubtful: list[Plan]) -> Plan | None:
        """That of the plans which is there; then the lock is let go of."""
        for plan in doubtful:
            if self._transaction.is_committed(connection, plan):
                connection.rollback()
                return plan
        return None

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = connect_to_append(self._database)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        # The next server may be a replica that has not all of what this one had.
        self._transaction.forget()


def connect_to_append(database: Database) -> psycopg.Connection:
    """Raises StoreUnavailable."""
    connection = database.connect()
    # The server must not wait on us for ever while we hold the append lock.
    connection.execute("SET idle_in_transaction_session_timeout = '10s'")
    connection.execute(LOOK_UP_BY_INDEX)
    return connection


def is_refused(error: Exception) -> bool:
    """Whether the server itself says that it did not commit, as when its disk is full.

    FATAL and PANIC say only that the connection ends; they may come behind a commit.
    """
    return isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized == "ERROR"


def given_up(*, has_events: bool) -> OutcomeUnknown | StoreUnavailable:
    """What callers are told; `has_events`: a commit of some was under way."""
    if has_events:
        return OutcomeUnknown(
            "The connection to the database was lost while the change was being committed. "
            "It may or may not be recorded: read the booking, or send the request again with "
            "the same Idempotency-Key."
        )
    return StoreUnavailable(
        "The database cannot be reached, or takes no changes now. Nothing was recorded."
    )
