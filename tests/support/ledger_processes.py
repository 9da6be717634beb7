"""The `booking-ledger` command as real processes, and clients that put load on it.

Everything is found, killed and ended by process id.
"""

import base64
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import psycopg
import pytest
from ledger_service import ADMIN_KEY

from ledger.database import Database

COMMAND = Path(sys.executable).with_name("booking-ledger")
START_SECONDS = 60.0  # for machines that do much else; tests of speed measure themselves
END_SECONDS = 30.0
MASTER_KEY = base64.b64encode(b"m" * 32).decode()

Place = Database | Path
"""Where a ledger lives: a database, or the data directory of an embedded one."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Ended(Exception):
    """A command ended before it said what was waited for; the message is its error output."""


class Running:
    """A command that goes on until it is ended. Its output is in files, so it never blocks."""

    def __init__(self, directory: Path, arguments: Sequence[str], settings: dict[str, str]) -> None:
        self._directory = directory
        self._family: dict[int, psutil.Process] = {}
        with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as err:
            self.process = subprocess.Popen(
                [str(COMMAND), *arguments],
                cwd=directory,
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return (self._directory / "stdout").read_text(errors="replace")

    @property
    def errors(self) -> str:
        return (self._directory / "stderr").read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def family(self) -> list[psutil.Process]:
        """The processes that it has started, ever; those that have ended too."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children(recursive=True):
                self._family.setdefault(child.pid, child)
        return list(self._family.values())

    def projectors(self) -> list[psutil.Process]:
        """Its projectors that are alive: one, or none while it is being started again."""
        return list(filter(_is_projector, self.family()))

    def projector(self) -> psutil.Process:
        """Its projector, waited for."""
        (projector,) = wait_for(self.projectors, "a projector")
        return projector

    def kill(self) -> None:
        """SIGKILL to this process alone."""
        self.family()
        self.process.kill()
        self.process.wait()

    def end(self, number: int = signal.SIGTERM, seconds: float = END_SECONDS) -> float:
        """Signal it and wait for its end; the seconds that this took."""
        self.family()
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(seconds)
        return time.monotonic() - started

    def clear(self) -> None:
        """Leave nothing of it, in whatever state it is."""
        self.kill()
        kill_all(self.family())


class Server(Running):
    @property
    def url(self) -> str:
        return self._announced("Booking Ledger answers at")

    @property
    def database_url(self) -> str:
        return self._announced("database")

    def client(self, key: str | None = ADMIN_KEY) -> httpx.Client:
        return new_client(self.url, key)

    def wait_until(self, status: str = "ready", seconds: float = START_SECONDS) -> dict[str, Any]:
        """Wait until /readyz says so; what it says."""
        with self.client(None) as client:

            def found() -> dict[str, Any] | None:
                with suppress(httpx.TransportError):
                    answer: dict[str, Any] = client.get("/readyz").json()
                    return answer if answer["status"] == status else None
                return None

            return wait_for(found, f"{self.url} to be {status}", seconds)

    def _announced(self, title: str) -> str:
        def found() -> str | None:
            for line in self.output.splitlines(keepends=True):
                if line.strip().startswith(title) and line.endswith("\n"):
                    return line.strip().removeprefix(title).split()[0]
            if not self.is_running:
                raise Ended(self.errors)
            return None

        return wait_for(found, f"the server to say {title!r}")


class Processes:
    """Starts commands. At its end it ends all of them, and the embedded databases."""

    def __init__(self) -> None:
        # Not under pytest's own directory, which nobody else may pass: as root, the database
        # runs as another user.
        self._directory = Path(tempfile.mkdtemp(prefix="ledger-acceptance-"))
        self._directory.chmod(0o711)
        self._running: list[Running] = []
        self._made = 0

    def data_dir(self, copied: Path | None = None) -> Path:
        """A directory for an embedded database, without one yet or with a copy."""
        directory = self._next("data")
        if copied is not None:
            subprocess.run(["cp", "-a", f"{copied}/.", directory], check=True)
        return directory

    def serve(self, place: Place, *arguments: str, port: int = 0, **settings: str | None) -> Server:
        """Start a server and return at once; its `url` waits until it answers."""
        given = ["serve", "--port", str(port), *where(place), *arguments]
        server = Server(self._next("serve"), given, _with_admin_key(settings))
        self._running.append(server)
        return server

    def project(self, place: Place) -> Running:
        projector = Running(self._next("project"), ["project", *where(place)], {})
        self._running.append(projector)
        return projector

    def run(
        self, *arguments: str, seconds: float = END_SECONDS, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [str(COMMAND), *arguments],
            check=False,
            cwd=self._directory,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def close(self) -> None:
        for running in self._running:
            running.clear()
        for data_dir in self._directory.glob("data-*"):
            kill_all(database_processes(data_dir))
        shutil.rmtree(self._directory)

    def _next(self, kind: str) -> Path:
        self._made += 1
        directory = self._directory / f"{kind}-{self._made}"
        directory.mkdir(mode=0o711)
        return directory


@contextmanager
def processes() -> Iterator[Processes]:
    started = Processes()
    try:
        yield started
    finally:
        started.close()


def where(place: Place) -> list[str]:
    if isinstance(place, Path):
        return ["--data-dir", str(place)]
    return ["--database-url", place.url]


def environment(settings: dict[str, str]) -> dict[str, str]:
    """What the developer has set must not reach the processes."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("LEDGER_")
    }
    # Each has a directory of its own, and those that share a database must share the key.
    return {**inherited, "LEDGER_MASTER_KEY": MASTER_KEY, **settings}


def _with_admin_key(settings: dict[str, str | None]) -> dict[str, str]:
    given = {"LEDGER_ADMIN_KEY": ADMIN_KEY, **settings}
    return {name: value for name, value in given.items() if value is not None}


def new_client(url: str, key: str | None = ADMIN_KEY) -> httpx.Client:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    # Without certificates, whose loading costs more than a request.
    return httpx.Client(base_url=url, headers=headers, timeout=30, verify=False, trust_env=False)


def postmaster_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres/postmaster.pid").read_text().splitlines()[0])


def database_processes(data_dir: Path) -> list[psutil.Process]:
    """The postmaster of an embedded database, then its children; none where it is down."""
    try:
        postmaster = psutil.Process(postmaster_pid(data_dir))
        if "postgres" not in postmaster.name():
            return []
        return [postmaster, *postmaster.children(recursive=True)]
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return []


def is_gone(process: psutil.Process) -> bool:
    try:
        # Where nobody reaps orphans, a dead one stays a zombie.
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill_all(victims: Iterable[psutil.Process]) -> None:
    """SIGKILL to all of them at once."""
    alive = [process for process in victims if not is_gone(process)]
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until_gone(alive, 10)


def wait_until_gone(processes_: Iterable[psutil.Process], seconds: float) -> None:
    left = list(processes_)
    wait_for(lambda: all(map(is_gone, left)), f"the end of {left}", seconds)


def _is_projector(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return not is_gone(process) and "api.projector_main" in process.cmdline()
    return False


def wait_for(
    found: Callable[[], ResultT | None], what: str, seconds: float = START_SECONDS
) -> ResultT:
    """The first true result."""
    deadline = time.monotonic() + seconds
    while True:
        result = found()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds} s in vain for {what}")
        time.sleep(0.01)


def together(
    act: Callable[[ItemT], ResultT], items: Sequence[ItemT], threads: int = 8
) -> list[ResultT]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(act, items))


# --- load -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Acknowledged:
    """A change that was answered with 2xx."""

    booking_id: str
    version: int
    status: str
    position: int


class Load:
    """Clients that record changes until they are stopped, each with bookings of its own.

    A booking is opened and taken through the default workflow, step by step. A step that is
    not answered with 2xx is remembered for what it was, and its booking is left.
    """

    STEPS = ("pending", "confirmed", "in_progress", "completed")

    def __init__(self, name: str, addresses: Sequence[Callable[[], str]]) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.doubtful: set[tuple[str, str]] = set()
        """Sent, and no answer came, or one that says that nobody knows."""
        self.refused: set[tuple[str, str]] = set()
        """Answered with a 503 that says that nothing was recorded."""
        self.unexpected: list[str] = []
        self._name = name
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number, address))
            for number, address in enumerate(addresses)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int, address: Callable[[], str]) -> None:
        count = 0
        while not self._stop.is_set():
            # A server may be killed before it says where it listens.
            with suppress(Ended), new_client(address()) as client:
                answered = True
                while answered and not self._stop.is_set():
                    count += 1
                    answered = self._live(client, f"{self._name}-{number}-{count}")
            self._stop.wait(0.05)

    def _live(self, client: httpx.Client, booking_id: str) -> bool:
        for step in self.STEPS:
            if self._stop.is_set():
                return True
            try:
                answer = self._send(client, booking_id, step)
            except httpx.ConnectError:
                return False
            except httpx.TransportError:
                self.doubtful.add((booking_id, step))
                return False
            if not self._take(answer, booking_id, step):
                return True
        return True

    def _send(self, client: httpx.Client, booking_id: str, step: str) -> httpx.Response:
        body = {"status": step, "changedBy": self._name, "metadata": {"of": booking_id}}
        if step == self.STEPS[0]:
            return client.post("/api/bookings", json={"id": booking_id, **body})
        return client.patch(f"/api/bookings/{booking_id}", json=body)

    def _take(self, answer: httpx.Response, booking_id: str, step: str) -> bool:
        if answer.is_success:
            document = answer.json()
            if (document["id"], document["status"]) != (booking_id, step):
                self.unexpected.append(answer.text)
            position = int(answer.headers["Ledger-Position"])
            self.acknowledged.append(Acknowledged(booking_id, document["version"], step, position))
            return True
        kind = answer.json()["type"] if answer.status_code == 503 else ""
        if kind and "Retry-After" not in answer.headers:
            self.unexpected.append(f"no Retry-After: {answer.text}")
        if kind == "/problems/outcome-unknown":
            self.doubtful.add((booking_id, step))
        elif kind in ("/problems/store-unavailable", "/problems/busy"):
            self.refused.add((booking_id, step))
        else:
            self.unexpected.append(f"{answer.status_code} {answer.text}")
        return False

    def assert_recorded_in(self, events: Sequence[dict[str, Any]]) -> None:
        """Everything acknowledged is there, once; nothing else but what is in doubt."""
        assert self.unexpected == []
        ours = {
            Acknowledged(one["bookingId"], one["version"], one["toStatus"], one["position"])
            for one in events
            if one["changedBy"] == self._name
        }
        acknowledged = set(self.acknowledged)
        assert len(acknowledged) == len(self.acknowledged), "something was acknowledged twice"
        assert acknowledged - ours == set(), "acknowledged, and lost"
        more = {(one.booking_id, one.status) for one in ours - acknowledged}
        assert more <= self.doubtful, "recorded, and never acknowledged"
        assert more & self.refused == set()


# --- what must hold ---------------------------------------------------------------------------


def read_events(client: httpx.Client) -> list[dict[str, Any]]:
    """The whole feed."""
    events: list[dict[str, Any]] = []
    position = 0
    while True:
        answer = client.get("/api/events", params={"after": position, "limit": 1_000})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        if not page["events"]:
            return events
        events += page["events"]
        position = page["next"]


def assert_whole(events: Sequence[dict[str, Any]]) -> None:
    """Positions are 1..n, and each booking's history is one unbroken chain."""
    assert [one["position"] for one in events] == list(range(1, len(events) + 1))
    histories: dict[str, list[dict[str, Any]]] = {}
    for one in events:
        histories.setdefault(one["bookingId"], []).append(one)
    for history in histories.values():
        assert_chain(history)


def assert_chain(history: Sequence[dict[str, Any]]) -> None:
    """The first entry comes from nothing, each next from the one before; versions 1..n."""
    assert [one["version"] for one in history] == list(range(1, len(history) + 1))
    previous = [None, *(one["toStatus"] for one in history)]
    assert [one["fromStatus"] for one in history] == previous[:-1]


HISTORY_ROWS = """
    SELECT position, id, "bookingId", version, "fromStatus", "toStatus", "changedBy", reason,
        metadata::jsonb, to_char("createdAt", 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    FROM "BookingStatusHistory" ORDER BY position
"""
BOOKING_ROWS = 'SELECT id, status, version, position FROM "Booking" ORDER BY id COLLATE "C"'


def assert_read_model_equals(
    connection: psycopg.Connection, events: Sequence[dict[str, Any]]
) -> None:
    """The tables hold each event once, in order, with the id that the feed gives it."""
    columns = ("position", "id", "bookingId", "version", "fromStatus", "toStatus", "changedBy")
    more = ("reason", "metadata", "occurredAt")
    expected = [tuple(one[name] for name in (*columns, *more)) for one in events]
    assert connection.execute(HISTORY_ROWS).fetchall() == expected
    newest = {one["bookingId"]: one for one in events}
    assert connection.execute(BOOKING_ROWS).fetchall() == [
        (id_, newest[id_]["toStatus"], newest[id_]["version"], newest[id_]["position"])
        for id_ in sorted(newest, key=str.encode)
    ]


def make_fresh(client: httpx.Client) -> None:
    """A list is answered only when the read model has every event; asked until it is."""
    wait_for(
        lambda: client.get("/api/bookings", params={"limit": 1}).status_code == 200, "fresh lists"
    )


@dataclass(frozen=True)
class Raced:
    """One of several changes of a booking that were sent at the same moment."""

    booking_id: str
    status: str
    answer: httpx.Response


def race(
    urls: Sequence[str],
    booking_ids: Sequence[str],
    choices: Callable[[random.Random], Sequence[str]],
    headers: dict[str, str] | None = None,
    teams: int = 3,
) -> list[Raced]:
    """For each booking, send the changes that `choices` gives at once, to the servers in turn.

    Every team has a client for each change, which wait for each other before each booking.
    """
    size = len(choices(random.Random(0)))
    raced: list[Raced] = []

    def run(team: int) -> None:
        rng = random.Random(team)
        mine = booking_ids[team::teams]
        plan = [list(choices(rng)) for _ in mine]
        barrier = threading.Barrier(size, timeout=60)

        def member(number: int) -> None:
            with new_client(urls[number % len(urls)]) as client:
                for booking_id, statuses in zip(mine, plan, strict=True):
                    barrier.wait()
                    answer = client.patch(
                        f"/api/bookings/{booking_id}",
                        json={"status": statuses[number], "changedBy": f"racer {number}"},
                        headers=headers,
                    )
                    raced.append(Raced(booking_id, statuses[number], answer))

        together(member, range(size), size)

    together(run, range(teams), teams)
    return raced


def open_bookings(client: httpx.Client, booking_ids: Sequence[str]) -> None:
    changes = [{"bookingId": booking_id, "status": "pending"} for booking_id in booking_ids]
    for begin in range(0, len(changes), 1_000):
        answer = client.post(
            "/api/status-changes", json={"changes": changes[begin : begin + 1_000]}
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["counts"]["refused"] == 0


def read_history(client: httpx.Client, booking_id: str) -> list[dict[str, Any]]:
    answer = client.get(f"/api/bookings/{booking_id}/status-history")
    assert answer.status_code == 200, answer.text
    history: list[dict[str, Any]] = answer.json()["history"]
    return history
