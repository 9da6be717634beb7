"""From a file to chunks: checked rows, ready for the ledger, and those that cannot be taken."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

from api.imports.formats import Format, Reject, Rows, UnreadableFile, Values
from api.imports.rows import RowReader
from ledger.errors import Refusal
from ledger.imported_rows import ImportedRows

CHUNK_ROWS = 2_000
"""A transaction. Larger ones are hardly cheaper, and others wait for the append lock meanwhile."""


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
    """Raises UnreadableFile, behind the rows before the damage. Close it before the file."""
    source = Rows(binary, format_, gzipped=gzipped)
    values = iter(source)
    sized = binary.seekable()
    try:
        while True:
            chunk = Chunk()
            try:
                _fill(chunk, source, values, reader)
            except UnreadableFile:
                yield chunk  # what stands before the damage
                raise
            if not len(chunk):
                return
            chunk.bytes_read = binary.tell() if sized else None
            yield chunk
    finally:
        values.close()


def _fill(chunk: Chunk, source: Rows, found: Iterator[Values | Reject], reader: RowReader) -> None:
    for values in islice(found, CHUNK_ROWS):
        if isinstance(values, Reject):
            chunk.rejects.append(values)
            continue
        try:
            reader.read(values, chunk.rows)
        except Refusal as error:
            chunk.rejects.append(source.reject(str(error)))
