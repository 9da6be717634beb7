"""Servers and databases that acceptance tests share where nothing is killed."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from ledger_processes import Processes, Server, processes
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.support.master_key import MASTER_KEY

from ledger.database import Database

_numbers = itertools.count(1)


@pytest.fixture
def started() -> Iterator[Processes]:
    """Starts processes that end with the test."""
    with processes() as running:
        yield running


@pytest.fixture(scope="module")
def module_started() -> Iterator[Processes]:
    with processes() as running:
        yield running


@pytest.fixture(scope="session")
def initialised_dir(_scrubbed_environment: None) -> Iterator[Path]:
    """The data directory of an empty ledger that nobody uses, for copies: initdb takes long."""
    with processes() as running:
        data_dir = running.data_dir()
        done = running.run("migrate", "--data-dir", str(data_dir))
        assert done.returncode == 0, done.stderr
        yield data_dir


@pytest.fixture
def data_dir(started: Processes, initialised_dir: Path) -> Path:
    return started.data_dir(initialised_dir)


@pytest.fixture(scope="module")
def module_database(server_url: str, template: str) -> Iterator[Database]:
    """A fresh ledger for all tests of a module; each has bookings of its own."""
    name = f"ledger_acceptance_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        yield Database(make_conninfo(server_url, dbname=name), master_key=MASTER_KEY)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def pair(module_database: Database, module_started: Processes) -> tuple[Server, Server]:
    """Two server processes on one PostgreSQL, each with a projector. Not to be killed."""
    servers = tuple(module_started.serve(module_database) for _ in range(2))
    for server in servers:
        server.wait_until("ready")
    first, second = servers
    return first, second
