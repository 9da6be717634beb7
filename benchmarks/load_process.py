"""The load generator: a process that speaks HTTP/1.1 over raw sockets and times each answer.

It reads one JSON line a job on standard input, writes the result as JSON to the file that the job
names, and then a line. Requests are bytes made beforehand; of an answer it reads the status and the
length, and the position where there is one. It ends when standard input closes.
"""

import asyncio
import json
import pickle
import resource
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop

DRAIN_SECONDS = 60.0
CONNECT_AT_ONCE = 100

now = time.monotonic


class Lane:
    """Requests that are sent in order, over and over; it remembers where it is between jobs."""

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = requests
        self._next = 0

    def __len__(self) -> int:
        return len(self._requests)

    def take(self) -> bytes:
        request = self._requests[self._next]
        self._next = (self._next + 1) % len(self._requests)
        return request


class Connection(asyncio.Protocol):
    """One request at a time. `answered` is called with this connection and the status."""

    def __init__(self, answered: Callable[["Connection", int], None]) -> None:
        self._answered = answered
        self._received = b""
        self._transport: Any = None
        self.due = 0.0
        self.sent = 0.0
        self.position = 0
        self.lane: Lane | None = None
        self.left = -1
        """Requests of a lane that is run once; below 0 it is run over and over."""
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.busy:
            self.busy = False
            self._answered(self, 0)

    def send(self, request: bytes, due: float | None = None) -> None:
        self.busy = True
        self.sent = now()
        self.due = self.sent if due is None else due
        if self._transport.is_closing():
            asyncio.get_running_loop().call_soon(self.connection_lost, None)
        else:
            self._transport.write(request)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._received = data
            return
        length = _number(data, b"\r\ncontent-length: ", end)
        if len(data) < end + 4 + length:
            self._received = data
            return
        self._received = b""
        self.busy = False
        self.position = _number(data, b"\r\nledger-position: ", end)
        self._answered(self, int(data[9:12]))


def _number(data: bytes, name: bytes, end: int) -> int:
    at = data.find(name, 0, end)
    if at < 0:
        return 0
    at += len(name)
    return int(data[at : data.index(b"\r\n", at)])


async def _connect(job: dict[str, Any], answered: Callable[[Connection, int], None]) -> list[Any]:
    loop = asyncio.get_running_loop()
    connections: list[Any] = []
    while (missing := job["clients"] - len(connections)) > 0:
        made = await asyncio.gather(
            *(
                loop.create_connection(lambda: Connection(answered), job["host"], job["port"])
                for _ in range(min(missing, CONNECT_AT_ONCE))
            )
        )
        connections += [protocol for _, protocol in made]
    return connections


async def closed_loop(job: dict[str, Any], lanes: list[Lane]) -> dict[str, Any]:
    """Each client sends its next request as soon as it has the answer to the last.

    Where the time is over before any answer came, it lasts until the first, which alone is counted:
    the rate is at least that. A job that is to be done `once` ends when each client has sent each
    of its requests, and lasts until the last answer.
    """
    latencies: list[float] = []
    seconds = job["seconds"]
    statuses: Counter[int] = Counter()
    answered_statuses: Counter[int] = Counter()
    running = job["clients"]
    finished = asyncio.get_running_loop().create_future()
    begin = end = 0.0

    def answered(connection: Connection, status: int) -> None:
        nonlocal running, seconds
        time_ = now()
        answered_statuses[status] += 1
        if begin <= time_ < end or (time_ >= end and not latencies):
            seconds = max(seconds, time_ - begin)
            latencies.append(time_ - connection.sent)
            statuses[status] += 1
        connection.left -= 1
        if time_ < end and status and connection.left:
            assert connection.lane is not None
            connection.send(connection.lane.take())
        else:
            running -= 1
            if not running:
                if job["once"]:
                    seconds = time_ - begin
                finished.set_result(None)

    connections = await _connect(job, answered)
    begin = now() + job["warmup"]
    end = begin + job["seconds"]
    for connection, lane in zip(connections, lanes, strict=False):
        connection.lane = lane
        connection.left = len(lane) if job["once"] else -1
        connection.send(lane.take())
    await asyncio.sleep(max(0.0, begin - now()))
    cpu = time.process_time()
    await asyncio.wait([finished], timeout=max(0.0, end - now()))
    cpu = time.process_time() - cpu
    await asyncio.wait_for(finished, DRAIN_SECONDS)
    for connection in connections:
        connection.close()
    return {
        "seconds": seconds,
        "statuses": statuses,
        "answered": answered_statuses,
        "client_cpu": cpu / seconds,
        **_quantiles(latencies),
    }


class Pacer:
    """Sends each request when it is due, or as soon after as a connection is free."""

    def __init__(self, lane: Lane) -> None:
        self.samples: list[tuple[float, float, float, int, int]] = []
        self.waiting_max = 0
        self._lane = lane
        self._free: deque[Connection] = deque()
        self._waiting: deque[float] = deque()
        self._in_flight = 0
        self._idle = asyncio.Event()

    def add(self, connections: list[Connection]) -> None:
        self._free.extend(connections)

    @property
    def unanswered(self) -> int:
        return self._in_flight + len(self._waiting)

    def answered(self, connection: Connection, status: int) -> None:
        sample = (connection.due, connection.sent, now(), status, connection.position)
        self.samples.append(sample)
        self._in_flight -= 1
        if status:
            self._free.append(connection)
        if self._waiting and self._free:
            self._send(self._waiting.popleft())
        elif not self._in_flight:
            self._idle.set()

    async def run(self, begin: float, rate: float, seconds: float) -> None:
        due = begin
        while due < begin + seconds:
            await asyncio.sleep(max(0.0, due - now()))
            while due < begin + seconds and due <= now():
                if self._free:
                    self._send(due)
                else:
                    self._waiting.append(due)
                    self.waiting_max = max(self.waiting_max, len(self._waiting))
                due += 1 / rate

    async def finish(self) -> None:
        if self.unanswered:
            self._idle.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), DRAIN_SECONDS)

    def _send(self, due: float) -> None:
        self._in_flight += 1
        self._free.popleft().send(self._lane.take(), due)


async def open_loop(job: dict[str, Any], lanes: list[Lane]) -> dict[str, Any]:
    """Requests fall due at given rates, whether answers come or not.

    A request that finds every connection busy waits for one. Its latency counts from when it
    was due, so a slow server cannot slow its own measurement.
    """
    pacer = Pacer(lanes[0])
    connections = await _connect(job, pacer.answered)
    pacer.add(connections)
    begin = now()
    phases = []
    for rate, seconds in job["phases"]:
        phases.append({"rate": rate, "begin": begin, "end": begin + seconds})
        await pacer.run(begin, rate, seconds)
        begin += seconds
    await pacer.finish()
    for connection in connections:
        connection.close()
    return {
        "samples": pacer.samples,
        "phases": phases,
        "waiting_max": pacer.waiting_max,
        "unanswered": pacer.unanswered,
    }


def _quantiles(latencies: list[float]) -> dict[str, float]:
    ordered = sorted(latencies)
    count = len(ordered)
    if not count:
        return {"count": 0, "p50": float("nan"), "p99": float("nan"), "max": float("nan")}
    return {
        "count": count,
        "p50": ordered[count // 2],
        "p99": ordered[min(count - 1, count * 99 // 100)],
        "max": ordered[-1],
    }


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 16_384), hard), hard))
    sets: dict[str, list[Lane]] = {}
    for line in sys.stdin:
        job = json.loads(line)
        result: dict[str, Any] = {}
        if "define" in job:
            lanes = pickle.loads(Path(job["file"]).read_bytes())
            sets[job["define"]] = [Lane(lane) for lane in lanes]
        else:
            run = open_loop if "phases" in job else closed_loop
            try:
                result = uvloop.run(run(job, sets[job["requests"]]))
            except (OSError, TimeoutError) as error:
                result = {"failure": f"{type(error).__name__}: {error}"}
        Path(job["answer"]).write_text(json.dumps(result))
        print("answered", flush=True)


if __name__ == "__main__":
    main()
