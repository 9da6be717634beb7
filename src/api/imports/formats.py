"""From a file to records: one a row, with its line number, whatever the format."""

import csv
import gzip
import io
import json
import re
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from operator import itemgetter
from typing import BinaryIO, Literal, NamedTuple, cast

import orjson

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

LINE_LENGTH_MAX = 2_097_152
"""Longer lines are no rows, whatever is in them; reading them whole could take all memory."""

BYTE_ORDER_MARK = "\ufeff"
SUFFIXES: dict[str, Format] = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}

_LARGE_INTEGER = re.compile("[0-9]{19}")

Values = tuple[object, ...]
"""The values of COLUMNS, in that order; None where one is missing or empty."""


class Record(NamedTuple):
    line: int
    values: Values
    row: str


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


def read(
    binary: BinaryIO, format_: Format, *, gzipped: bool
) -> Generator[Record | Reject, None, None]:
    """Stream the rows of a file; close the stream before the file.

    Raises UnreadableFile for a header or an archive that is broken.
    Bytes that are not UTF-8 become lone surrogates, which no value may contain: the row that
    has them is rejected, with its line number, and the others are read.
    """
    stream = cast("BinaryIO", gzip.GzipFile(fileobj=binary)) if gzipped else binary
    text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="")
    try:
        yield from (read_csv if format_ == "csv" else read_ndjson)(_Lines(text))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableFile(f"The compressed file is damaged: {error}.") from error
    finally:
        text.detach()


def read_csv(lines: "_Lines") -> Iterator[Record | Reject]:
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UnreadableFile(f"The header is not CSV: {error}.") from error
    values_of = _by_position(header)
    while True:
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Reject(lines.first, f"is not CSV: {error}", lines.first_line_again())
            continue
        if len(cells) == len(header):
            cells.append("")
            yield Record(lines.first, values_of(cells), lines.row())
        elif cells:
            reason = f"has {len(cells)} cells where the header has {len(header)}"
            yield Reject(lines.first, reason, lines.row())


def read_ndjson(lines: "_Lines") -> Iterator[Record | Reject]:
    for line in lines:
        text = line.strip()
        if text:
            yield _ndjson_record(lines.number, text)
        lines.begin_row()


def _ndjson_record(number: int, text: str) -> Record | Reject:
    try:
        document = orjson.loads(text)
    except ValueError as error:
        return Reject(number, f"is not JSON: {error}", text)
    if _LARGE_INTEGER.search(text):
        # The quick parser may have made the nearest float of it: refused, perhaps, never altered.
        document = json.loads(text)
    if not isinstance(document, dict):
        return Reject(number, "is not a JSON object", text)
    unknown = document.keys() - set(COLUMNS) - set(EXPORTED)
    if unknown:
        return Reject(number, f"has unknown fields: {', '.join(map(repr, sorted(unknown)))}", text)
    return Record(number, tuple(map(document.get, COLUMNS)), text)


def _by_position(header: list[str]) -> Callable[[list[str]], Values]:
    """Picks the cells in the order of COLUMNS; a missing column is the empty cell at the end."""
    unknown = [name for name in header if name not in COLUMNS + EXPORTED]
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


class _Lines:
    """The lines of a file, numbered from 1, with those that the present row has taken."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self._taken: list[str] = []
        self.number = 0

    @property
    def first(self) -> int:
        """The number of the row's first line."""
        return self.number - len(self._taken) + 1

    def begin_row(self) -> None:
        self._taken.clear()

    def row(self) -> str:
        return "".join(self._taken).rstrip("\r\n")

    def first_line_again(self) -> str:
        """The first line of a row that is broken; the others will be read once more.

        A quote that is never closed takes the lines after it along, which may be good rows.
        """
        first, *others = self._taken
        self._again.extendleft(reversed(others))
        self.number -= len(others)
        return first.rstrip("\r\n")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._text.readline(LINE_LENGTH_MAX)
        if not line:
            raise StopIteration
        if len(line) == LINE_LENGTH_MAX:
            self._skip_rest_of_line(line)
        self.number += 1
        if self.number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        self._taken.append(line)
        return line

    def _skip_rest_of_line(self, line: str) -> None:
        while line and not line.endswith(("\n", "\r")):
            line = self._text.readline(LINE_LENGTH_MAX)
