"""Starting, finding and stopping the server process of a cluster. Call under the start lock."""

import os
import shlex
import socket
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from api.embedded.access import give, make_private_directory, make_searchable
from api.embedded.cluster import SOCKET_NAME, Cluster
from api.embedded.errors import EmbeddedPostgresError
from api.embedded.memory import shared_buffers

START_SECONDS = 300  # crash recovery replays up to max_wal_size and more
STOP_SECONDS = 300
ORPHAN_SECONDS = 30  # backends of a killed server leave at their next look around
ORPHAN_POLL_SECONDS = 0.5
POLL_SECONDS = 0.05
LOG_BYTES_MAX = 16 * 1024 * 1024

SETTINGS = {
    "listen_addresses": "",  # no TCP at all: only the owner of the socket directory gets in
    "port": "5432",  # is part of the socket's name
    "unix_socket_permissions": "0700",
    "max_connections": "100",  # initdb may have written less on a small machine, as below
    "max_wal_size": "2GB",  # an import does not run from checkpoint to checkpoint
    # After each checkpoint, a page is logged whole at its first change. What is to be replayed
    # after a crash is bounded by the size above.
    "checkpoint_timeout": "15min",
    # Sealed text and random keys do not get smaller, and after a checkpoint to try it on each
    # page costs more than all else that is done for a change.
    "wal_compression": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",  # the log is for what somebody should read
}


def ensure_running(cluster: Cluster) -> str:
    """Start or join the server; return its conninfo once it has answered a query."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < START_SECONDS:
        socket_dir = find_server(cluster)
        if socket_dir is None:
            _start(cluster, patient=waited < ORPHAN_SECONDS)
        elif _answers(conninfo := _conninfo(socket_dir)):
            return conninfo
        else:
            time.sleep(POLL_SECONDS)
    raise EmbeddedPostgresError(
        f"the PostgreSQL of {cluster.data_dir} runs but has not answered for {START_SECONDS} s; if"
        f" it is replaying its log, start again later: it goes on.\n{_log_tail(cluster)}"
    )


def find_server(cluster: Cluster) -> Path | None:
    """The socket directory of the live server, which may not answer yet, or None.

    A pid file proves nothing: its pid may be dead, or belong to another program by now. No pid
    file does prove that there is no server, for a server removes it last.
    """
    lines = _read_pid_file(cluster)
    if lines is None:
        return None
    # The server's own word comes first: it may have been started under another TMPDIR.
    socket_dir = Path(lines[4]) if len(lines) > 4 and lines[4] else cluster.socket_dir
    return socket_dir if _is_postmaster(lines, cluster) or _is_listening(socket_dir) else None


def stop(cluster: Cluster) -> None:
    """Shut the server down cleanly; open transactions are rolled back.

    One of another container is left alone: pg_ctl would signal whoever has its pid in this one.
    """
    if not _is_postmaster(_read_pid_file(cluster), cluster):
        return
    done = cluster.run(
        "pg_ctl", "stop", "-m", "fast", "-w", "-t", str(STOP_SECONDS), "-D", cluster.pgdata.name
    )
    if done.returncode != 0 and find_server(cluster) is not None:
        raise EmbeddedPostgresError(
            f"the PostgreSQL of {cluster.data_dir} did not stop: {done.stderr.strip()}\n"
            f"{_log_tail(cluster)}"
        )


def _start(cluster: Cluster, *, patient: bool) -> None:
    _prepare_start(cluster)
    log_size = cluster.log.stat().st_size
    done = cluster.run(
        "pg_ctl", "start", "-w", "-t", str(START_SECONDS), "-D", cluster.pgdata.name,
        "-l", cluster.log.name, "-o", _options(cluster),
    )  # fmt: skip
    # A failure beside a live server: it is still recovering, or a start whose parent was killed
    # has won the race.
    if done.returncode == 0 or find_server(cluster) is not None:
        return
    orphans = "pre-existing shared memory block" in _log_from(cluster, log_size)
    if orphans and patient:
        time.sleep(ORPHAN_POLL_SECONDS)
        return
    advice = "Processes of its killed predecessor still run: end those first.\n" if orphans else ""
    raise EmbeddedPostgresError(
        f"the PostgreSQL of {cluster.data_dir} did not start: {done.stderr.strip()}\n"
        f"{advice}{_log_tail(cluster)}"
    )


def _prepare_start(cluster: Cluster) -> None:
    make_searchable(cluster.socket_dir.parent, cluster.account)
    make_private_directory(cluster.socket_dir, cluster.account)
    if cluster.log.exists() and cluster.log.stat().st_size > LOG_BYTES_MAX:
        cluster.log.replace(cluster.log.with_suffix(".log.1"))
    os.close(os.open(cluster.log, os.O_CREAT | os.O_RDONLY | os.O_NOFOLLOW, 0o600))
    give(cluster.log, cluster.account)
    # No server lives, so these are stale. PostgreSQL would look at the pid alone and refuse to
    # start if it was given to another process; orphans it still finds by the shared memory.
    cluster.pid_file.unlink(missing_ok=True)
    (cluster.socket_dir / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)


def _options(cluster: Cluster) -> str:
    directory = str(cluster.socket_dir).replace('"', '""')
    settings = SETTINGS | {
        "shared_buffers": shared_buffers(),
        "cluster_name": cluster.name,
        "unix_socket_directories": f'"{directory}"',
    }
    return shlex.join(f"--{name}={value}" for name, value in settings.items())


def _read_pid_file(cluster: Cluster) -> list[str] | None:
    try:
        return cluster.pid_file.read_text().splitlines()
    except FileNotFoundError:
        return None


def _is_postmaster(pid_file: list[str] | None, cluster: Cluster) -> bool:
    if not pid_file:
        return False
    # A zombie has no command line: where nobody reaps, a killed server stays one for ever.
    try:
        return f"--cluster_name={cluster.name}" in psutil.Process(int(pid_file[0])).cmdline()
    except (ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _is_listening(socket_dir: Path) -> bool:
    """Finds a server whose pid means nothing here, as one in another container."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(socket_dir / SOCKET_NAME))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:  # its queue is full, so it is there
            return True
    return True


def _answers(conninfo: str) -> bool:
    try:
        with psycopg.connect(conninfo, connect_timeout=5, autocommit=True) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def _conninfo(socket_dir: Path) -> str:
    # The port is named because PGPORT would change it, and with it the socket's name.
    return f"postgresql://postgres@/postgres?host={quote(bytes(socket_dir), safe='')}&port=5432"


def _log_tail(cluster: Cluster) -> str:
    lines = _log_from(cluster, max(0, cluster.log.stat().st_size - 4096)).splitlines()[-15:]
    return "\n".join([f"The end of {cluster.log}:", *lines])


def _log_from(cluster: Cluster, offset: int) -> str:
    with cluster.log.open("rb") as log:
        log.seek(offset)
        return log.read().decode(errors="replace")
