"""Real servers, real processes, real kills."""

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from api.embedded import (
    EmbeddedPostgresError,
    access,
    account,
    embedded_postgres,
    memory,
    postmaster,
)
from api.embedded.account import Account, server_account
from api.embedded.cluster import Cluster

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change accounts")

HOLD = """
import os, pathlib, signal, sys
from api.embedded import embedded_postgres
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
if len(sys.argv) > 2:  # all is imported: the interpreter itself may lie where others cannot look
    import psycopg; psycopg.conninfo.make_conninfo()
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
with embedded_postgres(pathlib.Path(sys.argv[1])) as conninfo:
    print(conninfo, flush=True)
    sys.stdin.read()
"""

Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def parent() -> Iterator[Path]:
    """Not tmp_path: as root that lies in a 0700 directory, which other pytest runs close again."""
    path = Path(tempfile.mkdtemp(prefix="ledger-"))
    path.chmod(0o711)
    yield path
    for pid_file in path.glob("**/postmaster.pid"):
        kill_all(pid_file)
    shutil.rmtree(path)


@pytest.fixture
def empty_dir(parent: Path) -> Path:
    return parent / "data"


@pytest.fixture(scope="module")
def shared_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ledger-") as parent:
        Path(parent).chmod(0o711)
        with embedded_postgres(Path(parent, "data")):
            pass
        yield Path(parent, "data")


@pytest.fixture
def used_dir(shared_dir: Path) -> Iterator[Path]:
    """One that was used before, as most are; kills may hit it, its files stay as they are."""
    (shared_dir / "postgres.log").unlink(missing_ok=True)
    yield shared_dir
    for pid_file in shared_dir.glob("postgres/postmaster.pid"):
        kill_all(pid_file)


@pytest.fixture
def copied_dir(parent: Path, shared_dir: Path) -> Path:
    """One whose files a test may damage."""
    subprocess.run(["cp", "-a", shared_dir, parent / "data"], check=True)
    return parent / "data"


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Start a process that holds a lease until its stdin closes."""
    held: list[subprocess.Popen[str]] = []

    def start(data_dir: Path, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(data_dir), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        held.append(process)
        return process

    yield start
    for process in held:
        process.kill()
        process.communicate()


def conninfo_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdout.readline().strip() or process.stderr.read()


def release(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=30)
    return errors


def query(conninfo: str, sql: str) -> object:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def pid_of(data_dir: Path) -> int:
    """Of the server that is running or starting, once it has written its file."""
    file, lines = data_dir / "postgres/postmaster.pid", list[str]()
    while not lines:
        lines = file.read_text().splitlines()
    return int(lines[0])


def is_dead(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # here nobody may reap orphans
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 10
    while not all(map(is_dead, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_all(pid_file: Path) -> None:
    """SIGKILL for the server of a pid file and all its backends."""
    with contextlib.suppress(psutil.NoSuchProcess):
        server = psutil.Process(int(pid_file.read_text().split()[0]))
        if server.name() == "postgres":
            processes = [server, *server.children(recursive=True)]
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            wait_until_gone(processes)


def is_stopped(data_dir: Path) -> bool:
    return not (data_dir / "postgres/postmaster.pid").exists()


def assert_refused(data_dir: Path, reason: str) -> None:
    with pytest.raises(EmbeddedPostgresError, match=reason), embedded_postgres(data_dir):
        pass


def cluster_of(data_dir: Path) -> Cluster:
    return Cluster(data_dir, server_account(data_dir / "postgres"))


def test_layout_is_private_and_without_tcp(empty_dir: Path) -> None:
    """Only the server's account reaches the socket, so trust is enough."""
    with embedded_postgres(empty_dir) as conninfo:
        run, pgdata, log = (empty_dir / name for name in ("run", "postgres", "postgres.log"))
        owner = pgdata.stat().st_uid
        assert owner == server_account(pgdata).uid != 0
        for path, mode in ((run, 0o700), (pgdata, 0o700), (log, 0o600)):
            assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (owner, mode)
        sockets = {each.type for each in psutil.Process(pid_of(empty_dir)).net_connections("inet")}
        assert sockets == set()
        assert query(conninfo, "SHOW listen_addresses") == ""
        assert query(conninfo, "SHOW unix_socket_directories") == f'"{run}"'
        assert (run / ".s.PGSQL.5432").stat().st_mode & 0o777 == 0o700
    assert is_stopped(empty_dir)


def test_settings_are_durable(used_dir: Path) -> None:
    wanted = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "server_encoding": "UTF8",
        "max_connections": "100",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "wal_compression": "off",
        "timezone": "UTC",
        "log_checkpoints": "off",
    }
    with embedded_postgres(used_dir) as conninfo:
        assert {name: query(conninfo, f"SHOW {name}") for name in wanted} == wanted
        # The order of text comes from PostgreSQL itself, not from the machine's C library.
        sql = "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname='postgres'"
        assert query(conninfo, sql) == "bC.UTF-8"


def test_pages_are_kept_in_a_sixteenth_of_the_memory(used_dir: Path) -> None:
    with embedded_postgres(used_dir) as conninfo:
        sql = "SELECT setting::int / 128 || 'MB' FROM pg_settings WHERE name = 'shared_buffers'"
        assert query(conninfo, sql) == memory.shared_buffers()


@pytest.mark.parametrize(
    "name",
    ["a" * 100, "one,two", 'it\'s "$HOME" `id` 100% żółć'],
    ids=["too long", "separator of libpq", "shell syntax"],
)
def test_any_path_will_do(parent: Path, name: str) -> None:
    data_dir = parent / name
    with embedded_postgres(data_dir) as conninfo:
        assert query(conninfo, "SHOW data_directory") == str(data_dir / "postgres")
        elsewhere = cluster_of(data_dir).socket_dir
        assert (elsewhere.parent == data_dir) == (name not in ("a" * 100, "one,two"))
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
        assert elsewhere.stat().st_uid == server_account(data_dir / "postgres").uid
    assert is_stopped(data_dir)
    if elsewhere.parent != data_dir:
        elsewhere.rmdir()


@as_root
def test_a_socket_directory_made_by_somebody_else_is_refused(parent: Path) -> None:
    data_dir = parent / ("a" * 100)
    planted = Cluster(data_dir, account._dedicated_account()).socket_dir
    planted.mkdir(mode=0o700)
    os.chown(planted, 65534, 65534)
    try:
        assert_refused(data_dir, "Remove it")
    finally:
        planted.rmdir()


def test_killed_initdb_leaves_nothing_half_made(empty_dir: Path, hold: Hold) -> None:
    process = hold(empty_dir)
    while not any(empty_dir.glob("postgres.new-*/PG_VERSION")):
        assert process.poll() is None
        time.sleep(0.005)
    initdb = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for each in initdb:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    wait_until_gone(initdb)
    assert not (empty_dir / "postgres").exists()
    assert list(empty_dir.glob("postgres.new-*")) != []
    with embedded_postgres(empty_dir) as conninfo:
        assert query(conninfo, "SELECT 1") == 1
    assert list(empty_dir.glob("postgres.new-*")) == []


def test_leases_of_one_process_nest_and_thread(used_dir: Path) -> None:
    with embedded_postgres(used_dir) as outer:
        started = pid_of(used_dir)
        with embedded_postgres(used_dir) as inner:
            assert inner == outer
        together = threading.Barrier(4)
        seen: list[int] = []

        def lease() -> None:
            with embedded_postgres(used_dir):
                together.wait(10)
                seen.append(pid_of(used_dir))

        threads = [threading.Thread(target=lease) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [started] * 4
        assert query(outer, "SELECT 1") == 1
    assert is_stopped(used_dir)


@pytest.mark.parametrize("first_leaves_first", [True, False])
def test_server_survives_whoever_leaves_first(
    used_dir: Path, hold: Hold, first_leaves_first: bool
) -> None:
    first = hold(used_dir)
    conninfo = conninfo_of(first)
    second = hold(used_dir)
    assert conninfo_of(second) == conninfo
    leaving, staying = (first, second) if first_leaves_first else (second, first)
    release(leaving)
    assert query(conninfo, "SELECT 1") == 1
    release(staying)
    assert is_stopped(used_dir)


def test_four_processes_start_at_once(empty_dir: Path, hold: Hold) -> None:
    processes = [hold(empty_dir) for _ in range(4)]
    conninfos = [conninfo_of(process) for process in processes]
    assert len(set(conninfos)) == 1
    assert query(conninfos[0], "SELECT 1") == 1
    assert (empty_dir / "postgres.log").read_text().count("starting PostgreSQL") == 1
    for process in processes:
        assert release(process) == ""
    assert is_stopped(empty_dir)


def test_server_is_a_daemon(used_dir: Path) -> None:
    """It has a session of its own, none of our locks, and no pipe of ours."""
    with embedded_postgres(used_dir):
        pid = pid_of(used_dir)
        assert os.getsid(pid) == pid
        opened = {each.name: str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
        assert (opened["0"], opened["1"], opened["2"]) == (
            "/dev/null",
            *[str(used_dir / "postgres.log")] * 2,
        )
        assert [each for each in opened.values() if each.endswith(".lock")] == []
        environment = Path(f"/proc/{pid}/environ").read_text()
        assert "PYTEST_CURRENT_TEST" not in environment


def test_ctrl_c_ends_the_process_that_started_it_only(used_dir: Path, hold: Hold) -> None:
    starter = hold(used_dir)
    conninfo = conninfo_of(starter)
    with embedded_postgres(used_dir):
        os.killpg(starter.pid, signal.SIGINT)
        assert "KeyboardInterrupt" in release(starter)
        assert query(conninfo, "SELECT 1") == 1


def test_server_of_a_killed_process_is_joined_and_stopped(used_dir: Path, hold: Hold) -> None:
    process = hold(used_dir)
    conninfo_of(process)
    process.kill()
    process.wait()
    survivor = pid_of(used_dir)
    with embedded_postgres(used_dir):
        assert pid_of(used_dir) == survivor
    assert is_stopped(used_dir)


def test_forked_child_keeps_the_server(used_dir: Path) -> None:
    """A fork shares the lease: the parent's end does not stop the server under its child."""
    script = """
import os, pathlib, sys
from api.embedded import embedded_postgres
with embedded_postgres(pathlib.Path(sys.argv[1])) as conninfo:
    child = os.fork()
    if child == 0:
        sys.stdin.read()
        os._exit(0)
print(child, flush=True)
print(conninfo, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(used_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        child = psutil.Process(int(conninfo_of(process)))
        conninfo = conninfo_of(process)
        assert process.wait(10) == 0
        assert query(conninfo, "SELECT 1") == 1
    wait_until_gone([child])
    with embedded_postgres(used_dir):
        pass
    assert is_stopped(used_dir)


@pytest.mark.parametrize("victims", ["postmaster", "all of postgres", "our process", "everything"])
def test_recovers_from_sigkill(used_dir: Path, hold: Hold, victims: str) -> None:
    """What was committed is there again, and the server answers."""
    process = hold(used_dir)
    conninfo = conninfo_of(process)
    query(conninfo, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS answer")
    server = psutil.Process(pid_of(used_dir))
    if victims in ("our process", "everything"):
        process.kill()
        process.wait()
    if victims == "postmaster":
        server.kill()
    elif victims != "our process":
        kill_all(used_dir / "postgres/postmaster.pid")
    with embedded_postgres(used_dir) as again:
        assert query(again, "SELECT answer FROM kept") == 42
    if process.poll() is None:
        release(process)
    assert is_stopped(used_dir)


@pytest.mark.parametrize("program", [["sleep", "60"], ["true"]], ids=["living", "zombie"])
def test_recycled_pid_is_not_believed(used_dir: Path, program: list[str]) -> None:
    """Both lock files name a process of the server's account that is no server."""
    with embedded_postgres(used_dir):
        pid_file = used_dir / "postgres/postmaster.pid"
        socket_lock = used_dir / "run/.s.PGSQL.5432.lock"
        kill_all(pid_file)
        owner = pid_file.stat().st_uid
        other = subprocess.Popen(program, user=owner if os.geteuid() == 0 else None)
        try:
            for file in (pid_file, socket_lock):
                lines = file.read_text().splitlines()
                file.write_text("\n".join([str(other.pid), *lines[1:], ""]))
            with embedded_postgres(used_dir) as conninfo:
                assert query(conninfo, "SELECT 1") == 1
                assert pid_of(used_dir) != other.pid
            assert psutil.pid_exists(other.pid)
        finally:
            other.kill()
            other.wait()
    assert is_stopped(used_dir)


@pytest.mark.parametrize("content", ["", "nonsense\n"])
def test_damaged_pid_file_is_removed(used_dir: Path, content: str) -> None:
    """A power failure can leave an empty one, at which PostgreSQL itself gives up."""
    (used_dir / "postgres/postmaster.pid").write_text(content)
    with embedded_postgres(used_dir) as conninfo:
        assert query(conninfo, "SELECT 1") == 1


def test_waits_for_orphaned_backends(used_dir: Path) -> None:
    """A backend that outlives its postmaster may still write: no second server beside it."""
    with embedded_postgres(used_dir) as conninfo, psycopg.connect(conninfo) as connection:
        orphan = psutil.Process(connection.info.backend_pid)
        orphan.suspend()
        server = psutil.Process(pid_of(used_dir))
        rest = [each for each in server.children() if each.pid != orphan.pid]
        server.kill()
        wait_until_gone([server, *rest])
        release_orphan = threading.Timer(1.5, orphan.resume)
        release_orphan.start()
        began = time.monotonic()
        with embedded_postgres(used_dir) as again:
            assert time.monotonic() - began > 1
            assert query(again, "SELECT 1") == 1
        release_orphan.join()
    log = (used_dir / "postgres.log").read_text()
    assert "pre-existing shared memory block" in log


def test_gives_up_on_orphans_that_stay(used_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postmaster, "ORPHAN_SECONDS", 1)
    with embedded_postgres(used_dir) as conninfo, psycopg.connect(conninfo) as connection:
        orphan = psutil.Process(connection.info.backend_pid)
        orphan.suspend()
        server = psutil.Process(pid_of(used_dir))
        server.kill()
        wait_until_gone([server])
        with (
            pytest.raises(EmbeddedPostgresError, match="pre-existing shared memory block"),
            embedded_postgres(used_dir),
        ):
            pass
        orphan.kill()


def slow_recovery(data_dir: Path, seconds: float) -> None:
    """Make the next start replay an archive that is slow to answer."""
    (data_dir / "postgres/recovery.signal").touch()
    with (data_dir / "postgres/postgresql.conf").open("a") as conf:
        conf.write(f"\nhot_standby = off\nrestore_command = 'sleep {seconds}; false'\n")


def test_waits_for_crash_recovery(copied_dir: Path, hold: Hold) -> None:
    """A server that its dead starter left in recovery is waited for, not started twice."""
    slow_recovery(copied_dir, 0.3)
    process = hold(copied_dir)
    while is_stopped(copied_dir):
        assert process.poll() is None
        time.sleep(0.01)
    server = pid_of(copied_dir)
    process.kill()
    process.wait()
    with embedded_postgres(copied_dir) as conninfo:
        assert query(conninfo, "SELECT pg_is_in_recovery()") is False
        assert pid_of(copied_dir) == server
    assert "the database system is starting up" in (copied_dir / "postgres.log").read_text()


def test_endless_recovery_is_left_running(
    copied_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping it would throw away what it has replayed, and no start could ever succeed."""
    slow_recovery(copied_dir, 0.4)
    monkeypatch.setattr(postmaster, "START_SECONDS", 1)
    with (
        pytest.raises(EmbeddedPostgresError, match="start again later"),
        embedded_postgres(copied_dir),
    ):
        pass
    server = pid_of(copied_dir)
    monkeypatch.undo()
    with embedded_postgres(copied_dir):
        assert pid_of(copied_dir) == server


def test_failed_start_shows_the_log(copied_dir: Path) -> None:
    with (copied_dir / "postgres/postgresql.conf").open("a") as conf:
        conf.write("\nnonsense = yes\n")
    with (
        pytest.raises(EmbeddedPostgresError, match=r'unrecognized configuration.*"nonsense"'),
        embedded_postgres(copied_dir),
    ):
        pass


def test_large_log_is_set_aside(used_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postmaster, "LOG_BYTES_MAX", 10)
    for _ in range(3):
        with embedded_postgres(used_dir):
            pass
    for name in ("postgres.log", "postgres.log.1"):
        assert (used_dir / name).read_text().count("starting PostgreSQL") == 1


def test_other_major_version_is_named(copied_dir: Path) -> None:
    (copied_dir / "postgres/PG_VERSION").write_text("16\n")
    with (
        pytest.raises(EmbeddedPostgresError, match=r"PostgreSQL 16.*PostgreSQL 18.*xport"),
        embedded_postgres(copied_dir),
    ):
        pass


def test_foreign_files_are_not_overwritten(empty_dir: Path) -> None:
    (empty_dir / "postgres").mkdir(parents=True)
    (empty_dir / "postgres/notes.txt").write_text("mine")
    with (
        pytest.raises(EmbeddedPostgresError, match="lacks PG_VERSION"),
        embedded_postgres(empty_dir),
    ):
        pass
    assert (empty_dir / "postgres/notes.txt").read_text() == "mine"


def test_data_dir_that_is_a_file(parent: Path) -> None:
    (parent / "file").touch()
    with (
        pytest.raises(EmbeddedPostgresError, match=r"cannot keep a database in .*/file/data"),
        embedded_postgres(parent / "file" / "data"),
    ):
        pass


@as_root
def test_data_dir_that_is_not_writable(parent: Path, hold: Hold) -> None:
    errors = conninfo_of(hold(parent / "data", pwd.getpwnam("nobody").pw_uid))
    assert "EmbeddedPostgresError: cannot keep a database in" in errors
    assert "Make the directory writable" in errors


@as_root
def test_normal_user_serves_itself(parent: Path, hold: Hold) -> None:
    """And root, coming later, joins that server and leaves everything to its owner."""
    nobody = pwd.getpwnam("nobody").pw_uid
    data_dir = parent / "theirs" / "data"
    data_dir.parent.mkdir(mode=0o700)
    os.chown(data_dir.parent, nobody, nobody)
    process = hold(data_dir, nobody)
    conninfo = conninfo_of(process)
    assert query(conninfo, "SELECT 1") == 1
    assert psutil.Process(pid_of(data_dir)).uids().real == nobody
    with embedded_postgres(data_dir) as joined:
        assert joined == conninfo
    assert release(process) == ""
    assert is_stopped(data_dir)
    with embedded_postgres(data_dir):
        assert psutil.Process(pid_of(data_dir)).uids().real == nobody
    assert {each.stat().st_uid for each in data_dir.rglob("*")} == {nobody}
    assert stat.S_IMODE(data_dir.parent.stat().st_mode) == 0o700


@as_root
def test_root_opens_parents_for_passage_only(
    parent: Path, caplog: pytest.LogCaptureFixture
) -> None:
    closed = parent / "closed"
    closed.mkdir(mode=0o700)
    with embedded_postgres(closed / "data"):
        server = psutil.Process(pid_of(closed / "data"))
        assert server.username() == "booking-ledger"
        assert server.gids().real == pwd.getpwnam("booking-ledger").pw_gid
        groups = Path(f"/proc/{server.pid}/status").read_text().partition("Groups:")[2]
        assert groups.splitlines()[0].strip() == ""
    assert stat.S_IMODE(closed.stat().st_mode) == 0o701
    assert [record.getMessage() for record in caplog.records] == [
        f"opened {closed} for the database's account: 700 -> 701"
    ]


@as_root
def test_wheel_installed_under_a_strict_umask_is_made_readable(parent: Path) -> None:
    tree = parent / "share"
    (tree / "sub").mkdir(parents=True, mode=0o700)
    for name, mode in (("sub/data", 0o600), ("program", 0o700), ("open", 0o644)):
        (tree / name).touch()
        (tree / name).chmod(mode)
    access.make_readable(tree, Account(65534, 65534))
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tree.rglob("*")}
    assert modes == {"sub": 0o705, "data": 0o604, "program": 0o705, "open": 0o644}


@as_root
def test_restored_backup_of_root_is_handed_over(copied_dir: Path) -> None:
    for each in ((copied_dir / "postgres"), *(copied_dir / "postgres").rglob("*")):
        os.chown(each, 0, 0)
    with embedded_postgres(copied_dir) as conninfo:
        assert query(conninfo, "SELECT 1") == 1


@as_root
def test_missing_useradd_is_explained(empty_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "ACCOUNT_NAME", "nobody-of-this-name")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with (
        pytest.raises(EmbeddedPostgresError, match="there is no useradd"),
        embedded_postgres(empty_dir),
    ):
        pass


def test_client_environment_does_not_matter(
    used_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1234")
    monkeypatch.setenv("PGHOST", "elsewhere.invalid")
    monkeypatch.setenv("PGDATA", "/nowhere")
    with embedded_postgres(used_dir) as conninfo:
        assert query(conninfo, "SELECT current_user || ' ' || current_database()") == (
            "postgres postgres"
        )


def test_socket_is_found_under_another_tmpdir(
    parent: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process asks the server where it listens."""
    data_dir = parent / ("a" * 100)
    conninfo = conninfo_of(process := hold(data_dir))
    usual = cluster_of(data_dir).socket_dir
    monkeypatch.setattr(tempfile, "tempdir", str(parent))
    with embedded_postgres(data_dir) as joined:
        assert joined == conninfo
    release(process)
    usual.rmdir()


def test_timings(empty_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Generous limits; the figures are printed."""
    took: list[float] = []
    for _ in range(2):
        began = time.monotonic()
        with embedded_postgres(empty_dir):
            took.append(time.monotonic() - began)
            began = time.monotonic()
            with embedded_postgres(empty_dir):
                took.append(time.monotonic() - began)
            began = time.monotonic()
        took.append(time.monotonic() - began)
    with capsys.disabled():
        print(  # noqa: T201
            "\nfirst start {:.2f} s, join {:.3f} s, stop {:.2f} s,"
            " second start {:.2f} s, join {:.3f} s, stop {:.2f} s".format(*took)
        )
    assert took[0] < 30
    assert took[3] < 20
