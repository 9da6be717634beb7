"""From a file to records: one a row, with its line number, whatever the format."""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from operator import itemgetter
from typing import BinaryIO, Literal, NamedTuple, cast

import orjson

from api.imports.lines import Lines
from ledger.errors import LedgerError

Format = Literal["csv", "ndjson"]

REQUIRED = ("bookingId", "toStatus", "createdAt")
COLUMNS = ("bookingId", "fromStatus", "toStatus", "changedBy", "reason", "metadata", "createdAt")
EXPORTED = (
    "id",
    "version",
    "position",
    "recordedAt",
    "actor",
    "source",
    "claimedFromStatus",
    "erased",
)
"""Columns that `export` adds. A ledger gives its own: they are read over."""

KNOWN = frozenset(COLUMNS + EXPORTED)
SUFFIXES: dict[str, Format] = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}

_LARGE_INTEGER = re.compile("[0-9]{19}")

Values = tuple[object, ...]
"""The values of COLUMNS, in that order; None where one is missing or empty."""


class Reject(NamedTuple):
    """A row that cannot be taken. `row` is its text as it stands in the file."""

    line: int
    reason: str
    row: str


class UnreadableFile(LedgerError):
    """The file cannot be imported"""


def format_of(name: str) -> Format | None:
    """The format that a file's name tells, `.gz` or not."""
    plain = name.lower().removesuffix(".gz")
    return next((format_ for end, format_ in SUFFIXES.items() if plain.endswith(end)), None)


class Rows:
    """The rows of a file, one after the other; the present one can be rejected.

    Bytes that are not UTF-8 become lone surrogates, which no value may contain: the row that
    has them is rejected, with its line number, and the others are read.
    """

    def __init__(self, binary: BinaryIO, format_: Format, *, gzipped: bool) -> None:
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=binary)) if gzipped else binary
        self._text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="")
        self._lines = Lines(self._text)
        self._format = format_

    def __iter__(self) -> Generator[Values | Reject, None, None]:
        """Raises UnreadableFile for a header or an archive that is broken. Close it before the
        file."""
        try:
            yield from (_csv if self._format == "csv" else _ndjson)(self._lines)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UnreadableFile(f"The compressed file is damaged: {error}.") from error
        finally:
            self._text.detach()

    def reject(self, reason: str) -> Reject:
        return Reject(self._lines.first, reason, self._lines.row())


def _csv(lines: Lines) -> Iterator[Values | Reject]:
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UnreadableFile(f"The header is not CSV: {error}.") from error
    values_of, width = _by_position(header), len(header)
    while True:
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Reject(lines.first, f"is not CSV: {error}", lines.first_line_again())
            reader = csv.reader(lines, strict=True)  # the old one may have seen the end
            continue
        if len(cells) == width:
            cells.append("")
            yield values_of(cells)
        elif cells:
            reason = f"has {len(cells)} cells where the header has {width}"
            yield Reject(lines.first, reason, lines.row())


def _ndjson(lines: Lines) -> Iterator[Values | Reject]:
    for line in lines:
        text = line.strip()
        if text:
            found = _values(text)
            yield Reject(lines.number, found, text) if isinstance(found, str) else found
        lines.begin_row()


def _values(text: str) -> Values | str:
    """The values of an NDJSON row, or why it has none."""
    try:
        document = orjson.loads(text)
    except ValueError as error:
        return f"is not JSON: {error}"
    if _LARGE_INTEGER.search(text):
        # The quick parser may have made the nearest float of it: refused, perhaps, never altered.
        document = json.loads(text)
    if not isinstance(document, dict):
        return "is not a JSON object"
    unknown = document.keys() - KNOWN
    if unknown:
        return f"has unknown fields: {', '.join(map(repr, sorted(unknown)))}"
    return tuple(map(document.get, COLUMNS))


def _by_position(header: list[str]) -> Callable[[list[str]], Values]:
    """Picks the cells in the order of COLUMNS; a missing column is the empty cell at the end."""
    unknown = [name for name in header if name not in KNOWN]
    if unknown:
        raise UnreadableFile(
            f"The header has unknown columns: {', '.join(map(repr, unknown))}. "
            f"The columns are: {', '.join(COLUMNS)}."
        )
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise UnreadableFile(f"The header lacks the columns: {', '.join(missing)}.")
    if len(set(header)) != len(header):
        raise UnreadableFile("The header has a column twice.")
    positions = (header.index(name) if name in header else len(header) for name in COLUMNS)
    return itemgetter(*positions)
