"""The connection that appends: how it is set up, and what it means that it is lost."""

import logging
import time

import psycopg

from ledger.database import Database
from ledger.errors import OutcomeUnknown, StoreUnavailable

logger = logging.getLogger(__name__)

RECONNECT_SECONDS = 5.0
"""How long a lost database is waited for before callers are told."""
RETRY_SECONDS = 0.1
LOOK_UP_BY_INDEX = b"""
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off
"""
"""Planned once, not for each transaction, which took a third of the time of loading. The rest
keeps a plan that was made while the ledger was empty right when it has grown."""
DURABLE = b"""
    SELECT set_config('synchronous_commit', CASE current
        WHEN 'off' THEN 'on' ELSE current END, false)
    FROM current_setting('synchronous_commit') AS current
"""
"""An answer says that a change is on disk, whatever a database or a role prefers, or somebody sets
later for all sessions that have not set it themselves. Who waits for a standby too goes on doing
so."""
CONNECTION_LOST = (
    psycopg.OperationalError,
    # We stood still within a transaction for too long.
    psycopg.errors.IdleInTransactionSessionTimeout,
    # A standby answers behind the same name, or the provider has stopped writes for a while.
    psycopg.errors.ReadOnlySqlTransaction,
)


def connect_to_append(database: Database) -> psycopg.Connection:
    """Raises StoreUnavailable."""
    connection = database.connect()
    # The server must not wait on us for ever while we hold the append lock.
    connection.execute("SET idle_in_transaction_session_timeout = '10s'")
    connection.execute(LOOK_UP_BY_INDEX)
    connection.execute(DURABLE)
    return connection


def is_lost(error: Exception) -> bool:
    """Whether it is worth to connect again and to try once more."""
    # ProgramLimitExceeded is an OperationalError too, but about what was sent: trying again is in
    # vain.
    return isinstance(error, (*CONNECTION_LOST, StoreUnavailable)) and not isinstance(
        error, psycopg.errors.ProgramLimitExceeded
    )


def is_refused(error: Exception) -> bool:
    """Whether the server itself says that it did not commit, as when its disk is full.

    FATAL and PANIC say only that the connection ends; they may come behind a commit.
    """
    return isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized == "ERROR"


def is_in_doubt(error: Exception) -> bool:
    """Whether a commit that was under way may have come about all the same."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.diag.severity_nonlocalized is None:  # not the server's word
        return is_lost(error)
    return not is_refused(error)


class Patience:
    """How long a lost database is waited for, from now on."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def wait(self, error: Exception, *, has_events: bool) -> None:
        """Until the next attempt. Raises what `given_up` says when it has lasted too long."""
        if time.monotonic() > self._deadline:
            logger.error("given up: %s", error)
            raise given_up(has_events=has_events) from error
        time.sleep(RETRY_SECONDS)


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
