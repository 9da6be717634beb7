"""A real PostgreSQL for every test: one server a session, a fresh database a test."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.support.master_key import MASTER_KEY, MASTER_KEY_TEXT

from api.embedded import embedded_postgres
from ledger.database import Database
from ledger.schema import migrate
from projections.runner import ensure

_numbers = itertools.count(1)
MEMORY = Path("/dev/shm")
MEMORY_ENOUGH = 8 << 30
"""A server takes a tenth of it, and some run at a time."""


@pytest.fixture(autouse=True, scope="session")
def _scrubbed_environment() -> None:
    """What the developer has set must not reach the tests; LEDGER_TEST_* is for them."""
    for name in list(os.environ):
        if name.startswith("LEDGER_") and not name.startswith("LEDGER_TEST_"):
            del os.environ[name]
    os.environ["LEDGER_MASTER_KEY"] = MASTER_KEY_TEXT


@pytest.fixture(scope="session")
def server_url(_scrubbed_environment: None) -> Iterator[str]:
    """A server of the session's own, or the one that LEDGER_TEST_DATABASE_URL names."""
    given = os.environ.get("LEDGER_TEST_DATABASE_URL")
    if given:
        yield given
        return
    # Not under pytest's own directory, which nobody else may pass: as root, the server is another.
    with tempfile.TemporaryDirectory(prefix="ledger-tests-", dir=_in_memory()) as data_dir:
        Path(data_dir).chmod(0o711)
        with embedded_postgres(Path(data_dir)) as url:
            yield url


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """A database with the schema and the empty read model, for copies."""
    name = f"ledger_template_{os.getpid()}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        database = Database(make_conninfo(server_url, dbname=name), master_key=MASTER_KEY)
        migrate(database)
        ensure(database)
        yield name
        _drop(connection, name)


@pytest.fixture
def database(server_url: str, template: str) -> Iterator[Database]:
    """A fresh ledger: schema up to date, no event, no projector running."""
    name = f"ledger_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        yield Database(make_conninfo(server_url, dbname=name), master_key=MASTER_KEY)
        _drop(connection, name)


@pytest.fixture
def empty_database(server_url: str) -> Iterator[Database]:
    """A database without a ledger."""
    name = f"ledger_empty_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield Database(make_conninfo(server_url, dbname=name), master_key=MASTER_KEY)
        _drop(connection, name)


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect() as opened:
        yield opened


def _in_memory() -> Path | None:
    """Thousands of databases come and go. A disk's file system looks longer and longer for places
    that were not given back a moment ago: a tenth of all the time of the tests. What a run that
    was killed left behind (ledger-tests-*) stays in memory until it is removed."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_ENOUGH
    return MEMORY if roomy else None


def _drop(connection: psycopg.Connection, name: str) -> None:
    connection.execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    )
