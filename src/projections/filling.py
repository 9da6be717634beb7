"""Fill the history of a rebuild from its events: rows depend on one event alone, so stretches of
positions are filled in any order, by several processes where that pays."""

import base64
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg

from ledger.database import Database
from ledger.errors import LedgerError
from ledger.transcoder import EventMapper
from projections import tables
from projections.feed import stream_between
from projections.rows import HistoryRows

logger = logging.getLogger(__name__)

CHUNK_EVENTS = 5_000
EVENTS_A_PROCESS = 25_000
"""One process more for each: to start one costs what some 10,000 events cost."""
PROCESSES_MAX = 8
SORT_MEMORY = "128MB"

Progress = Callable[[int, int], None]
"""Called with the position reached and the newest position."""


class FillFailed(LedgerError):
    """A process that fills the new tables has failed"""


@dataclass
class Filled:
    """`erased` are bookings with the position of an erasure: rows before it, which others may
    have filled, must lose their personal parts."""

    events: int = 0
    erased: dict[str, int] = field(default_factory=dict)


def set_up(connection: psycopg.Connection) -> None:
    """For whoever fills the tables of a rebuild: after a crash they are filled anew anyway."""
    connection.execute("SET synchronous_commit = off")
    # Whoever owns the schema may have one: here we wait for nobody but ourselves.
    connection.execute("SET lock_timeout = 0")
    for setting in ("work_mem", "maintenance_work_mem"):
        connection.execute(f"SET {setting} = '{SORT_MEMORY}'")


def fill_chunk(
    connection: psycopg.Connection, mapper: EventMapper, table: int, after: int, up_to: int
) -> Filled:
    """Write the history rows of a stretch of events, in one transaction.

    `table` is the one that is meant: should the rebuild have died and another have begun, the
    same name is that of a table in which these rows have no business.
    """
    with connection.transaction():
        if tables.oid(connection, tables.HISTORY, tables.REBUILD) != table:
            raise FillFailed("The table was replaced by that of another rebuild.")
        rows = HistoryRows(stream_between(connection, mapper, after, up_to))
        tables.write_history(connection, rows, tables.REBUILD)
    return Filled(rows.events, rows.erased)


def fill(
    connection: psycopg.Connection,
    database: Database,
    mapper: EventMapper,
    after: int,
    up_to: int,
    progress: Progress | None,
    begun_at: int = 0,
) -> Filled:
    """Write the history rows of all events after a position up to another. `begun_at` was head
    before anything was read: of erasures up to there nothing need be known.

    What a process fills is committed bit by bit; after a failure the tables are worth nothing.
    Raises FillFailed where another process fails.
    """
    with connection.transaction():
        table = tables.oid(connection, tables.HISTORY, tables.REBUILD)
    work = _Work(after, up_to, begun_at)
    with _processes(_processes_for(up_to - after) - 1, database, table, work):
        while (chunk := work.take()) is not None:
            work.add(fill_chunk(connection, mapper, table, *chunk))
            if progress is not None:
                progress(after + work.filled.events, up_to)
    if progress is not None:
        progress(after + work.filled.events, up_to)
    return work.filled


def _processes_for(events: int) -> int:
    return max(1, min(os.cpu_count() or 1, PROCESSES_MAX, events // EVENTS_A_PROCESS))


class _Work:
    """Hands out chunks to whoever asks and gathers what was filled; for several threads."""

    def __init__(self, after: int, up_to: int, begun_at: int) -> None:
        self.filled = Filled()
        self._begun_at = begun_at
        self._up_to = up_to
        self._next = after
        self._handed_out = 0
        self._failure: FillFailed | None = None
        self._lock = threading.Lock()

    def take(self) -> tuple[int, int] | None:
        """The next chunk, None after the last. Raises FillFailed where somebody has failed."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._next >= self._up_to:
                return None
            after, self._next = self._next, min(self._next + CHUNK_EVENTS, self._up_to)
            self._handed_out += 1
            return after, self._next

    def add(self, filled: Filled) -> None:
        """What was filled of one chunk."""
        with self._lock:
            self._handed_out -= 1
            self.filled.events += filled.events
            for booking_id, position in filled.erased.items():
                if position > max(self._begun_at, self.filled.erased.get(booking_id, 0)):
                    self.filled.erased[booking_id] = position

    def fail(self, failure: FillFailed) -> None:
        with self._lock:
            self._failure = self._failure or failure

    def finish(self) -> None:
        """Raises FillFailed unless every chunk was handed out and came back filled."""
        if self.take() is not None or self._handed_out:
            raise FillFailed("Not all events were filled into the new tables.")


@contextmanager
def _processes(count: int, database: Database, table: int, work: _Work) -> Iterator[None]:
    """So many processes at work; at the end all are through with it. Raises FillFailed."""
    started: list[_Process] = []
    try:
        while len(started) < count:
            started.append(_Process(database, table, work))
        yield
        for process in started:
            process.join()
        work.finish()
    finally:
        for process in started:
            process.end()


class _Process:
    """Another process and the thread that hands it chunk after chunk.

    It ends by itself when its standard input closes, so a SIGKILL of ours leaves none behind.
    """

    def __init__(self, database: Database, table: int, work: _Work) -> None:
        self._work = work
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `end`
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "projections.filling_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        # Through the pipe, where nobody else can read the key or a password.
        setup = {
            "url": database.url,
            "schema": database.schema,
            "masterKey": base64.b64encode(database.require_master_key().reveal()).decode(),
            "table": table,
        }
        self._thread = threading.Thread(
            target=self._attend, args=(setup,), name="filling", daemon=True
        )
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def end(self) -> None:
        """It must not be in the middle of anything that is worth something."""
        self._process.kill()
        self._thread.join()
        self._process.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()
        with suppress(BrokenPipeError):  # what it was not told, if it failed
            self._process.stdin.close()

    def _attend(self, setup: dict[str, object]) -> None:
        try:
            self._tell(setup)
            while (chunk := self._work.take()) is not None:
                self._tell(chunk)
                self._work.add(self._answer())
        except FillFailed as failure:
            self._work.fail(failure)

    def _tell(self, what: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def _answer(self) -> Filled:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._failure()
        return Filled(**json.loads(line))

    def _failure(self) -> FillFailed:
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        if code >= 0:  # not killed by `end`
            logger.error("a process that fills the new tables ended with code %s: %s", code, said)
        last = said.splitlines()[-1] if said else f"it ended with code {code}"
        return FillFailed(f"A process that fills the new tables has failed: {last}")
