"""How the processes of a ledger start, live beside each other, and end."""

import json
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from ledger_processes import (
    Load,
    Processes,
    Raced,
    Server,
    assert_chain,
    assert_whole,
    database_processes,
    new_client,
    open_bookings,
    postmaster_pid,
    race,
    read_events,
    read_history,
    wait_for,
    wait_until_gone,
)

from api.cli.listening import TAKEN_AT_ONCE
from ledger.database import Database

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def embedded_dir(module_started: Processes) -> Path:
    return module_started.data_dir()


@pytest.fixture(scope="module")
def embedded(module_started: Processes, embedded_dir: Path) -> Server:
    """A server on an embedded database that is the first of its ledger. Not to be killed."""
    server = module_started.serve(embedded_dir, LEDGER_ADMIN_KEY=None)
    server.wait_until("ready")
    return server


@pytest.fixture(scope="module")
def first_secret(embedded: Server) -> str:
    found = re.search(r"^ *admin key +(bl_\S+)", embedded.output, re.MULTILINE)
    assert found is not None, embedded.output
    return found[1]


# --- starting ---------------------------------------------------------------------------------


def test_first_start_prints_a_key_and_a_link_that_work(embedded: Server, first_secret: str) -> None:
    """Whoever starts a ledger gets in: with the key by HTTP, with the link in a browser."""
    with new_client(embedded.url, first_secret) as client:
        assert client.get("/api/keys").json()["keys"][0]["role"] == "admin"
    link = re.search(r"http://\S+/login\?link=\S+", embedded.output)
    assert link is not None, embedded.output
    with new_client(embedded.url, None) as browser:
        assert browser.get("/").status_code == 401
        entered = browser.get(link[0], headers={"Accept": "text/html"})
        assert entered.status_code == 303
        assert entered.headers["Location"] == "/"
        page = browser.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")
    with new_client(embedded.url, None) as later:
        assert later.get(link[0], headers={"Accept": "text/html"}).status_code == 401


def test_second_start_is_quick_and_prints_no_key(started: Processes) -> None:
    """A key is shown once; what was recorded is there at the next start, in under five seconds."""
    data_dir = started.data_dir()
    first = started.serve(data_dir, LEDGER_ADMIN_KEY=None)
    key = re.search(r"bl_\S+", wait_for(lambda: first.url and first.output, "output"))
    assert key is not None
    with new_client(first.url, key[0]) as client:
        open_bookings(client, ["kept"])
    assert first.end() < 5

    began = time.monotonic()
    second = started.serve(data_dir, LEDGER_ADMIN_KEY=None)
    with new_client(second.url, key[0]) as client:
        assert client.get("/api/bookings/kept").status_code == 200
        assert time.monotonic() - began < 5
    assert "bl_" not in second.output + second.errors
    assert "/login" not in second.output


def test_port_0_takes_a_free_port_on_loopback(embedded: Server) -> None:
    """The port is printed, is a real one, and nobody outside of the machine reaches it."""
    port = httpx.URL(embedded.url).port
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.Process(embedded.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert port != 0
    assert listening == {("127.0.0.1", port)}


@pytest.mark.parametrize(
    "content", [None, "statuses = [", 'name = "x"\nstatuses = ["a"]\ninitial = "b"\n']
)
def test_wrong_workflow_is_one_line_and_starts_nothing(
    started: Processes, tmp_path: Path, content: str | None
) -> None:
    """A workflow file that cannot be used is named in one line; exit code 1, nothing is made."""
    data_dir = started.data_dir() / "new"
    workflow = tmp_path / "workflow.toml"
    if content is not None:
        workflow.write_text(content)
    done = started.run(
        "serve", "--port", "0", "--data-dir", str(data_dir), "--workflow", str(workflow)
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(workflow) in done.stderr
    assert not data_dir.exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_port_in_use_is_said_and_leaves_nothing_behind(
    started: Processes, data_dir: Path, workers: str
) -> None:
    """Where another program has the port, the start ends with a clear error."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = started.serve(data_dir, "--workers", workers, port=port)
        wait_for(lambda: not server.is_running, "the end of the start", 20)
    assert server.process.returncode == 1
    assert "address already in use" in server.errors.lower()
    assert "Traceback" not in server.errors
    assert "answers at" not in server.output
    wait_until_gone(server.family(), 3)
    assert not (data_dir / "postgres/postmaster.pid").exists()


# --- beside each other ------------------------------------------------------------------------


def test_commands_beside_a_running_server(
    embedded: Server, embedded_dir: Path, first_secret: str, module_started: Processes
) -> None:
    """A command joins the embedded database of a running server, and leaves it running."""
    postmaster = postmaster_pid(embedded_dir)
    where = ("--data-dir", str(embedded_dir))
    with new_client(embedded.url, first_secret) as client:
        open_bookings(client, ["beside"])
        client.patch("/api/bookings/beside", json={"status": "confirmed", "changedBy": "anna"})

        history = module_started.run("history", "beside", "--json", *where)
        assert history.returncode == 0, history.stderr
        printed = json.loads(history.stdout)
        assert printed["history"] == read_history(client, "beside")

        keys = module_started.run("keys", "list", "--json", *where)
        assert keys.returncode == 0, keys.stderr
        assert [key["role"] for key in json.loads(keys.stdout)["keys"]] == ["admin"]
        made = module_started.run(
            "keys", "create", "--name", "cli", "--role", "reader", "--json", *where
        )
        with new_client(embedded.url, json.loads(made.stdout)["secret"]) as reading:
            assert reading.get("/api/bookings/beside").json()["status"] == "confirmed"

        unknown = module_started.run("history", "nobody", *where)
        assert unknown.returncode != 0
        assert "nobody" in unknown.stderr
        assert postmaster_pid(embedded_dir) == postmaster
        assert client.patch("/api/bookings/beside", json={"status": "cancelled"}).is_success


def test_two_servers_on_one_data_directory(started: Processes) -> None:
    """They start at once on an empty directory, share the database, and the last one stops it."""
    data_dir = started.data_dir()
    first, second = (started.serve(data_dir) for _ in range(2))
    first.wait_until("ready")
    second.wait_until("ready")
    database = database_processes(data_dir)
    with first.client() as one, second.client() as other:
        assert one.post("/api/bookings", json={"id": "shared"}).status_code == 201
        assert other.patch("/api/bookings/shared", json={"status": "confirmed"}).is_success
        assert one.get("/api/bookings").json()["bookings"][0]["version"] == 2
        assert first.end() < 5
        assert postmaster_pid(data_dir) == database[0].pid
        assert other.patch("/api/bookings/shared", json={"status": "cancelled"}).is_success
        # The projector of the first was the active one, or that of the second is; either way:
        listed = other.get("/api/bookings", params={"status": "cancelled"})
        assert [booking["id"] for booking in listed.json()["bookings"]] == ["shared"]
    assert second.end() < 5
    wait_until_gone(database, 5)


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_record_concurrently_and_count_together(
    database: Database, started: Processes, workers: int
) -> None:
    """Workers behind one port keep chains unbroken; their figures are those of all. They end
    with their server, a live feed notwithstanding."""
    server = started.serve(database, "--workers", str(workers))
    server.wait_until("ready")
    booking_ids: list[str] = []
    raced: list[Raced] = []
    with server.client() as client:
        before = _counted(client)
        busy = wait_for(lambda: _idle_cpu_seconds(server, workers), "all workers to be up")
        # Each client has a connection of its own: raced until all workers have had their share.
        while len(_workers_since(server, busy)) < workers:
            assert len(booking_ids) < 600, "some workers had all the work"
            more = [f"worked-{len(booking_ids) + number}" for number in range(30)]
            booking_ids += more
            open_bookings(client, more)
            raced += race(
                [server.url], more, lambda rng: rng.choices(("confirmed", "cancelled"), k=4)
            )
        sent = Counter(("PATCH", str(one.answer.status_code)) for one in raced)
        assert set(sent) <= {("PATCH", "200"), ("PATCH", "409")}
        changed = [one for one in raced if one.answer.json().get("changed")]
        histories = [read_history(client, booking_id) for booking_id in booking_ids]
        for history in histories:
            assert_chain(history)
        assert sum(map(len, histories)) == len(booking_ids) + len(changed)
        counted = _counted(client)
        counted.subtract(before)
        assert {key: count for key, count in counted.items() if key[0] == "PATCH"} == sent
        head = read_events(client)[-1]["position"]
        assert f"\nledger_head_position {float(head)}" in client.get("/metrics").text
    with _listening(server):
        assert server.end() < 10
    wait_until_gone(server.family(), 1)


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_share_those_who_call(database: Database, started: Processes, workers: int) -> None:
    """Connections that are there at once do not all go to the worker that wakes first."""
    server = started.serve(database, "--workers", str(workers))
    server.wait_until("ready")
    address = urlsplit(server.url)
    calling = [socket.socket() for _ in range(200)]
    with ExitStack() as stack:
        for one in calling:
            stack.enter_context(one).settimeout(20)
            one.connect((address.hostname, address.port))
        for one in calling:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for one in calling:
            assert one.recv(15) == b"HTTP/1.1 200 OK"
        held = [_connections_from(calling, process) for process in server.family()]

    shares = [count for count in held if count]
    assert sum(shares) == len(calling)
    assert len(shares) == workers
    assert min(shares) >= len(calling) / workers / 3  # by chance, once in millions


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_takes_many_at_a_time_who_connect(
    database: Database, started: Processes, workers: int
) -> None:
    """Each place that it listens at in its loop takes one; see decision 0042."""
    server = started.serve(database, "--workers", str(workers))
    server.wait_until("ready")
    processes = [psutil.Process(server.pid), *server.family()]
    places = [_places_to_listen(process) for process in processes]
    assert [count for count in places if count] == [TAKEN_AT_ONCE] * workers


def _places_to_listen(process: psutil.Process) -> int:
    """How often the socket is open that the process listens at."""
    listening = {
        one.fd for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN
    }
    open_: dict[int, Path] = {}
    for file in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            open_[int(file.name)] = file.readlink()
    sockets = {open_[number] for number in listening}
    return sum(one in sockets for one in open_.values())


def _connections_from(calling: list[socket.socket], process: psutil.Process) -> int:
    """How many of them this process has the other end of."""
    ours = {one.getsockname()[:2] for one in calling}
    return sum(
        tuple(other.raddr) in ours
        for other in process.net_connections("tcp")
        if process.pid != os.getpid() and other.raddr
    )


def _counted(client: httpx.Client) -> Counter[tuple[str, str]]:
    """Requests answered, by method and status."""
    counted: Counter[tuple[str, str]] = Counter()
    pattern = r'^ledger_http_requests_total\{method="(\w+)",status="(\d+)"\} ([\d.e+]+)$'
    for method, status, count in re.findall(pattern, client.get("/metrics").text, re.MULTILINE):
        counted[method, status] += int(float(count))
    assert counted
    return counted


def _cpu_seconds(server: Server) -> dict[int, float]:
    """What each of its children has spent, the projector left out."""
    projectors = {projector.pid for projector in server.projectors()}
    return {
        child.pid: sum(child.cpu_times()[:2])
        for child in server.family()
        if child.pid not in projectors
    }


def _idle_cpu_seconds(server: Server, workers: int) -> dict[int, float] | None:
    """The same once all of them have started and wait for work."""
    before = _cpu_seconds(server)
    time.sleep(0.3)
    after = _cpu_seconds(server)
    idle = before.keys() == after.keys() and all(after[pid] - before[pid] < 0.03 for pid in after)
    return after if idle and len(after) >= workers else None


def _workers_since(server: Server, busy: dict[int, float]) -> list[int]:
    """The workers that have spent more time since than an idle one does."""
    now = _cpu_seconds(server)
    return [pid for pid, spent in now.items() if pid in busy and spent - busy[pid] > 0.1]


# --- ending -----------------------------------------------------------------------------------


@contextmanager
def _listening(server: Server) -> Iterator[httpx.Response]:
    """A client of the live feed that has got its first event."""
    with (
        server.client() as client,
        client.stream("GET", "/api/events/stream", params={"after": 0}) as stream,
    ):
        assert stream.status_code == 200
        lines = stream.iter_lines()
        wait_for(lambda: next(lines).startswith("data:"), "an event")
        yield stream


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_everything(started: Processes, data_dir: Path, number: int) -> None:
    """SIGTERM and Ctrl-C end the server within 5 s, a live feed notwithstanding, and leave no
    process behind."""
    server = started.serve(data_dir)
    server.wait_until("ready")
    server.projector()
    database = database_processes(data_dir)
    with server.client() as client:
        open_bookings(client, ["ended"])
        with _listening(server):
            if number == signal.SIGINT:
                # A terminal signals the whole group.
                server.family()
                began = time.monotonic()
                os.killpg(server.pid, number)
                server.process.wait(20)
                took = time.monotonic() - began
            else:
                took = server.end(number)
    assert took < 5
    assert len(database) > 5
    wait_until_gone([*server.family(), *database], 1)
    assert not (data_dir / "postgres/postmaster.pid").exists()
    assert server.process.returncode in (0, -number, 128 + number), server.process.returncode


def test_live_feed_ends_quietly_with_the_server(started: Processes, data_dir: Path) -> None:
    """A shutdown ends the live feed itself, at once and without an error in the log."""
    server = started.serve(data_dir)
    with server.client() as client:
        open_bookings(client, ["followed"])
    with _listening(server):
        took = server.end()
    assert "Traceback" not in server.errors, server.errors
    assert took < 3  # the grace period


def test_signal_during_the_start_leaves_nothing(started: Processes, data_dir: Path) -> None:
    """SIGTERM while the database starts ends the server, and the database too."""
    server = started.serve(data_dir)
    wait_for(lambda: any(one.name() == "pg_ctl" for one in server.family()), "pg_ctl")
    assert server.end() < 8
    time.sleep(0.5)  # a postmaster needs a moment to be seen
    wait_for(lambda: not database_processes(data_dir), "the end of the database", 3)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_server_leaves_no_process_of_its_own(
    database: Database, started: Processes, workers: str
) -> None:
    """What a server has started ends by itself within 3 s of its SIGKILL: the projector and the
    workers, which would keep the port."""
    server = started.serve(database, "--workers", workers)
    server.wait_until("ready")
    server.projector()
    family = server.family()
    port = httpx.URL(server.url).port
    server.kill()
    wait_until_gone(family, 3)
    again = started.serve(database, "--workers", workers, port=port or 0)
    again.wait_until("ready")


def test_killed_postmaster_comes_back(started: Processes, data_dir: Path) -> None:
    """When the embedded database is killed under a server, the service is back within 15 s, with
    clear answers meanwhile and nothing lost."""
    server = started.serve(data_dir)
    server.wait_until("ready")
    with Load("survivor", [lambda: server.url] * 4) as load, server.client() as client:
        before = wait_for(lambda: len(load.acknowledged), "a change")
        os.kill(postmaster_pid(data_dir), signal.SIGKILL)
        killed_at = time.monotonic()
        wait_for(lambda: not database_processes(data_dir), "the end of the database", 5)
        wait_for(lambda: len(load.acknowledged) > before + 40, "changes", 15)
        server.wait_until("ready", 15 - (time.monotonic() - killed_at))
        load.stop()
        listed = client.get("/api/bookings", params={"limit": 1})
        assert listed.status_code == 200, listed.text
        events = read_events(client)
        assert_whole(events)
        load.assert_recorded_in(events)
    assert server.end() < 8
    assert not (data_dir / "postgres/postmaster.pid").exists()
