"""What the server's account must reach, and what only it may. All of it is a matter for root."""

import logging
import os
import stat
from pathlib import Path

from api.embedded.account import Account
from api.embedded.errors import EmbeddedPostgresError

logger = logging.getLogger(__name__)


def give(path: Path, account: Account) -> None:
    """Hand over a file, or a directory with all that is in it; the top comes last, so a kill in
    the middle is noticed by the owner of the top and done again."""
    if account.is_ours:
        return
    for folder, directories, files in os.walk(path, topdown=False):
        for name in (*directories, *files):
            os.chown(Path(folder, name), account.uid, account.gid, follow_symlinks=False)
    os.chown(path, account.uid, account.gid, follow_symlinks=False)


def make_private_directory(path: Path, account: Account) -> None:
    """A directory that only the account enters. One that somebody else made first is refused."""
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    owners = {os.geteuid(), account.uid}
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners or status.st_mode & 0o077:
        raise EmbeddedPostgresError(
            f"{path} must be a directory that belongs to uid {account.uid} and is closed to all"
            f" others (mode 0700). Remove it, or set TMPDIR if it is not yours."
        )
    give(path, account)


def make_searchable(directory: Path, account: Account) -> None:
    """Let the account pass through a directory and its parents: o+x where missing, never o+r."""
    if account.is_ours:
        return
    for folder in (directory, *directory.parents):
        if not _passes(folder, account):
            _open_to_others(folder, stat.S_IXOTH)


def make_readable(tree: Path, account: Account) -> None:
    """Let the account use programs and libraries: o+rX where missing in a tree of the wheel."""
    if account.is_ours:
        return
    for path in (tree, *tree.rglob("*")):
        mode = path.stat().st_mode
        wanted = stat.S_IROTH | (stat.S_IXOTH if mode & 0o111 else 0)
        if mode & wanted != wanted:
            _open_to_others(path, wanted)


def _open_to_others(path: Path, bits: int) -> None:
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(before | bits)
    logger.warning("opened %s for the database's account: %o -> %o", path, before, before | bits)


def _passes(directory: Path, account: Account) -> bool:
    status = directory.stat()
    needed = stat.S_IXUSR if status.st_uid == account.uid else stat.S_IXOTH
    return bool(status.st_mode & needed)
