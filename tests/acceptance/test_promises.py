"""The ten promises of the ledger, each tried from outside on real processes."""

import base64
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from ledger_processes import (
    HISTORY_ROWS,
    Ended,
    Load,
    Processes,
    Raced,
    Running,
    Server,
    assert_chain,
    assert_read_model_equals,
    assert_whole,
    database_processes,
    kill_all,
    make_fresh,
    new_client,
    open_bookings,
    race,
    read_events,
    read_history,
    together,
    wait_for,
    wait_until_gone,
)
from ledger_service import ADMIN_KEY

from ledger.database import Database
from projections.rows import history_id

pytestmark = pytest.mark.acceptance

Pair = tuple[Server, Server]

LONG = os.environ.get("LEDGER_TEST_LONG") == "1"
ROLES = ("reader", "analyst", "auditor", "writer", "admin")
HEALTH = {"/healthz", "/readyz", "/metrics"}


# --- G1 ---------------------------------------------------------------------------------------


def test_g1_durable_after_sigkill_of_server_projector_and_database(
    started: Processes, data_dir: Path
) -> None:
    """A 2xx answer means the event is committed to disk; killing any process with SIGKILL right
    after loses nothing."""
    loads: list[Load] = []
    for number in range(3):
        server = started.serve(data_dir)
        server.wait_until("ready")
        _assert_nothing_lost(server, loads)
        with Load(f"round-{number}", [lambda url=server.url: url] * 16) as load:
            time.sleep(2)
            database = database_processes(data_dir)
            victims = [*server.family(), *database]
            os.kill(server.pid, signal.SIGKILL)
            kill_all(victims)
            server.kill()
        loads.append(load)
        assert len(database) > 10
        assert len(load.acknowledged) > 100
    server = started.serve(data_dir)
    server.wait_until("ready")
    _assert_nothing_lost(server, loads)


def _assert_nothing_lost(server: Server, loads: Sequence[Load]) -> None:
    with server.client() as client, Database(server.database_url).connect() as connection:
        events = read_events(client)
        assert_whole(events)
        for load in loads:
            load.assert_recorded_in(events)
            for acknowledged in load.acknowledged[-50:]:
                entry = read_history(client, acknowledged.booking_id)[acknowledged.version - 1]
                assert entry["toStatus"] == acknowledged.status
        make_fresh(client)
        assert_read_model_equals(connection, events)


# --- G2 ---------------------------------------------------------------------------------------

ANY_CHANGE = """
name = "any change"
statuses = ["pending", "confirmed", "in_progress", "cancelled"]
initial = "pending"
"""


def _conflicting(rng: random.Random) -> list[str]:
    return rng.choices(("confirmed", "cancelled", "in_progress"), k=4)


def test_g2_true_in_a_race_of_two_servers(pair: Pair) -> None:
    """A booking's history is one unbroken chain: the first entry comes from nothing, each next
    `fromStatus` equals the previous `toStatus`, versions 1..n; under any concurrency, retries,
    several processes."""
    booking_ids = [f"race-{number}" for number in range(300)]
    with pair[0].client() as client:
        open_bookings(client, booking_ids)
        raced = race([server.url for server in pair], booking_ids, _conflicting)
        kinds = _assert_histories_are_the_answers(client, raced)
    assert len(raced) == 1_200
    # The race was one: some changes came second, and were told so.
    assert kinds["changed"] > 300
    assert kinds["refused"] > 100


def test_g2_true_where_any_change_is_allowed(
    database: Database, started: Processes, tmp_path: Path
) -> None:
    """The same where no transition is refused, so that nearly every change of the race counts."""
    workflow = tmp_path / "any.toml"
    workflow.write_text(ANY_CHANGE)
    servers = [started.serve(database, "--workflow", str(workflow)) for _ in range(2)]
    booking_ids = [f"free-{number}" for number in range(100)]
    with new_client(servers[0].url) as client:
        open_bookings(client, booking_ids)
        raced = race([server.url for server in servers], booking_ids, _conflicting)
        kinds = _assert_histories_are_the_answers(client, raced)
    assert kinds["refused"] == 0
    assert kinds["changed"] > 200


def _assert_histories_are_the_answers(client: httpx.Client, raced: Sequence[Raced]) -> Counter[str]:
    """Each history has exactly the entries whose answers said `changed`, and no others."""
    kinds: Counter[str] = Counter()
    for booking_id in {one.booking_id for one in raced}:
        history = read_history(client, booking_id)
        assert_chain(history)
        expected = {(1, "pending")}
        for one in (one for one in raced if one.booking_id == booking_id):
            document = one.answer.json()
            if one.answer.status_code == 409:
                kinds["refused"] += 1
                assert document["to"] == one.status
                assert document["from"] in {entry["toStatus"] for entry in history}
                continue
            assert one.answer.status_code == 200, one.answer.text
            assert document["status"] == one.status
            assert one.answer.headers["ETag"] == f'"v{document["version"]}"'
            kinds["changed" if document["changed"] else "unchanged"] += 1
            if document["changed"]:
                entry = (document["version"], document["status"])
                assert entry not in expected, "two answers say that they made the same change"
                expected.add(entry)
            else:
                assert history[document["version"] - 1]["toStatus"] == one.status
        assert {(entry["version"], entry["toStatus"]) for entry in history} == expected
    return kinds


def test_g2_true_with_if_match(pair: Pair) -> None:
    """Of several changes of the same version at once, one is recorded; the others get 412."""
    booking_ids = [f"match-{number}" for number in range(100)]
    with pair[1].client() as client:
        open_bookings(client, booking_ids)
        raced = race(
            [server.url for server in pair],
            booking_ids,
            lambda rng: rng.choices(("confirmed", "cancelled"), k=4),
            {"If-Match": '"v1"'},
        )
        for booking_id in booking_ids:
            answers = [one for one in raced if one.booking_id == booking_id]
            assert sorted(one.answer.status_code for one in answers) == [200, 412, 412, 412]
            (won,) = [one for one in answers if one.answer.status_code == 200]
            assert [entry["toStatus"] for entry in read_history(client, booking_id)] == [
                "pending",
                won.status,
            ]
            for lost in (one.answer.json() for one in answers if one is not won):
                assert (lost["currentVersion"], lost["currentStatus"]) == (2, won.status)


# --- G3 ---------------------------------------------------------------------------------------


def test_g3_once_however_often_it_is_sent(pair: Pair) -> None:
    """The same `Idempotency-Key` with the same request records one event however often it is
    sent and gives the same answer; with another request it is refused."""
    with pair[0].client() as client:
        for number in range(5):
            opened = _send_at_once(pair, f"open-{number}", "POST", "/api/bookings", {})
            booking_id = opened.json()["id"]
            assert opened.status_code == 201
            assert len(read_history(client, booking_id)) == 1

            path = f"/api/bookings/{booking_id}"
            changed = _send_at_once(
                pair, f"change-{number}", "PATCH", path, {"status": "confirmed", "reason": "paid"}
            )
            assert changed.json()["changed"] is True
            assert len(read_history(client, booking_id)) == 2

            for other in ({"status": "cancelled"}, {"status": "confirmed", "reason": "else"}):
                refused = client.patch(
                    path, json=other, headers={"Idempotency-Key": f"change-{number}"}
                )
                assert refused.status_code == 422
                assert refused.json()["type"] == "/problems/idempotency-key-reused"
            assert len(read_history(client, booking_id)) == 2


def _send_at_once(
    pair: Pair, key: str, method: str, path: str, body: dict[str, Any]
) -> httpx.Response:
    """Send a request 20 times, half to each server; the answer, which all of them got."""
    barrier = threading.Barrier(20, timeout=60)

    def send(number: int) -> httpx.Response:
        with pair[number % 2].client() as client:
            barrier.wait()
            return client.request(method, path, json=body, headers={"Idempotency-Key": key})

    answers = together(send, range(20), 20)
    told = {
        (
            answer.status_code,
            answer.content,
            *(answer.headers.get(name) for name in ("ETag", "Ledger-Position", "Location")),
        )
        for answer in answers
    }
    assert len(told) == 1, told
    return answers[0]


def test_g3_once_when_the_server_is_killed_and_clients_retry(
    database: Database, started: Processes
) -> None:
    """Clients that send their keys again until they are answered get each recorded once, though
    the server is killed under them."""
    servers = [started.serve(database)]
    servers[0].wait_until("ready")
    answered: list[tuple[str, httpx.Response]] = []
    resent: list[str] = []
    stop = threading.Event()

    def client_of(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            key = f"key-{number}-{count}"
            answered.append((key, _insist(servers, key, resent)))

    threads = [threading.Thread(target=client_of, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        time.sleep(0.7)
        servers[-1].kill()
        servers.append(started.serve(database))
    servers[-1].wait_until("ready")
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()

    assert len(answered) > 50
    assert len(resent) >= 2, "no request was under way when its server was killed"
    with servers[-1].client() as client:
        events = read_events(client)
        assert_whole(events)
        recorded = Counter(one["changedBy"] for one in events)
        assert recorded == Counter(key for key, _ in answered)
        ids = {one["changedBy"]: one["bookingId"] for one in events}
        assert {key: answer.json()["id"] for key, answer in answered} == ids


def _insist(servers: Sequence[Server], key: str, resent: list[str]) -> httpx.Response:
    """Open a booking whose id the ledger makes, so that a second recording would show."""
    while True:
        try:
            with new_client(servers[-1].url) as client:
                answer = client.post(
                    "/api/bookings", json={"changedBy": key}, headers={"Idempotency-Key": key}
                )
        except (httpx.ConnectError, Ended):
            time.sleep(0.05)
        except httpx.TransportError:
            resent.append(key)
        else:
            if answer.status_code == 201:
                return answer
            assert answer.status_code == 503, answer.text


# --- G4 ---------------------------------------------------------------------------------------

# In one statement, so of one moment: what the table holds is exactly the events up to the
# position that it claims.
PREFIX = """
    SELECT position, (SELECT count(*) FROM "BookingStatusHistory"),
        (SELECT coalesce(max(position), 0) FROM "BookingStatusHistory"),
        (SELECT coalesce(sum(version), 0) FROM "Booking")
    FROM projection WHERE name = 'status_history'
"""
ACTIVE_PROJECTOR = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) | objid::bigint = %s
"""


def test_g4_complete_with_writers_and_projectors_killed(
    database: Database, started: Processes
) -> None:
    """Every event reaches every projection exactly once and in order, with concurrent writers in
    several processes and with the projector killed at any point."""
    servers: list[Server] = [started.serve(database) for _ in range(2)]
    projectors = [started.project(database) for _ in range(2)]
    for server in servers:
        server.wait_until("ready")
    rng = random.Random(4)
    kills: Counter[str] = Counter()
    prefixes: set[tuple[int, ...]] = set()
    active: set[tuple[int]] = set()
    projector_lock = (database.lock_key("projector"),)
    addresses = [lambda number=number: servers[number % 2].url for number in range(6)]
    deadline = time.monotonic() + (60 if LONG else 12)
    latest = deadline + 60  # on a slow machine a projector takes long to come back
    with Load("killed", addresses) as load, database.connect() as connection:
        while (now := time.monotonic()) < deadline or (
            now < latest and (len(active) <= 3 or len(prefixes) <= 30)
        ):
            kills[_kill_and_replace(rng, database, started, servers, projectors)] += 1
            pause_until = time.monotonic() + rng.uniform(0.1, 0.9)
            while time.monotonic() < pause_until:
                prefixes.update(connection.execute(PREFIX))
                active.update(connection.execute(ACTIVE_PROJECTOR, projector_lock))
                time.sleep(0.02)
        load.stop()

        assert len(kills) == 3, kills
        assert len(active) > 3, "the active projector was hardly ever killed"
        assert len(prefixes) > 30, "the read model stood still"
        assert {one for one in prefixes if len(set(one)) != 1} == set()
        with servers[0].client() as client:
            make_fresh(client)
            events = read_events(client)
        assert_whole(events)
        assert len(load.acknowledged) > 500
        load.assert_recorded_in(events)
        assert_read_model_equals(connection, events)
        for one in events:
            assert one["id"] == history_id(one["bookingId"], one["version"], one["position"])
    verified = started.run("verify", "--database-url", database.url)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _kill_and_replace(
    rng: random.Random,
    database: Database,
    started: Processes,
    servers: list[Server],
    projectors: list[Running],
) -> str:
    which = rng.randrange(2)
    kind = rng.choice(("server", "projector", "projector", "child"))
    if kind == "server":
        servers[which].kill()
        servers[which] = started.serve(database)
    elif kind == "projector":
        projectors[which].kill()
        projectors[which] = started.project(database)
    else:
        # Its server starts it again, ever more slowly.
        kill_all(servers[which].projectors())
    return kind


# --- G5 ---------------------------------------------------------------------------------------


def test_g5_fresh_through_another_server(pair: Pair) -> None:
    """Whoever has got an answer to a write sees that write in the next read, with no token and no
    sleep."""
    first, second = pair

    def write_and_read(number: int) -> None:
        with first.client() as writing, second.client() as reading:
            for count in range(number, 300, 8):
                _assert_seen_at_once(writing, reading, f"fresh-{count}")

    with Load("background", [lambda: first.url, lambda: second.url]) as load:
        together(write_and_read, range(8))
    assert load.unexpected == []
    assert len(load.acknowledged) > 20


def _assert_seen_at_once(writing: httpx.Client, reading: httpx.Client, booking_id: str) -> None:
    opened = writing.post("/api/bookings", json={"id": booking_id, "changedBy": booking_id})
    assert opened.status_code == 201, opened.text
    changed = writing.patch(f"/api/bookings/{booking_id}", json={"status": "confirmed"})
    assert changed.json()["changed"] is True, changed.text

    rows = reading.get("/api/status-history", params={"bookingId": booking_id, "order": "asc"})
    assert rows.status_code == 200, rows.text
    assert [row["toStatus"] for row in rows.json()["history"]] == ["pending", "confirmed"]
    assert int(rows.headers["Ledger-Position"]) >= int(changed.headers["Ledger-Position"])
    filtered = reading.get("/api/status-history", params={"changedBy": booking_id})
    assert [row["bookingId"] for row in filtered.json()["history"]] == [booking_id]
    assert [entry["version"] for entry in read_history(reading, booking_id)] == [1, 2]
    since = changed.json()["updatedAt"]
    listed = reading.get("/api/bookings", params={"since": since, "order": "asc", "limit": 500})
    assert listed.status_code == 200, listed.text
    found = {booking["id"]: booking["version"] for booking in listed.json()["bookings"]}
    assert found.get(booking_id) == 2
    assert reading.get(f"/api/bookings/{booking_id}").json()["status"] == "confirmed"


# --- G6 ---------------------------------------------------------------------------------------

ALTERATIONS = [
    "UPDATE ledger_events SET state = state",
    "UPDATE ledger_events SET notification_id = notification_id + 1000000",
    "UPDATE ledger_events SET originator_version = 1 WHERE originator_id = 'immutable'",
    "DELETE FROM ledger_events",
    "DELETE FROM ledger_events WHERE originator_id = 'immutable'",
    "TRUNCATE ledger_events",
    "TRUNCATE ledger_events RESTART IDENTITY CASCADE",
    "SET session_replication_role = replica; DELETE FROM ledger_events",
    "SET session_replication_role = replica; TRUNCATE ledger_events",
    """INSERT INTO ledger_events SELECT * FROM ledger_events
        ON CONFLICT (originator_id, originator_version) DO UPDATE SET state = ''""",
    """MERGE INTO ledger_events AS event USING (VALUES ('immutable')) AS named (id)
        ON event.originator_id = named.id WHEN MATCHED THEN DELETE""",
    "WITH gone AS (DELETE FROM ledger_events RETURNING 1) SELECT count(*) FROM gone",
    "INSERT INTO ledger_events SELECT * FROM ledger_events",
]
EVENTS_DIGEST = """
    SELECT count(*), md5(string_agg(event::text, ',' ORDER BY notification_id))
    FROM ledger_events AS event
"""
COMMANDS = {
    *("serve", "project", "migrate", "import", "export", "history", "replay"),
    *("verify", "checkpoint", "log", "evidence", "verify-evidence", "rebuild", "keys"),
    *("erase", "hold", "release"),
}


def test_g6_immutable_to_the_owner_and_everybody(pair: Pair, module_database: Database) -> None:
    """The database itself refuses UPDATE, DELETE and TRUNCATE on events, to the owner too; no
    endpoint or command offers it."""
    with pair[0].client() as client:
        open_bookings(client, ["immutable"])
        with module_database.connect() as connection:
            (owns,) = connection.execute(
                "SELECT pg_get_userbyid(relowner) = current_user FROM pg_class"
                " WHERE oid = 'ledger_events'::regclass"
            ).fetchone() or (None,)
            assert owns is True
            before = connection.execute(EVENTS_DIGEST).fetchone()
            assert before is not None
            assert before[0] > 0
        immutable = "/api/bookings/immutable"
        client.patch(immutable, json={"status": "confirmed", "reason": "to be erased"})
        with module_database.connect() as connection:
            before = connection.execute(EVENTS_DIGEST).fetchone()
        erased = client.delete(f"{immutable}/personal-data", params={"reason": "request"})
        assert erased.json()["changed"] is True
        with module_database.connect() as connection:
            all_but_the_erasure = connection.execute(
                f"{EVENTS_DIGEST} WHERE topic <> 'PersonalData.Erased'"
            ).fetchone()
            assert all_but_the_erasure == before
            before = connection.execute(EVENTS_DIGEST).fetchone()
        for statement in ALTERATIONS:
            with module_database.connect() as connection, pytest.raises(psycopg.Error) as refused:
                connection.execute(statement.encode())
            assert isinstance(
                refused.value, psycopg.errors.RestrictViolation | psycopg.errors.UniqueViolation
            ), statement
        _assert_no_call_alters(client)
        with module_database.connect() as connection:
            assert connection.execute(EVENTS_DIGEST).fetchone() == before


def _assert_no_call_alters(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert len(paths) > 10
    offered = {(method, path) for path, operations in paths.items() for method in operations}
    reading = {"get", "head", "options"}
    assert {one for one in offered if one[0] not in reading} == {
        ("post", "/api/bookings"),
        ("patch", "/api/bookings/{booking_id}"),
        ("post", "/api/status-changes"),
        ("post", "/api/keys"),
        ("delete", "/api/keys/{key_id}"),
        # What these delete are keys: events stay as they are, byte for byte.
        ("delete", "/api/bookings/{booking_id}/personal-data"),
        ("put", "/api/bookings/{booking_id}/hold"),
        ("delete", "/api/bookings/{booking_id}/hold"),
    }
    for path in ("/api/bookings/immutable", "/api/bookings/immutable/status-history"):
        for method in ("PUT", "DELETE"):
            assert client.request(method, path).status_code == 405
    for method in ("PUT", "PATCH", "DELETE", "POST"):
        assert client.request(method, "/api/events").status_code == 405


def test_g6_immutable_on_the_command_line(started: Processes) -> None:
    """No command changes or deletes what was recorded."""
    text = started.run("--help").stdout
    listed = {line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line}

    assert {"serve", "verify", "rebuild"} <= listed <= COMMANDS


# --- G7 ---------------------------------------------------------------------------------------


def test_g7_rebuildable_while_it_answers(database: Database, started: Processes) -> None:
    """A projection that is dropped and rebuilt gives the same rows, ids included, while the
    service goes on answering."""
    server = started.serve(database)
    booking_ids = [f"rebuilt-{number}" for number in range(5_000)]
    with server.client() as client, database.connect() as connection:
        open_bookings(client, booking_ids)
        client.patch("/api/bookings/rebuilt-1", json={"status": "confirmed", "changedBy": "before"})
        make_fresh(client)
        before = _rows(connection)
        assert len(before) == 5_001

        failed: list[str] = []
        stop = threading.Event()
        reader = threading.Thread(target=_read_until, args=(server.url, stop, failed))
        with Load("meanwhile", [lambda: server.url] * 2) as load:
            reader.start()
            for _ in range(2):
                recorded = len(load.acknowledged)
                _assert_rebuilds(started, database)
                assert len(load.acknowledged) > recorded, "nothing was written meanwhile"
            stop.set()
            reader.join()
        assert failed == []
        assert load.unexpected == []
        assert load.refused == load.doubtful == set()
        make_fresh(client)
        after = _rows(connection)
        assert after[: len(before)] == before
        events = read_events(client)
        load.assert_recorded_in(events)
        assert_read_model_equals(connection, events)

        connection.execute('DROP TABLE "BookingStatusHistory" CASCADE')
        _assert_rebuilds(started, database)
        assert _rows(connection) == after
        assert client.post("/api/bookings", json={"id": "after"}).status_code == 201
        make_fresh(client)
        assert_read_model_equals(connection, read_events(client))
        views = connection.execute("SELECT count(*) FROM booking_status_history").fetchone()
        assert views == (len(after) + 1,)


def _rows(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(HISTORY_ROWS).fetchall()


def _assert_rebuilds(started: Processes, database: Database) -> None:
    done = started.run("rebuild", "--database-url", database.url, "--json", seconds=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["events"] > 5_000


def _read_until(url: str, stop: threading.Event, failed: list[str]) -> None:
    """Read without a pause; whatever is not what it was before goes into `failed`."""
    expected = {
        "/api/bookings?status=confirmed&limit=10&order=asc": ("bookings", "rebuilt-1"),
        "/api/status-history?changedBy=before": ("history", "rebuilt-1"),
        "/api/bookings/rebuilt-1/status-history": ("history", "pending"),
    }
    with new_client(url) as client:
        while not stop.is_set():
            for path, (member, wanted) in expected.items():
                answer = client.get(path)
                if answer.status_code != 200 or wanted not in json.dumps(answer.json()[member]):
                    failed.append(f"{path}: {answer.status_code} {answer.text}")


# --- G8 ---------------------------------------------------------------------------------------


def test_g8_independent_of_a_broken_projection(database: Database, started: Processes) -> None:
    """A broken or stopped projection never fails a write; it catches up later, and health says so
    meanwhile."""
    server = started.serve(database)
    server.wait_until("ready")
    with server.client() as client, database.connect() as connection:
        open_bookings(client, ["before"])
        make_fresh(client)
        first = server.projector()
        connection.execute('ALTER TABLE "BookingStatusHistory" RENAME COLUMN "toStatus" TO renamed')
        for number in range(10):
            opened = client.post("/api/bookings", json={"id": f"broken-{number}"})
            assert opened.status_code == 201, opened.text
            changed = client.patch(f"/api/bookings/broken-{number}", json={"status": "confirmed"})
            assert changed.status_code == 200, changed.text
            assert len(read_history(client, f"broken-{number}")) == 2
        degraded = server.wait_until("degraded", 5)
        projection = degraded["projections"]["status_history"]
        assert "toStatus" in projection["failure"]["message"]
        assert projection["position"] < degraded["head"]
        assert "\nledger_projection_failed 1.0" in client.get("/metrics").text
        wait_until_gone([first], 5)
        behind = client.get("/api/status-history")
        assert behind.status_code == 503, behind.text
        assert behind.json()["type"] == "/problems/projection-behind"

        connection.execute('ALTER TABLE "BookingStatusHistory" RENAME COLUMN renamed TO "toStatus"')
        ready = server.wait_until("ready", 30)
        assert ready["projections"]["status_history"]["failure"] is None
        assert server.projector().pid != first.pid
        assert client.get("/api/status-history").status_code == 200
        assert_read_model_equals(connection, read_events(client))


def test_g8_independent_of_a_stopped_projection(database: Database, started: Processes) -> None:
    """Without a projector writes are recorded and histories answered; one that is started
    catches up."""
    server = started.serve(database, "--no-projector")
    with server.client() as client, database.connect() as connection:
        booking_ids = [f"unprojected-{number}" for number in range(50)]
        open_bookings(client, booking_ids)
        assert [len(read_history(client, one)) for one in booking_ids] == [1] * 50
        assert connection.execute('SELECT count(*) FROM "Booking"').fetchone() == (0,)
        started.project(database)
        make_fresh(client)
        assert_read_model_equals(connection, read_events(client))


# --- G9 ---------------------------------------------------------------------------------------


def test_g9_closed_without_a_key(pair: Pair) -> None:
    """Nothing but health answers without a key; each key does only what its role allows; keys are
    stored hashed."""
    with pair[0].client() as client:
        calls = _calls(client)
    with pair[0].client(None) as nobody, pair[0].client("bl_" + "x" * 43) as guessing:
        for stranger in (nobody, guessing):
            for method, path, body in calls:
                answer = stranger.request(method, path, json=body)
                if path in HEALTH:
                    assert answer.status_code == 200
                    continue
                assert answer.status_code == 401, (method, path)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert answer.json()["type"] == "/problems/unauthorized"
            for path in ("/", "/openapi.json", "/docs", "/api", "/bookings/1", "/problems/busy"):
                assert stranger.get(path).status_code == 401, path


def test_g9_closed_to_lesser_roles(pair: Pair) -> None:
    """Each key does only what its role allows, and OpenAPI says where it is refused."""
    with pair[0].client() as client:
        calls = _calls(client)
        paths = client.get("/openapi.json").json()["paths"]
        for path, operations in paths.items():
            for operation in operations.values():
                assert path in HEALTH or {"401", "403"} <= set(operation["responses"]), path
        secrets = {role: _make_key(client, role)["secret"] for role in ROLES}
    for role, secret in secrets.items():
        with pair[1].client(secret) as client:
            for method, path, body in calls:
                with client.stream(method, path, json=body) as answer:
                    refused = answer.status_code == 403
                    assert answer.status_code not in (401, 500), (method, path)
                    if refused:
                        problem = json.loads(answer.read())
                        assert problem["type"] == "/problems/forbidden"
                        assert role not in problem["allowedRoles"]
                assert refused == (role not in _allowed(method, path)), (role, method, path)


def test_g9_closed_since_secrets_are_hashed_and_revoked_everywhere(
    pair: Pair, module_database: Database
) -> None:
    """No table holds a secret; a revoked key is refused by every process at once."""
    with pair[0].client() as admin:
        key = _make_key(admin, "writer")
        with pair[0].client(key["secret"]) as first, pair[1].client(key["secret"]) as second:
            clients = (first, second)
            for client in clients:
                for count in range(3):
                    opened = client.post("/api/bookings", headers={"Idempotency-Key": f"{count}"})
                    assert opened.status_code == 422
                    assert client.get("/api/bookings?limit=1").status_code == 200
            _assert_secretless(module_database, [key["secret"], ADMIN_KEY])
            assert admin.delete(f"/api/keys/{key['id']}").status_code == 200
            revoked_at = time.monotonic()
            for client in clients:
                wait_for(
                    lambda client=client: client.get("/api/bookings?limit=1").status_code == 401,
                    "the key to be refused",
                    1,
                )
            assert time.monotonic() - revoked_at < 1
            for client in clients:
                for _ in range(5):
                    assert client.post("/api/bookings", json={}).status_code == 401


def _calls(client: httpx.Client) -> list[tuple[str, str, dict[str, Any] | None]]:
    """A call of everything that OpenAPI has, which alters nothing that others look at."""
    calls: list[tuple[str, str, dict[str, Any] | None]] = []
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        filled = path.replace("{booking_id}", "nobody").replace("{key_id}", "none")
        filled = filled.replace("{level}", "0").replace("{number}", "000.p/1")
        assert "{" not in filled, path
        calls += [
            (method.upper(), filled, None if method == "get" else {}) for method in operations
        ]
    assert len(calls) > 12
    return calls


def _allowed(method: str, path: str) -> set[str]:
    if path.startswith("/api/keys"):
        return {"admin"}
    if path.endswith(("/personal-data", "/hold")) and method != "GET":
        return {"admin"}
    return {"writer", "admin"} if method != "GET" else set(ROLES)


def _make_key(client: httpx.Client, role: str) -> dict[str, str]:
    made = client.post("/api/keys", json={"name": f"the {role}", "role": role})
    assert made.status_code == 201, made.text
    key: dict[str, str] = made.json()
    return key


def _assert_secretless(database: Database, secrets: Sequence[str]) -> None:
    """No row of any table has a secret in it, as text, as bytes or in base 64."""
    with database.connect() as connection:
        names = connection.execute(
            "SELECT format('%I', relname) FROM pg_class"
            " WHERE relkind IN ('r', 'm') AND relnamespace = current_schema()::regnamespace"
        ).fetchall()
        assert ("api_key",) in names
        dump = "".join(
            row
            for (name,) in names
            for (row,) in connection.execute(f"SELECT {name}::text FROM {name}".encode())
        )
    assert "the writer" in dump
    for secret in secrets:
        for part in (secret, secret.removeprefix("bl_")):
            raw = part.encode()
            for form in (part, raw.hex(), base64.b64encode(raw).decode()[:-4]):
                assert form not in dump


# --- G10 --------------------------------------------------------------------------------------

STATUSES = ["pending", "confirmed", "in_progress", "completed", "cancelled"]
BAD: list[tuple[str, str, Any, int, str, str]] = [
    # method, path, body, status, field, what the answer must name as allowed
    ("POST", "/api/bookings", {"id": ""}, 422, "id", "1 character"),
    ("POST", "/api/bookings", {"id": "x" * 201}, 422, "id", "200"),
    ("POST", "/api/bookings", {"id": "a\nb"}, 422, "id", "control characters"),
    ("POST", "/api/bookings", {"id": 4711}, 422, "id", "string"),
    ("POST", "/api/bookings", {"status": "gone"}, 422, "status", "in_progress"),
    ("POST", "/api/bookings", {"status": ""}, 422, "status", "1 character"),
    ("POST", "/api/bookings", {"colour": "red"}, 422, "colour", "not a field"),
    ("POST", "/api/bookings", {"metadata": []}, 422, "metadata", "dictionary|object"),
    ("POST", "/api/bookings", {"metadata": {"a": "\0"}}, 422, "metadata", "NUL"),
    ("POST", "/api/bookings", {"metadata": {"a": "x" * 70_000}}, 422, "metadata", "65536"),
    ("POST", "/api/bookings", {"occurredAt": "yesterday"}, 422, "occurredAt", "RFC 3339"),
    ("POST", "/api/bookings", {"occurredAt": "2026-01-01T00:00:00"}, 422, "occurredAt", "timezone"),
    ("POST", "/api/bookings", {"occurredAt": 1767225600}, 422, "occurredAt", "RFC 3339"),
    ("POST", "/api/bookings", {"occurredAt": "0001-01-01T00:00:00Z"}, 422, "occurredAt", "1900"),
    ("POST", "/api/bookings", {"changedBy": "x" * 201}, 422, "changedBy", "200"),
    ("POST", "/api/bookings", {"reason": "x" * 2_001}, 422, "reason", "2000"),
    ("POST", "/api/bookings", {"reason": "\ud800"}, 422, "reason", "unicode"),
    ("POST", "/api/bookings", [], 422, "body", "dictionary|object"),
    ("POST", "/api/bookings", None, 422, "body", "required"),
    ("POST", "/api/bookings", b"{", 400, "", "JSON"),
    ("POST", "/api/bookings", b"\xff\xfe", 400, "", "JSON"),
    ("PATCH", "/api/bookings/clear", {}, 422, "status", "required"),
    ("PATCH", "/api/bookings/clear", {"status": None}, 422, "status", "string"),
    ("PATCH", "/api/bookings/clear", {"status": "CONFIRMED"}, 422, "status", "confirmed"),
    ("PATCH", "/api/bookings/clear", {"status": "completed"}, 409, "", "confirmed"),
    ("PATCH", "/api/bookings/unknown", {"status": "confirmed"}, 404, "", "unknown"),
    ("POST", "/api/status-changes", {}, 422, "changes", "required"),
    ("POST", "/api/status-changes", {"changes": []}, 422, "changes", "1 item"),
    ("POST", "/api/status-changes",
     {"changes": [{"bookingId": f"b{n}", "status": "pending"} for n in range(1_001)]},
     422, "changes", "1000"),
    ("POST", "/api/status-changes",
     {"changes": [{"bookingId": "good", "status": "pending"}, {"bookingId": "bad"}]},
     422, "changes.1.status", "required"),
    ("GET", "/api/bookings?status=", None, 422, "status", "1 character"),
    ("GET", "/api/bookings?limit=0", None, 422, "limit", "1"),
    ("GET", "/api/bookings?limit=501", None, 422, "limit", "500"),
    ("GET", "/api/bookings?order=up", None, 422, "order", "asc"),
    ("GET", "/api/bookings?cursor=made-up", None, 422, "cursor", "next"),
    ("GET", "/api/bookings?since=2026", None, 422, "since", "RFC 3339"),
    ("GET", "/api/bookings/clear?version=0", None, 422, "version", "1"),
    ("GET", "/api/bookings/clear?asOf=now", None, 422, "asOf", "RFC 3339"),
    ("GET", "/api/events?after=-1", None, 422, "after", "0"),
    ("GET", "/api/events?limit=1001", None, 422, "limit", "1000"),
    ("GET", "/api/nothing", None, 404, "", ""),
    ("POST", "/api/keys", {"name": "x", "role": "king"}, 422, "role", "writer"),
    ("POST", "/api/keys", {"name": "", "role": "reader"}, 422, "name", "1 character"),
]  # fmt: skip


def test_g10_clear_about_bad_input(pair: Pair, module_database: Database) -> None:
    """Bad input gets an RFC 9457 problem that names the field and the allowed values; nothing is
    written."""
    with pair[0].client() as client, module_database.connect() as connection:
        open_bookings(client, ["clear"])
        before = connection.execute(EVENTS_DIGEST).fetchone()
        for method, path, body, status, field, allowed in BAD:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            answer = client.request(
                method,
                path,
                content=None if body is None else content,
                headers={"Content-Type": "application/json"},
            )
            _assert_clear(answer, status, field, allowed)
        for header, value in (
            ("If-Match", "v1"),
            ("Idempotency-Key", "x" * 256),
            ("Idempotency-Key", '""'),
        ):
            answer = client.patch(
                "/api/bookings/clear", json={"status": "confirmed"}, headers={header: value}
            )
            _assert_clear(answer, 422, header, "must be")
        assert connection.execute(EVENTS_DIGEST).fetchone() == before
        unknown = client.patch("/api/bookings/clear", json={"status": "gone"}).json()
        assert unknown["allowedStatuses"] == STATUSES
        refused = client.patch("/api/bookings/clear", json={"status": "completed"}).json()
        assert (refused["from"], refused["to"]) == ("pending", "completed")
        assert refused["allowedTransitions"] == ["confirmed", "cancelled"]
        page = client.get(refused["type"])
        assert page.status_code == 200
        assert "Transition not allowed" in page.text


def _assert_clear(answer: httpx.Response, status: int, field: str, allowed: str) -> None:
    told = f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    assert answer.status_code == status, told
    assert answer.headers["Content-Type"] == "application/problem+json", told
    problem = answer.json()
    assert {"type", "title", "status", "detail", "instance", "error"} <= set(problem), told
    assert problem["status"] == status
    assert problem["instance"] == answer.request.url.path
    if field:
        assert problem["field"] == field, told
    assert any(word in answer.text for word in allowed.split("|")), told
