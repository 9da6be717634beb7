"""Little more than recording over HTTP with a group commit: how far from us a plain one is.

No framework, no keys, no workflow, no history to decide on, nothing sealed, nothing derived. The
body of a request is stored as it came, with its booking, a version and a position, and answered
after the commit; what comes while one commit is under way goes into the next.
"""

import asyncio
import os
from collections import Counter
from typing import Any

import orjson
import psycopg
from starlette.types import Receive, Scope, Send

from benchmarks.servers.constant import serve

TABLE = """
    CREATE TABLE recorded (
        booking_id text, version bigint, state bytea, position bigint UNIQUE,
        PRIMARY KEY (booking_id, version)
    )
"""
INSERT = """
    INSERT INTO recorded (booking_id, version, state, position)
    SELECT id, version, state, %b + ordinality
    FROM unnest(%b::text[], %b::bigint[], %b::bytea[])
        WITH ORDINALITY AS event (id, version, state)
"""


class Recorder:
    def __init__(self) -> None:
        self._versions: Counter[str] = Counter()
        self._waiting: list[tuple[str, int, bytes, asyncio.Future[None]]] = []
        self._come = asyncio.Event()
        self._position = 0

    async def record(self, booking_id: str, state: bytes) -> int:
        """The version, when it is on disk."""
        self._versions[booking_id] = version = self._versions[booking_id] + 1
        recorded = asyncio.get_running_loop().create_future()
        self._waiting.append((booking_id, version, state, recorded))
        self._come.set()
        await recorded
        return version

    async def run(self, url: str) -> None:
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
        await connection.execute(TABLE)
        while True:
            await self._come.wait()
            self._come.clear()
            batch, self._waiting = self._waiting, []
            ids, versions, states, callers = zip(*batch, strict=True)
            given = (self._position, list(ids), list(versions), list(states))
            await connection.execute(INSERT, given, prepare=True)
            self._position += len(batch)
            for caller in callers:
                caller.set_result(None)


class App:
    def __init__(self, url: str) -> None:
        self._url = url
        self._recorder: Recorder | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._live(receive, send)
            return
        assert self._recorder is not None
        state = (await receive())["body"]
        status = orjson.loads(state)["status"]
        booking_id = scope["path"].rpartition("/")[2]
        version = await self._recorder.record(booking_id, state)
        body = orjson.dumps({"id": booking_id, "status": status, "version": version})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._recorder = Recorder()
        running: asyncio.Task[Any] = asyncio.create_task(self._recorder.run(self._url))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        running.cancel()
        await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    serve(App(os.environ["BENCHMARK_DATABASE_URL"]))
