"""One run of an import: chunks in, to the writer, and what became of them counted."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from api.imports.chunks import Chunk
from api.imports.rejects import RejectsFile
from api.imports.stop import StopRequest
from ledger.import_transaction import Taken
from ledger.import_writer import ImportWriter, PartlyRecorded, Recording


@dataclass
class Summary:
    """What a run did so far. Rows are counted when they are on disk.

    `bytes_read` is how far the file was read for that; None where it has no such place.
    """

    rows: int = 0
    taken: Taken = field(default_factory=Taken)
    rejected: int = 0
    seconds: float = 0.0
    bytes_read: int | None = None
    complete: bool = False

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0


class ImportRun:
    """Gives chunks to the writer, and keeps the summary: one chunk is stored while the next is
    read and decided on."""

    def __init__(self, writer: ImportWriter, rejects: RejectsFile) -> None:
        self.summary = Summary()
        self._writer = writer
        self._rejects = rejects
        self._under_way: tuple[Chunk, Recording | None] | None = None

    def run(
        self, chunks: Iterator[Chunk], stop: StopRequest, progress: Callable[[Summary], None]
    ) -> None:
        """Import until the end of the chunks or a request to stop; what is begun is finished.

        Raises UnreadableFile, StoreUnavailable or OutcomeUnknown where the writer gave up, why the
        database refuses rows, or OSError where rejects cannot be written. What was recorded then is
        counted, but for the rejects in between.
        """
        started = time.monotonic()
        try:
            while (chunk := stop.interruptible(lambda: next(chunks, None))) is not None:
                self._take(chunk)
                self.summary.seconds = time.monotonic() - started
                progress(self.summary)
        finally:
            try:
                self._finish()
            finally:
                self.summary.seconds = time.monotonic() - started
        self.summary.complete = not stop.requested

    def _take(self, chunk: Chunk) -> None:
        decision = self._writer.decide(chunk.rows) if len(chunk.rows) else None
        self._finish()
        with self._begun_counted():
            recording = None if decision is None else self._writer.store(decision)
        self._under_way = (chunk, recording)

    def _finish(self) -> None:
        """Wait for the chunk that is under way, and count it."""
        if self._under_way is None:
            return
        (chunk, recording), self._under_way = self._under_way, None
        summary = self.summary
        if recording is not None:
            with self._begun_counted():
                summary.taken.add(recording.result())
        summary.rows += len(chunk.rows)
        self._rejects.write(chunk.rejects)
        summary.rows += len(chunk.rejects)
        summary.rejected += len(chunk.rejects)
        summary.bytes_read = chunk.bytes_read

    @contextmanager
    def _begun_counted(self) -> Iterator[None]:
        try:
            yield
        except PartlyRecorded as partly:
            self.summary.rows += partly.rows
            self.summary.taken.add(partly.taken)
            raise partly.why from partly.why.__cause__
