"""One embedded PostgreSQL for all subjects, a database for each."""

from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ledger.database import Database
from ledger.master_key import MasterKey
from ledger.schema import migrate
from projections.runner import ensure

MASTER_KEY = MasterKey(b"m" * 32)
"""Of all ledgers that are measured, and of the processes that serve them."""


class Databases:
    def __init__(self, url: str) -> None:
        self.url = url
        self._made = 0

    def create(self, template: str | None = None) -> str:
        """A new database, or a copy of one that nobody is connected to; its URL."""
        self._made += 1
        name = f"benchmark_{self._made}"
        given = "" if template is None else f" TEMPLATE {_name(template)} STRATEGY file_copy"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}{given}")
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def checkpoint(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def drop(self, url: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {_name(url)} WITH (FORCE)")

    def ledger(self) -> Database:
        """A new database with an empty ledger."""
        database = Database(self.create(), master_key=MASTER_KEY)
        migrate(database)
        ensure(database)
        return database


def library_environment(url: str) -> dict[str, str]:
    """How the eventsourcing library is told of a database."""
    given = conninfo_to_dict(url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(given["dbname"]),
        "POSTGRES_HOST": str(given["host"]),
        "POSTGRES_PORT": str(given["port"]),
        "POSTGRES_USER": str(given["user"]),
        "POSTGRES_PASSWORD": "",
    }


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")
