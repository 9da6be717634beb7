"""A ledger whose connections to the database are cut again and again."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from ledger_processes import (
    Load,
    Processes,
    assert_read_model_equals,
    assert_whole,
    make_fresh,
    new_client,
    read_events,
    together,
)
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.support.master_key import MASTER_KEY

from ledger.database import Database

pytestmark = pytest.mark.acceptance

CUT = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend'
"""


def test_cut_connections_lose_nothing_and_record_nothing_twice(
    database: Database, started: Processes
) -> None:
    """While connections are cut, each answer is 2xx or a clear 503; afterwards everything that
    was acknowledged is there once, and the service goes on by itself."""
    server = started.serve(database)
    server.wait_until("ready")
    rng = random.Random(7)
    with database.connect() as connection:
        with Load("cut", [lambda: server.url] * 8) as load:
            cuts = 0
            while cuts < 20:
                time.sleep(rng.uniform(0.05, 0.3))
                # None is there to be cut for a moment after the cut before.
                cuts += connection.execute(CUT).fetchone() != (0,)
            recorded = len(load.acknowledged)
            time.sleep(0.5)
        assert len(load.acknowledged) > recorded, "it did not go on"
        assert load.unexpected == []
        with server.client() as client:
            make_fresh(client)
            events = read_events(client)
        assert_whole(events)
        load.assert_recorded_in(events)
        assert len(load.acknowledged) > 200
        assert_read_model_equals(connection, events)
        assert server.is_running
        server.wait_until("ready", 20)


def test_reads_survive_cut_connections(database: Database, started: Processes) -> None:
    """Histories, lists and keys are answered soon after a cut as before; an answer in the middle
    of one is a clear 503 at worst. Readiness is back without any new event."""
    server = started.serve(database)
    server.wait_until("ready")
    told: set[tuple[int, str]] = set()
    with server.client() as client, database.connect() as connection:
        made = client.post("/api/keys", json={"name": "of a writer", "role": "writer"})
        client.post("/api/bookings", json={"id": "read"})
        with new_client(server.url, made.json()["secret"]) as keyed:
            # So that the pool has as many connections to lose as it can.
            together(lambda _: [keyed.get("/api/bookings") for _ in range(20)], range(16), 16)
            for _ in range(5):
                connection.execute(CUT)
                for path in (
                    "/api/bookings/read/status-history",
                    "/api/status-history?bookingId=read",
                    "/api/bookings?limit=1",
                    "/api/events?limit=1",
                    "/readyz",
                ):
                    answer = keyed.get(path)
                    kind = "" if answer.is_success else answer.json().get("type", "/readyz")
                    told.add((answer.status_code, kind))
            assert (200, "") in told
            assert told <= {
                (200, ""),
                (503, "/readyz"),
                (503, "/problems/store-unavailable"),
                (503, "/problems/projection-behind"),
            }
            began = time.monotonic()
            for path in ("/api/bookings/read/status-history", "/api/bookings?limit=1"):
                assert keyed.get(path).status_code == 200
            assert time.monotonic() - began < 2
    server.wait_until("ready", 20)


READY_AND_IDLE = b"Z\x00\x00\x00\x05I"
"""How an answer of the server ends outside of a transaction."""


class LosingProxy:
    """Passes connections on to a PostgreSQL. Of every fourth commit of the writer the answer is
    lost, with the connection, after the database has given it."""

    def __init__(self, database: Database) -> None:
        self.lost = 0
        self._commits = 0
        self._server = conninfo_to_dict(database.url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        host, port = self._listener.getsockname()
        self.database = Database(
            make_conninfo(
                database.url, host=host, port=port, sslmode="disable", gssencmode="disable"
            ),
            master_key=MASTER_KEY,
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                losing, idle = threading.Event(), threading.Event()
                for pass_on in (self._pass_questions, self._pass_answers):
                    threading.Thread(
                        target=pass_on, args=(client, server, losing, idle), daemon=True
                    ).start()

    def _connect(self) -> socket.socket:
        host, port = str(self._server["host"]), int(self._server.get("port") or 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _pass_questions(
        self,
        client: socket.socket,
        server: socket.socket,
        losing: threading.Event,
        idle: threading.Event,
    ) -> None:
        writes = False
        with suppress(OSError):
            while data := client.recv(65_536):
                # Once is enough: later it is a prepared statement.
                writes = writes or b"INTO ledger_events" in data
                # Outside of a transaction, a statement that stores events commits them.
                if (writes and b"COMMIT" in data) or (idle.is_set() and b"Booking." in data):
                    self._commits += 1
                    if self._commits % 4 == 0:
                        losing.set()
                server.sendall(data)
        _hang_up(client, server)

    def _pass_answers(
        self,
        client: socket.socket,
        server: socket.socket,
        losing: threading.Event,
        idle: threading.Event,
    ) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if losing.is_set():
                    if data.endswith(READY_AND_IDLE):
                        self.lost += 1
                        break
                    continue
                (idle.set if data.endswith(READY_AND_IDLE) else idle.clear)()
                client.sendall(data)
        _hang_up(client, server)


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@pytest.fixture
def proxy(database: Database) -> Iterator[LosingProxy]:
    proxy = LosingProxy(database)
    yield proxy
    proxy.close()


def test_lost_answers_to_commits_are_found_out(
    database: Database, proxy: LosingProxy, started: Processes
) -> None:
    """When the connection is lost after the commit and before its answer, the writer finds out
    that it was one: callers get the answer that is true, and nothing is recorded twice."""
    server = started.serve(proxy.database)
    server.wait_until("ready")
    with Load("lost", [lambda: server.url] * 4) as load:
        time.sleep(3)
    assert proxy.lost >= 5
    with server.client() as client, database.connect() as connection:
        make_fresh(client)
        events = read_events(client)
        assert_whole(events)
        load.assert_recorded_in(events)
        assert load.doubtful == load.refused == set()
        assert len(load.acknowledged) == len(events) > 20
        assert_read_model_equals(connection, events)
