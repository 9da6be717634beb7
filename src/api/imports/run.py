"""One run of an import: rows in, commands to the writer, answers counted."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice

from api.imports.formats import Record, Reject
from api.imports.rejects import RejectsFile
from api.imports.rows import RowReader
from api.imports.stop import StopRequest
from ledger.commands import Answer, ImportStatus, Outcome
from ledger.errors import InvalidField
from ledger.writer import Writer

CHUNK_ROWS = 1_000


@dataclass
class Summary:
    """What a run did so far. Rows are counted when their answer is on disk.

    `position` is the newest of the ledger that the run has seen.
    """

    rows: int = 0
    opened: int = 0
    changed: int = 0
    unchanged: int = 0
    known: int = 0
    disputed: int = 0
    rejected: int = 0
    seconds: float = 0.0
    position: int = 0
    complete: bool = False

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0

    def count(self, outcome: Outcome) -> None:
        setattr(self, outcome.kind, getattr(self, outcome.kind) + 1)
        self.disputed += outcome.disputed
        self.position = max(self.position, outcome.position)


@dataclass
class Chunk:
    """Rows that are submitted together; `records` belong to `commands` one by one."""

    records: list[Record] = field(default_factory=list)
    commands: list[ImportStatus] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    answers: Future[Sequence[Answer]] = field(default_factory=Future)


class ImportRun:
    """Gives rows to a writer, a chunk at a time, and keeps the summary.

    One chunk is with the writer while the next is read, and no more: if the writer gave one
    up, a later one could still be recorded, and its rows would come before those.
    """

    def __init__(self, writer: Writer, rows: RowReader, rejects: RejectsFile) -> None:
        self.summary = Summary()
        self._writer = writer
        self._rows = rows
        self._rejects = rejects

    def run(
        self,
        records: Iterator[Record | Reject],
        stop: StopRequest,
        progress: Callable[[Summary], None],
    ) -> None:
        """Import until the end of the rows or a request to stop; what was submitted is finished.

        Raises UnreadableFile, or StoreUnavailable or OutcomeUnknown where the writer gave up.
        """
        started = time.monotonic()
        submitted: Chunk | None = None
        try:
            while (chunk := stop.interruptible(lambda: self._read(records))) is not None:
                before, submitted = submitted, None
                self._settle(before)
                self._submit(chunk)
                submitted = chunk
                self.summary.seconds = time.monotonic() - started
                progress(self.summary)
        finally:
            self._settle(submitted)
            self.summary.seconds = time.monotonic() - started
            progress(self.summary)
        self.summary.complete = not stop.requested

    def _read(self, records: Iterator[Record | Reject]) -> Chunk | None:
        """The next chunk, or None at the end."""
        chunk = Chunk()
        for record in islice(records, CHUNK_ROWS):
            if isinstance(record, Reject):
                chunk.rejects.append(record)
                continue
            try:
                command = self._rows.command(record.values)
            except InvalidField as error:
                chunk.rejects.append(Reject(record.line, str(error), record.row))
            else:
                chunk.records.append(record)
                chunk.commands.append(command)
        return chunk if chunk.commands or chunk.rejects else None

    def _submit(self, chunk: Chunk) -> None:
        def done(result: list[Answer] | Exception) -> None:
            if isinstance(result, Exception):
                chunk.answers.set_exception(result)
            else:
                chunk.answers.set_result(result)

        if chunk.commands:
            self._writer.submit(chunk.commands, done)
        else:
            done([])

    def _settle(self, chunk: Chunk | None) -> None:
        """Wait for the answers and count them."""
        if chunk is None:
            return
        answers = chunk.answers.result()
        self.summary.rows += len(chunk.records) + len(chunk.rejects)
        for record, answer in zip(chunk.records, answers, strict=True):
            if isinstance(answer, Outcome):
                self.summary.count(answer)
            else:
                chunk.rejects.append(Reject(record.line, str(answer), record.row))
        self.summary.rejected += len(chunk.rejects)
        self._rejects.write(sorted(chunk.rejects))
