"""What a result depends on. No names and no paths: results are published."""

import os
import platform
import subprocess
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
