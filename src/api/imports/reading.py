"""Read a file in a process of its own, so that two processors work on an import."""

import fcntl
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import UnsupportedOperation
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from os import _exit, fdopen, fstat, nice
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO

from api.imports.chunks import Chunk, read_chunks
from api.imports.formats import Format, UnreadableFile
from api.imports.garbage import rarely_collected
from api.imports.rows import RowReader
from ledger.errors import LedgerError
from ledger.workflow import Workflow

SMALL_BYTES = 2 * 1024 * 1024
"""Not worth another process: at half of it the whole command takes as long with one."""
GZIPPED = 8
"""How many times as long a compressed file may be when it is read."""
PIPE_BYTES = 1024 * 1024
"""The most that Linux gives to anybody: a chunk or two ahead."""

NICENESS = 5
"""A third of what the others get of a processor, where they want it."""

Chunks = Callable[[bytes], Generator[Chunk, None, None]]
"""Give it the key of fingerprints. What it gives raises UnreadableFile or ReaderLost."""


class ReaderLost(LedgerError):
    """The process that reads the file has ended"""


@dataclass(frozen=True)
class Reading:
    """How a file is read."""

    format: Format
    gzipped: bool
    workflow: Workflow
    assume_utc: bool = False

    def chunks(self, binary: BinaryIO, key: bytes) -> Generator[Chunk, None, None]:
        reader = RowReader(key, self.workflow, assume_utc=self.assume_utc)
        return read_chunks(binary, self.format, reader, gzipped=self.gzipped)


@contextmanager
def reading(binary: BinaryIO, how: Reading) -> Iterator[Chunks]:
    """Ready to read a file; in another process, which starts at once, where that is worth it."""
    if not _is_worth_a_process(binary, how):
        yield lambda key: how.chunks(binary, key)
        return
    forks = _can_fork()
    context: ForkContext | SpawnContext = get_context("fork") if forks else get_context("spawn")
    key_in, key_out = context.Pipe(duplex=False)
    chunks_in, chunks_out = context.Pipe(duplex=False)
    if sys.platform == "linux":
        with suppress(OSError):  # more than this user may have: then smaller parts are sent
            fcntl.fcntl(chunks_out.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    # Who is forked has all files of its parent, but must not hold the other ends of the pipes.
    file = binary.fileno() if forks else _Passed(binary.fileno())
    others = (key_out, chunks_in) if forks else ()
    process = context.Process(
        target=_read, args=(file, how, key_in, chunks_out, others), daemon=True
    )
    process.start()
    try:
        key_in.close()
        chunks_out.close()
        yield lambda key: _received(key, key_out, chunks_in, process)
    finally:
        process.kill()  # it has nothing to lose, and may wait for input that never comes
        process.join()
        process.close()
        key_out.close()
        chunks_in.close()


def _can_fork() -> bool:
    """What is forked is there at once. It must not be where another thread is in the middle of
    something, nor where the libraries of a system may have such threads (macOS)."""
    return sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) == 1


def _is_worth_a_process(binary: BinaryIO, how: Reading) -> bool:
    try:
        status = fstat(binary.fileno())
    except UnsupportedOperation:
        return False
    length = status.st_size * (GZIPPED if how.gzipped else 1)
    return not S_ISREG(status.st_mode) or length >= SMALL_BYTES


def _received(
    key: bytes, key_out: Connection, chunks_in: Connection, process: BaseProcess
) -> Generator[Chunk, None, None]:
    try:
        key_out.send_bytes(key)
        while (found := chunks_in.recv()) is not None:
            if isinstance(found, UnreadableFile):
                raise found
            yield found
    except (EOFError, OSError) as error:  # the second in the middle of a chunk
        process.join()
        raise ReaderLost(
            f"The process that reads the file has ended (exit code {process.exitcode})."
        ) from error


class _Passed:
    """An open file on its way to a process that is being spawned."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _arrived, (DupFd(self._descriptor),)


def _arrived(duplicate: Any) -> int:
    return int(duplicate.detach())


def _read(
    descriptor: int,
    how: Reading,
    key_in: Connection,
    chunks_out: Connection,
    others: Sequence[Connection],
) -> None:
    """What the other process does; `others` are not its own, but came with a fork."""
    for one in others:
        one.close()
    # A terminal's Ctrl-C goes to both; what is to be done then, the importing process decides.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # It is ahead of the others, and woken whenever there is room for more: they are waited for.
    nice(NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with fdopen(descriptor, "rb") as binary, rarely_collected():
        last: UnreadableFile | None = None
        try:
            for chunk in how.chunks(binary, key_in.recv_bytes()):
                chunks_out.send(chunk)
        except UnreadableFile as error:
            last = error
        chunks_out.send(last)


def _end_with_parent() -> None:
    """Also where it was killed while we wait for input, or for it to take a chunk."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    _exit(1)
