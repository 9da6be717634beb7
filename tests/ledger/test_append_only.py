"""G6: the database itself refuses to change or forget an event, to its owner too."""

import os
from collections.abc import Iterator

import psycopg
import pytest
from loop_reader import reading
from psycopg import sql
from psycopg.conninfo import make_conninfo
from scenes import (
    change_status,
    folded_tables,
    histories,
    import_row,
    importing,
    live_tables,
    open_booking,
    projecting,
    record,
    rows_of,
    stored_events,
    writing,
)
from tests.support.master_key import MASTER_KEY

from ledger.database import Database
from ledger.plan import Idempotency
from ledger.schema import app_role, require_current
from projections.lists import list_bookings, list_history
from projections.queries import (
    Filter,
    Page,
    read_lag,
    wait_until_fresh,
)
from projections.runner import ensure

FORBIDDEN = {
    "UPDATE": "UPDATE ledger_events SET state = state",
    "UPDATE of one": "UPDATE ledger_events SET topic = 'x' WHERE originator_id = 'room-12'",
    "DELETE": "DELETE FROM ledger_events",
    "TRUNCATE": "TRUNCATE ledger_events",
    "TRUNCATE CASCADE": "TRUNCATE ledger_events CASCADE",
    "upsert": """
        INSERT INTO ledger_events SELECT * FROM ledger_events
        ON CONFLICT (originator_id, originator_version) DO UPDATE SET state = 'forged'
    """,
    "MERGE": """
        MERGE INTO ledger_events AS event USING (SELECT 1) AS one ON true
        WHEN MATCHED THEN DELETE
    """,
}


@pytest.mark.parametrize("role", ["origin", "replica", "local"])
def test_g6_not_even_the_owner_can_change_or_delete_events(
    database: Database, connection: psycopg.Connection, role: str
) -> None:
    """Also with session_replication_role = replica, which switches ordinary triggers off."""
    record(database, open_booking("room-12"), change_status("room-12", "confirmed"))
    before = stored_events(connection)
    connection.execute(f"SET session_replication_role = {role}")

    for name, statement in FORBIDDEN.items():
        with pytest.raises(psycopg.errors.RestrictViolation, match="events are immutable"):
            pytest.fail(f"{name} was not refused: {connection.execute(statement).statusmessage}")

    assert stored_events(connection) == before


def test_one_position_can_hold_one_event_only(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"))

    with pytest.raises(psycopg.errors.UniqueViolation, match="notification_id"):
        connection.execute(
            "INSERT INTO ledger_events SELECT 'room-13', 1, topic, state, notification_id"
            " FROM ledger_events"
        )


# --- a login that is only a member of the application's role ----------------------------------


@pytest.fixture
def waiter(database: Database, connection: psycopg.Connection) -> Iterator[Database]:
    name = sql.Identifier(f"waiter_{os.getpid()}")
    connection.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'tip' IN ROLE {}").format(
            name, sql.Identifier(app_role(database.schema))
        )
    )
    url = make_conninfo(database.url, user=f"waiter_{os.getpid()}", password="tip")
    yield Database(url, database.schema, MASTER_KEY)
    connection.execute(sql.SQL("DROP ROLE {}").format(name))


def test_the_application_role_is_enough_to_write_project_and_read(
    waiter: Database, connection: psycopg.Connection
) -> None:
    key = Idempotency("front desk", "k", b"sha")
    require_current(waiter)
    ensure(waiter)
    with projecting(waiter), writing(waiter) as writer, waiter.connect() as own:
        writer.execute([open_booking("room-12"), change_status("room-12", "confirmed")], key)
        with importing(waiter) as imports:
            imports.record(rows_of(import_row("room-13", "completed", 1)))
        writer.execute([open_booking(f"many-{n}") for n in range(150)])
        wait_until_fresh(own)
        writer.execute([change_status("room-12", "cancelled")])
        wait_until_fresh(own)

        assert len(list_history(own, Filter(booking_id="room-12"), Page(10)).rows) == 3
        assert len(list_bookings(own, Filter(status="completed"), Page(10))) == 1
        assert read_lag(own).events == 0
        assert history_length(waiter, "room-12") == 3

    assert histories(connection)["room-12"] == ["pending", "confirmed", "cancelled"]
    assert live_tables(connection) == folded_tables(connection)


def history_length(database: Database, booking_id: str) -> int:
    with reading(database) as reader:
        history = reader.read(booking_id).made
    assert history is not None
    return len(history)


BEYOND_THE_APPLICATION = (
    *FORBIDDEN.values(),
    "ALTER TABLE ledger_events DISABLE TRIGGER ALL",
    "ALTER TABLE ledger_events ADD COLUMN doubt text",
    "DROP TABLE ledger_events",
    "DROP TRIGGER ledger_events_no_truncate ON ledger_events",
    "ALTER FUNCTION ledger_events_refuse_change() RENAME TO allow",
    "SET session_replication_role = replica",
    "CREATE TABLE mine ()",
    "UPDATE idempotency SET answer = 'forged'",
    "DELETE FROM imported_row",
    "DELETE FROM api_key",
    "DELETE FROM projection",
    'TRUNCATE "Booking" CASCADE',
    "UPDATE schema_version SET version_num = '0000'",
)


def test_g6_the_application_role_may_only_append(waiter: Database) -> None:
    with waiter.connect() as own:
        for statement in BEYOND_THE_APPLICATION:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                pytest.fail(f"not refused: {own.execute(statement).statusmessage} {statement}")
