"""Processes that a benchmark starts; each is ended by its id."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0
END_SECONDS = 30.0
IDLE_SECONDS, IDLE_SHARE = 0.5, 0.05


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours without settings of a ledger, which must not reach the processes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEDGER_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def used_seconds(process: psutil.Process) -> float:
    """Processor time of a process so far, none where it has ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def waited_seconds(process: psutil.Process) -> float:
    """How long the threads of a process were ready to run so far and had no core, by what Linux
    counts of each thread that is still there (`Documentation/scheduler/sched-stats.rst`)."""
    waited = 0
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            waited += int((thread / "schedstat").read_text().split()[1])
    return waited / 1e9


class Server:
    """A process that announces its address, as a line that holds "http://…"."""

    def __init__(
        self, command: Sequence[str], directory: Path, more: Mapping[str, str] | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._output = directory / "output"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                list(command),
                cwd=directory,
                env=environment(more or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.url = self._announced()

    def resident_bytes(self) -> dict[str, int]:
        """Resident memory of the process, and of its children together."""
        process = psutil.Process(self._process.pid)
        return {
            "server": process.memory_info().rss,
            "projector": sum(child.memory_info().rss for child in process.children()),
        }

    @property
    def processes(self) -> list[psutil.Process]:
        """The process itself, and its children that are still there."""
        process = psutil.Process(self._process.pid)
        return [process, *process.children()]

    def processor_seconds(self, *, children: bool = False) -> float:
        """Of the process itself, so far, or of its children too that are still there."""
        return sum(map(used_seconds, self.processes if children else self.processes[:1]))

    def wait_until_idle(self, seconds: float = 60.0) -> None:
        """Until the process and its children do next to nothing."""
        deadline = time.monotonic() + seconds
        before, used = self.processor_seconds(children=True), seconds
        while used > IDLE_SECONDS * IDLE_SHARE:
            if time.monotonic() > deadline:
                raise RuntimeError(f"a server was busy for {seconds} s")
            time.sleep(IDLE_SECONDS)
            now = self.processor_seconds(children=True)
            before, used = now, now - before

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _announced(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            said = self._output.read_text(errors="replace")
            for word in said.split():
                if word.startswith("http://") and said.endswith("\n"):
                    return word
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self.close()
        raise RuntimeError(f"a server did not start: {self._output.read_text(errors='replace')}")
