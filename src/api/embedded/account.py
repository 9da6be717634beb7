"""The operating system account that the server runs as."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from api.embedded.errors import EmbeddedPostgresError

ACCOUNT_NAME = "booking-ledger"


@dataclass(frozen=True)
class Account:
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()


def server_account(pgdata: Path) -> Account:
    """Our own account; as root, whom PostgreSQL refuses, the owner of pgdata or a dedicated one."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if pgdata.exists() and (owner := pgdata.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    return _dedicated_account()


def _dedicated_account() -> Account:
    if (found := _find_account()) is not None:
        return found
    useradd = shutil.which("useradd", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if useradd is None:
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root, and there is no useradd to make the account"
            f" {ACCOUNT_NAME!r}. Make it by hand, run as another user, or set a database URL."
        )
    done = subprocess.run(  # noqa: S603 - constants only
        [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT_NAME],
        check=False,
        capture_output=True,
        text=True,
    )
    # Another start on this machine may have made it first: what counts is that it is there.
    if (found := _find_account()) is None:
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root, and the account {ACCOUNT_NAME!r} could not be made:"
            f" {done.stderr.strip()}. Make it by hand, run as another user, or set a database URL."
        )
    return found


def _find_account() -> Account | None:
    try:
        entry = pwd.getpwnam(ACCOUNT_NAME)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid)
