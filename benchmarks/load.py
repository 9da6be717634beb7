"""Load on a server, from a process of its own, and what came of it."""

import json
import pickle
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks.processes import python

WARM_UP_SECONDS = 0.3


class LoadFailed(Exception):
    """The load did not get the answers that it is about"""


@dataclass(frozen=True)
class Stretch:
    """A stretch of load in a closed loop; times in milliseconds.

    `answers` counts all answers, those of the warm-up too, by status. `idle` and `stolen` are in
    cores: what of the machine nobody used, and what its host gave to others, over the seconds that
    it `took` as a whole.
    """

    rate: float
    p50: float
    p99: float
    client_cpu: float
    answers: Mapping[str, int]
    idle: float
    stolen: float
    took: float

    @property
    def answered(self) -> int:
        return sum(self.answers.values())


@dataclass(frozen=True)
class Sample:
    """One request of an open loop; times of the monotonic clock, in seconds. Status 0: lost."""

    due: float
    sent: float
    answered: float
    status: int
    position: int


@dataclass(frozen=True)
class Paced:
    samples: list[Sample]
    phases: list[dict[str, float]]
    waiting_max: int
    unanswered: int


@dataclass
class LoadGenerator:
    """`directory` takes the files of requests."""

    directory: Path
    _process: "subprocess.Popen[str] | None" = field(default=None, init=False)
    _sets: int = field(default=0, init=False)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def define(self, lanes: Sequence[Sequence[bytes]]) -> str:
        """Hand over requests, a sequence a client; the name to run them by."""
        self._sets += 1
        name = f"requests-{self._sets}"
        file = self.directory / name
        file.write_bytes(pickle.dumps([list(lane) for lane in lanes]))
        self._ask({"define": name, "file": str(file)})
        file.unlink()
        return name

    def closed(
        self,
        url: str,
        requests: str,
        clients: int,
        seconds: float,
        expected: Sequence[int] = (200, 201),
        warm_up: float = WARM_UP_SECONDS,
        *,
        once: bool = False,
    ) -> Stretch:
        """As many requests as are answered, or each `once` where there is time for all. Raises
        LoadFailed at any other status."""
        started, before = time.monotonic(), psutil.cpu_times()
        found = self._run(
            url,
            {
                "requests": requests,
                "clients": clients,
                "seconds": seconds,
                "warmup": 0.0 if once else min(warm_up, seconds),
                "once": once,
            },
        )
        took, after = time.monotonic() - started, psutil.cpu_times()
        answers: dict[str, int] = found["answered"]
        if any(int(status) not in expected for status in answers):
            raise LoadFailed(f"answers by status: {answers}; only {expected} are right here")
        return Stretch(
            rate=found["count"] / found["seconds"],
            p50=found["p50"] * 1000,
            p99=found["p99"] * 1000,
            client_cpu=found["client_cpu"],
            answers=answers,
            idle=(after.idle - before.idle) / took,
            stolen=(after.steal - before.steal) / took,
            took=took,
        )

    def paced(
        self, url: str, requests: str, clients: int, phases: Sequence[tuple[float, float]]
    ) -> Paced:
        """Requests at given rates: pairs of requests a second, and for how many seconds."""
        found = self._run(url, {"requests": requests, "clients": clients, "phases": list(phases)})
        samples = [Sample(*sample) for sample in found.pop("samples")]
        return Paced(samples=samples, **found)

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(60)

    def _run(self, url: str, job: dict[str, Any]) -> dict[str, Any]:
        address = urlsplit(url)
        found = self._ask({"host": address.hostname, "port": address.port, **job})
        if "failure" in found:
            raise LoadFailed(found["failure"])
        return found

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                python("benchmarks.load_process"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # By a file: of a line of half a megabyte, a pipe has been seen to bring the first part.
        answer = self.directory / "answer"
        self._process.stdin.write(json.dumps({**job, "answer": str(answer)}) + "\n")
        self._process.stdin.flush()
        if not self._process.stdout.readline():
            raise LoadFailed(f"the load generator ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(answer.read_text())
        return found
