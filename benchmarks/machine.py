"""What a result depends on. No names and no paths: results are published."""

import os
import platform
from importlib.metadata import version
from typing import Any

import psutil
import psycopg

SETTINGS = (
    *("server_version", "fsync", "synchronous_commit", "full_page_writes"),
    *("shared_buffers", "max_wal_size"),
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
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _show(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])
