"""The library's event store on PostgreSQL, with the order of positions made safe and dense."""

from collections.abc import Sequence
from typing import Any

from eventsourcing.application import Application
from eventsourcing.persistence import (
    BaseInfrastructureFactory,
    InfrastructureFactory,
    Mapper,
    StoredEvent,
)
from eventsourcing.postgres import (
    ConnectionPool,
    PostgresApplicationRecorder,
    PostgresDatastore,
    PostgresFactory,
)
from eventsourcing.utils import Environment, EnvType
from psycopg import Connection, Cursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Composed, Literal

from ledger.database import Database
from ledger.transcoder import event_mapper

EVENTS_TABLE = "ledger_events"

INSERT = SQL("""
    INSERT INTO ledger_events
        (originator_id, originator_version, topic, state, notification_id)
    SELECT id, version, topic, state, head.position + ordinal
    FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::bytea[])
            WITH ORDINALITY AS event (id, version, topic, state, ordinal),
        (SELECT coalesce(max(notification_id), 0) AS position FROM ledger_events) AS head
    ORDER BY ordinal
    RETURNING notification_id
""")


def lock_statement(database: Database) -> Composed:
    """Wait for the append lock of this ledger and hold it until the transaction ends.

    Whoever appends holds it, so positions become visible in order and a reader that follows
    them misses none. It is an advisory lock and not the library's LOCK TABLE, because that
    needs more than the SELECT and INSERT that an application's role should have on events.
    """
    return SQL("SELECT pg_advisory_xact_lock({})").format(Literal(database.lock_key("append")))


class LedgerDatastore(PostgresDatastore):
    """The library's datastore on our connection string, whose parameters it would drop."""

    def __init__(self, database: Database, pool_size: int) -> None:
        parameters = conninfo_to_dict(database.url)
        super().__init__(
            dbname=str(parameters.get("dbname", "")),
            host=str(parameters.get("host", "")),
            port=str(parameters.get("port", "")),
            user=str(parameters.get("user", "")),
            password="",  # the pool below has the real one
            schema=database.schema,
            originator_id_type="text",
        )
        self.database = database
        self.pool = ConnectionPool(
            database.conninfo,
            connection_class=Connection[DictRow],
            kwargs={"row_factory": dict_row},
            min_size=0,
            max_size=pool_size,
            open=False,
            configure=self.after_connect_func(),
            check=ConnectionPool.check_connection,
        )


class LedgerRecorder(PostgresApplicationRecorder):
    """Stores events at dense positions 1, 2, 3 … in commit order."""

    datastore: LedgerDatastore

    def __init__(self, datastore: LedgerDatastore, *, events_table_name: str) -> None:
        super().__init__(datastore, events_table_name=events_table_name)
        self.channel_name = datastore.database.channel("events")
        self.lock_table_statements = [lock_statement(datastore.database)]

    def _insert_stored_events(
        self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent], **_: Any
    ) -> None:
        self._lock_table(curs)
        self._notify_channel(curs)
        insert_events(curs, stored_events)


def insert_events(cursor: Cursor[Any], events: Sequence[StoredEvent]) -> None:
    """Append events at the positions after the newest. The caller holds the append lock."""
    cursor.execute(
        INSERT,
        (
            [event.originator_id for event in events],
            [event.originator_version for event in events],
            [event.topic for event in events],
            [event.state for event in events],
        ),
        prepare=True,
    )


class LedgerFactory(PostgresFactory):
    def __init__(self, env: Environment, database: Database, pool_size: int) -> None:
        # Not PostgresFactory's own, which builds a datastore from POSTGRES_* names.
        BaseInfrastructureFactory.__init__(self, env)
        self.datastore: LedgerDatastore = LedgerDatastore(database, pool_size)

    def application_recorder(self) -> LedgerRecorder:
        return LedgerRecorder(self.datastore, events_table_name=EVENTS_TABLE)


class BookingLedger(Application[str]):
    """The events of one ledger, through the library: repository, mapper, notification log.

    It reads; appending goes through `ledger.writer`, the one door in. Keep a reference to it:
    its pool closes when it is collected.
    """

    name = "ledger"

    def __init__(self, database: Database, *, pool_size: int = 4) -> None:
        self.database = database
        self._pool_size = pool_size
        super().__init__()

    def construct_env(self, name: str, env: EnvType | None = None) -> Environment:
        """Nothing of the process's environment: settings are read in one place, not here."""
        return Environment(name, {"CREATE_TABLE": "n", **(env or {})})

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        return LedgerFactory(env, self.database, self._pool_size)

    def construct_mapper(self) -> Mapper[str]:
        return event_mapper(self.database)
