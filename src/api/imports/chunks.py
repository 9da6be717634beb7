"""From a file to chunks: checked rows, ready for the ledger, and those that cannot be taken."""

import gzip
import io
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, cast

from api.imports.csv_rows import CsvRows
from api.imports.formats import (
    Columns,
    Format,
    OneByOne,
    Reject,
    RowsOfFormat,
    UnreadableFile,
    Values,
)
from api.imports.lines import Lines, may_be_too_long
from api.imports.ndjson_rows import NdjsonRows
from api.imports.rows import RowReader
from ledger.errors import Refusal
from ledger.imported_rows import ImportedRows

CHUNK_ROWS = 4_000
"""A transaction where nobody else appends, some 40 ms. Three processes hand a chunk on to each
other, and wait then: with half as many rows an import takes a tenth longer."""
CHUNK_CHARACTERS = 8 * 1024 * 1024
"""Of long rows fewer make a chunk: some chunks are in memory at a time."""

AT_ONCE_MIN = 16
"""Fewer rows are hardly cheaper at once."""


@dataclass(slots=True)
class Chunk:
    """`bytes_read` says how far the file was read, None where it has no such place."""

    rows: ImportedRows = field(default_factory=ImportedRows)
    rejects: list[Reject] = field(default_factory=list)
    bytes_read: int | None = None

    def __len__(self) -> int:
        return len(self.rows) + len(self.rejects)


def read_chunks(
    binary: BinaryIO, format_: Format, reader: RowReader, *, gzipped: bool
) -> Generator[Chunk, None, None]:
    """Raises UnreadableFile, behind the rows before the damage.

    Bytes that are not UTF-8 become lone surrogates, which no value may contain: the row that
    has them is rejected, with its line number, and the others are read.
    """
    stream = gzip.GzipFile(fileobj=binary) if gzipped else cast("io.BufferedIOBase", binary)
    sized = binary.seekable()
    with _damage_named():
        source = _Source(Lines(stream), format_)
    while True:
        chunk = Chunk()
        try:
            with _damage_named():
                source.fill(chunk, reader)
        except UnreadableFile:
            yield chunk  # what stands before the damage
            raise
        if not len(chunk):
            return
        chunk.bytes_read = binary.tell() if sized else None
        yield chunk


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableFile(f"The compressed file is damaged: {error}.") from error


class _Source:
    """Rows on their way into chunks: many at once, and one by one where that cannot be."""

    def __init__(self, lines: Lines, format_: Format) -> None:
        self._lines = lines
        self._rows: RowsOfFormat = CsvRows(lines) if format_ == "csv" else NdjsonRows(lines)
        self._one_by_one = self._rows.one_by_one()
        self._at_once = CHUNK_ROWS

    def fill(self, chunk: Chunk, reader: RowReader) -> None:
        """Until it is full. It stays empty only at the end of the file: each turn gives a row."""
        enough = self._lines.characters + CHUNK_CHARACTERS
        while (room := CHUNK_ROWS - len(chunk)) > 0 and self._lines.characters < enough:
            lines = self._lines.take(min(room, self._at_once))
            if not lines:
                return
            try:
                reader.read_all(self._columns(lines), chunk.rows)
            except OneByOne:
                self._lines.give_back(lines)
                self._fill_one_by_one(chunk, reader, len(lines), enough)
                # Where there is one there are more, in most files: they should not take so many
                # others along.
                self._at_once = max(AT_ONCE_MIN, len(lines) // 4)
            else:
                self._at_once = min(CHUNK_ROWS, self._at_once * 5 // 4 + 1)

    def _columns(self, lines: list[str]) -> Columns:
        if may_be_too_long(lines):
            raise OneByOne
        return self._rows.at_once(lines)

    def _fill_one_by_one(self, chunk: Chunk, reader: RowReader, count: int, enough: int) -> None:
        """As many rows, which may have many lines each: fewer, but one, where that is enough."""
        for values in islice(self._one_by_one, count):
            if isinstance(values, Reject):
                chunk.rejects.append(values)
            else:
                self._read(values, chunk, reader)
            if self._lines.characters >= enough:
                return

    def _read(self, values: Values, chunk: Chunk, reader: RowReader) -> None:
        try:
            reader.read(values, chunk.rows)
        except Refusal as error:
            chunk.rejects.append(Reject(self._lines.first, str(error), self._lines.row()))
