"""FastAPI answering the constant after one plain INSERT, committed.

The goal for one client adds an INSERT and a constant answer that are measured apart, each over and
over. This does both in one process, one after the other, and nothing else.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import psycopg
from fastapi import FastAPI

from benchmarks.servers.constant import serve

TABLE = "CREATE TABLE event (id bigint PRIMARY KEY, state bytea)"
INSERT = "INSERT INTO event VALUES (%s, %s)"
STATE = b"x" * 380  # about what an event is stored in


def inserting(url: str) -> FastAPI:
    @asynccontextmanager
    async def connected(app: FastAPI) -> AsyncIterator[None]:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(TABLE)
            app.state.connection = connection
            yield

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=connected)
    ids = count()

    @app.get("/")
    async def insert() -> dict[str, int]:
        await app.state.connection.execute(INSERT, (next(ids), STATE))
        return {"a": 1}

    return app


if __name__ == "__main__":
    serve(inserting(os.environ["BENCHMARK_DATABASE_URL"]))
