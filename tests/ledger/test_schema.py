"""The schema of a ledger: made once, by whoever comes first, and known by its version."""

import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from scenes import open_booking, projecting, record
from tests.support.master_key import MASTER_KEY

from ledger.database import Database
from ledger.errors import SchemaOutdated, StoreUnavailable
from ledger.schema import HEAD, migrate, require_current, schema_version
from projections.queries import wait_until_fresh
from projections.runner import ensure


def tables(database: Database) -> set[str]:
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", (database.schema,)
        )
        return {name for (name,) in rows}


TABLES = {
    *("ledger_events", "idempotency", "imported_row", "api_key", "projection", "schema_version"),
    *("log_key", "log_checkpoint", "log_cosignature", "web_session"),
    *("booking_key", "master_key_check"),
}


def test_an_empty_database_becomes_a_ledger(empty_database: Database) -> None:
    with empty_database.connect() as connection:
        assert schema_version(connection) is None

    assert migrate(empty_database) is True

    assert tables(empty_database) == TABLES
    require_current(empty_database)
    (opened,) = record(empty_database, open_booking("room-12"))
    assert opened.position == 1


def test_migrating_again_does_nothing_and_loses_nothing(database: Database) -> None:
    record(database, open_booking("room-12"))

    assert migrate(database) is False

    (opened,) = record(database, open_booking("room-13"))
    assert opened.position == 2


def test_of_four_that_migrate_at_once_one_does(empty_database: Database) -> None:
    start = threading.Barrier(4)

    def begin(_: int) -> bool:
        start.wait(20)
        return migrate(empty_database)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(begin, range(4)))

    assert sorted(done) == [False, False, False, True]
    assert tables(empty_database) == TABLES


def test_of_four_that_set_up_the_read_model_at_once_one_does(empty_database: Database) -> None:
    migrate(empty_database)
    start = threading.Barrier(4)

    def begin(_: int) -> None:
        start.wait(20)
        ensure(empty_database)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))

    derived = {"Booking", "BookingStatusHistory", "flow_day", "log_tile", "log_latest"}
    assert tables(empty_database) == TABLES | derived


def test_head_is_the_newest_migration() -> None:
    versions = files("ledger") / "migrations" / "versions"
    numbers = sorted(path.name[:4] for path in versions.iterdir() if path.name[:4].isdigit())

    assert numbers[-1] == HEAD
    assert sorted(set(numbers)) == [f"{n + 1:04}" for n in range(len(set(numbers)))]


def test_each_migration_has_its_sql_beside_it() -> None:
    versions = files("ledger") / "migrations" / "versions"
    names = {path.name for path in versions.iterdir()}

    scripts = {name for name in names if name.endswith(".py")}
    assert {name.replace(".py", ".sql") for name in scripts} <= names


def test_a_newer_schema_is_refused(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("UPDATE schema_version SET version_num = '9999'")

    with pytest.raises(SchemaOutdated, match=r"9999.*newer"):
        migrate(database)
    with pytest.raises(SchemaOutdated, match="9999"):
        require_current(database)


def test_a_database_without_a_ledger_is_not_current(empty_database: Database) -> None:
    with pytest.raises(SchemaOutdated, match=r"version none.*booking-ledger migrate"):
        require_current(empty_database)


def test_a_database_that_is_away_is_said_to_be() -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/nowhere")

    with pytest.raises(StoreUnavailable):
        migrate(away)
    with pytest.raises(StoreUnavailable):
        require_current(away)


@pytest.mark.parametrize("name", ["", "Ledger", "2nd", "a-b", "a;b", 'a"b', "ä", "s" * 49])
def test_a_schema_name_that_needs_quotes_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="schema"):
        Database("postgresql:///", name)


@pytest.mark.parametrize("name", ["user", "select", "_", "s" * 48])
def test_any_plain_name_can_be_a_ledger(
    empty_database: Database, name: str, request: pytest.FixtureRequest
) -> None:
    """Key words of SQL too, and the longest one with all that is made from it."""
    database = Database(empty_database.url, name, MASTER_KEY)
    request.addfinalizer(lambda: drop_roles(database))

    migrate(database)
    ensure(database)
    record(database, open_booking("room-12"))

    with projecting(database), database.connect() as connection:
        assert wait_until_fresh(connection) == 1


def test_text_in_a_connection_string_is_kept(empty_database: Database) -> None:
    url = make_conninfo(
        empty_database.url, application_name="night audit", options="-c statement_timeout=4321"
    )
    with Database(url).connect() as connection:
        shown = [
            connection.execute(f"SHOW {name}").fetchone()
            for name in (
                "application_name",
                "statement_timeout",
                "search_path",
                "timezone",
                "default_transaction_isolation",
            )
        ]

    assert shown == [("night audit",), ("4321ms",), ("ledger",), ("UTC",), ("read committed",)]


# --- an owner who may not make roles ----------------------------------------------------------


@pytest.fixture
def plain(empty_database: Database) -> Iterator[Database]:
    """A ledger-to-be whose owner is an ordinary login with a schema of its own."""
    name = f"plain_{os.getpid()}"
    with empty_database.connect() as connection:
        connection.execute(
            sql.SQL(
                "CREATE ROLE {name} LOGIN PASSWORD 'tip'; CREATE SCHEMA {name} AUTHORIZATION {name}"
            ).format(name=sql.Identifier(name))
        )
        url = make_conninfo(empty_database.url, user=name, password="tip")
        yield Database(url, name, MASTER_KEY)
        connection.execute(
            sql.SQL("DROP OWNED BY {name} CASCADE; DROP ROLE {name}").format(
                name=sql.Identifier(name)
            )
        )


def test_an_owner_who_may_not_make_roles_has_a_ledger_all_the_same(
    plain: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ledger.schema"):
        assert migrate(plain) is True
    assert "may not create roles" in caplog.text

    ensure(plain)
    record(plain, open_booking("room-12"))
    with projecting(plain), plain.connect() as connection:
        assert wait_until_fresh(connection) == 1


def drop_roles(database: Database) -> None:
    """They belong to the server and would outlive the database."""
    with database.connect() as connection:
        for role in (f"{database.schema}_app", f"{database.schema}_analyst"):
            connection.execute(
                sql.SQL("DROP OWNED BY {role}; DROP ROLE {role}").format(role=sql.Identifier(role))
            )


def test_grants_are_made_in_the_transaction_of_the_schema(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it ends between the two, the next start does both."""

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ledger.schema._grant", dies)
        with pytest.raises(KeyboardInterrupt):
            migrate(empty_database)

    assert migrate(empty_database)
    with empty_database.connect() as connection:
        granted = connection.execute(
            "SELECT has_table_privilege('ledger_app', 'ledger_events', 'INSERT')"
        ).fetchone()
    assert granted == (True,)


def test_a_ledger_of_the_format_before_is_refused_with_what_to_do(
    empty_database: Database,
) -> None:
    migrate(empty_database)
    with empty_database.connect() as connection:
        connection.execute("DROP TABLE booking_key, master_key_check")
        connection.execute("ALTER TABLE idempotency RENAME request_hmac TO request_sha256")
        connection.execute("UPDATE schema_version SET version_num = '0003'")
        connection.execute("INSERT INTO ledger_events VALUES ('a', 1, 'Booking.Created', '{}', 1)")

    with pytest.raises(SchemaOutdated, match=r"export its history .* into a new ledger"):
        migrate(empty_database)

    with empty_database.connect() as connection:
        assert schema_version(connection) == "0003"
