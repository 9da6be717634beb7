"""Processes held to a share of a core each: a machine of many slow cores, out of one of few.

By the quota of Linux' control groups (cpu.cfs_quota_us, or cpu.max in version 2), so it takes root
and a group tree that can be written. In each period a process runs for its share and then waits.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

QUOTA_MIN_MICROSECONDS = 1_000
"""The least that Linux takes."""
END_SECONDS = 10.0
GROUP = f"booking-ledger-benchmark-{os.getpid()}"


class CannotHold(Exception):
    """No control group for processor time can be made here; says why."""


class SlowCores:
    """A group for each process: held until `close`, there until `remove`.

    `turn` is for how many seconds one may run at a time, a thousandth at least. The shorter, the
    less the wait behind it shows in what is measured, and the colder the caches are.
    """

    def __init__(self, share: float, turn: float) -> None:
        self._quota = max(QUOTA_MIN_MICROSECONDS, round(turn * 1_000_000))
        self._period = round(self._quota / share)
        self._is_old, self._parent = _tree()
        self._root = self._parent / GROUP
        self._held: dict[int, Path] = {}
        try:
            self._root.mkdir()
            if not self._is_old:
                (self._root / "cgroup.subtree_control").write_text("+cpu")
        except OSError as error:
            with suppress(OSError):
                self._root.rmdir()
            raise CannotHold(f"no control group can be made: {error}") from error

    def hold(self, pids: Iterable[int]) -> None:
        for pid in pids:
            if pid in self._held:
                continue
            group = self._root / str(pid)
            group.mkdir()
            self._held[pid] = group
            if self._is_old:
                (group / "cpu.cfs_period_us").write_text(str(self._period))
                (group / "cpu.cfs_quota_us").write_text(str(self._quota))
            else:
                (group / "cpu.max").write_text(f"{self._quota} {self._period}")
            with suppress(ProcessLookupError):
                (group / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Give all of them what they want; those that are still there stay in their groups."""
        no_limit = "-1" if self._is_old else "max"
        for group in self._held.values():
            (group / ("cpu.cfs_quota_us" if self._is_old else "cpu.max")).write_text(no_limit)

    def remove(self) -> None:
        """Once the processes have ended, or are about to."""
        for group in (*self._held.values(), self._root):
            deadline = time.monotonic() + END_SECONDS
            while True:
                try:
                    group.rmdir()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)


def _tree() -> tuple[bool, Path]:
    """Whether the control groups for processor time are of version 1, and where they are."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup" and "cpu" in options.split(","):
            return True, Path(place)
        if kind == "cgroup2" and "cpu" in (Path(place) / "cgroup.controllers").read_text().split():
            return False, Path(place)
    raise CannotHold("there are no control groups for processor time")
