"""A ledger whose connections to the database are cut again and again."""

import random
import time

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
