"""Who uses the embedded server: it starts for the first and stops after the last.

Two advisory locks carry that. Each user holds `lease.lock` shared; starts and stops happen under
`start.lock`. The kernel drops both when a process dies, however it dies, so neither goes stale.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from api.embedded.account import server_account
from api.embedded.cluster import Cluster, ensure_initialised, open_paths
from api.embedded.errors import EmbeddedPostgresError
from api.embedded.postmaster import ensure_running, find_server, stop


@contextmanager
def embedded_postgres(data_dir: Path) -> Iterator[str]:
    """Hold a lease on the PostgreSQL of data_dir: initialise, start or join it; yield its conninfo
    URL; stop it when the last lease ends.

    Threads and processes may take leases of their own at any time. A forked child shares its
    parent's: the server stays until both are gone, but nobody stops it if the child, being last,
    ends without leaving this context. A killed process leaves the server running; the next lease
    joins it, and its end stops it.
    """
    data_dir = data_dir.resolve()
    try:
        lease, cluster, conninfo = _join(data_dir)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"cannot keep a database in {data_dir}: {error}. Make the directory writable for this"
            f" user, name another data directory, or set a database URL."
        ) from error
    try:
        yield conninfo
    finally:
        _leave(lease, cluster)


def _join(data_dir: Path) -> tuple[int, Cluster, str]:
    # Root's server runs under another account, which must pass through but not look around.
    data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    with _start_lock(data_dir), ExitStack() as undo:
        lease = os.open(data_dir / "lease.lock", os.O_RDWR | os.O_CREAT, 0o600)
        # A failed start leaves a server that is still recovering alone: the next one finds it
        # further on.
        undo.callback(os.close, lease)
        fcntl.flock(lease, fcntl.LOCK_SH)
        cluster = Cluster(data_dir, server_account(data_dir / "postgres"))
        if find_server(cluster) is None:
            open_paths(cluster)
            ensure_initialised(cluster)
        conninfo = ensure_running(cluster)
        undo.pop_all()
    return lease, cluster, conninfo


def _leave(lease: int, cluster: Cluster) -> None:
    with _start_lock(cluster.data_dir):
        # Closed, not unlocked: unlocking would end the lease of a forked child as well.
        os.close(lease)
        if _nobody_holds(cluster.data_dir / "lease.lock"):
            stop(cluster)


def _nobody_holds(lease_lock: Path) -> bool:
    probe = os.open(lease_lock, os.O_RDWR)
    try:
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(probe)
    return True


@contextmanager
def _start_lock(data_dir: Path) -> Iterator[None]:
    descriptor = os.open(data_dir / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
