"""What a result depends on. No names and no paths: results are published."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import psycopg

SETTINGS = (
    *("server_version", "fsync", "synchronous_commit", "full_page_writes"),
    *("shared_buffers", "max_wal_size", "checkpoint_timeout", "wal_compression"),
)
PACKAGES = ("booking-ledger", "eventsourcing", "fastapi", "uvicorn", "psycopg", "uvloop")


SPIN = """
import sys, time
begin, seconds = map(float, sys.argv[1:])
while time.monotonic() < begin: pass
turns = 0
while time.monotonic() < begin + seconds: turns += 1
print(turns)
"""
BEGIN_SECONDS, SPIN_SECONDS = 0.2, 0.3


def cores_worth() -> float:
    """How much all cores do together, in cores: what one does when the others are idle is 1.

    Two cores of a virtual machine may be two threads of one, which others use as well: they are
    worth between 1 and 2 then, now more and now less. Work that needs all cores has less of them
    than work that needs one.
    """
    cores = len(os.sched_getaffinity(0))
    return _turns(cores) / _turns(1)


def _turns(processes: int) -> int:
    given = [str(time.monotonic() + BEGIN_SECONDS), str(SPIN_SECONDS)]
    spinning = [
        subprocess.Popen([sys.executable, "-c", SPIN, *given], stdout=subprocess.PIPE)
        for _ in range(processes)
    ]
    return sum(int(one.communicate()[0]) for one in spinning)


def facts(database_url: str) -> dict[str, Any]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        shown = {name: _show(connection, name) for name in SETTINGS}
    server_version = shown.pop("server_version")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "PostgreSQL": f"{server_version}, embedded, "
        + ", ".join(f"{name}={value}" for name, value in shown.items()),
        "commit": _commit(),
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _commit() -> str:
    """Of what is measured, as far as it can be told."""
    directory = Path(__file__).parent
    told = []
    for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain"]):
        done = subprocess.run(
            ["git", *command], cwd=directory, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            return "unknown"
        told.append(done.stdout.strip())
    return f"{told[0]} and changes" if told[1] else told[0]


def _show(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])
