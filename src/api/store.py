"""Connections for reading the read model, from a bounded pool."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import psycopg
from fastapi import Depends, Request
from psycopg_pool import ConnectionPool, PoolTimeout

from ledger.database import Database
from ledger.errors import StoreUnavailable
from ledger.transcoder import event_mapper

POOL_SIZE_MAX = 8
WAIT_SECONDS = 10.0
STATEMENT_TIMEOUT = "30s"


class Store:
    def __init__(self, database: Database) -> None:
        self.mapper = event_mapper(database)
        self._pool = ConnectionPool(
            database.conninfo,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=POOL_SIZE_MAX,
            timeout=WAIT_SECONDS,
            configure=_configure,
            check=self._check,
            open=True,
        )

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """A connection in autocommit mode. Raises StoreUnavailable."""
        try:
            with self._pool.connection() as connection:
                yield connection
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise StoreUnavailable(f"The database cannot be reached: {error}") from error

    def close(self) -> None:
        self._pool.close()

    def _check(self, connection: psycopg.Connection) -> None:
        try:
            ConnectionPool.check_connection(connection)
        except psycopg.OperationalError:
            # The others are as old and probably lost too. Found one by one, each would be
            # waited for longer than the one before.
            self._pool.drain()
            raise


def _configure(connection: psycopg.Connection) -> None:
    connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")


async def store(request: Request) -> Store:
    found: Store = request.app.state.store
    return found


TheStore = Annotated[Store, Depends(store)]
