"""The rows of a CSV file (RFC 4180), with a header."""

import csv
from collections.abc import Generator
from itertools import chain
from operator import itemgetter

from api.imports.csv_quotes import OpenQuote
from api.imports.formats import (
    COLUMNS,
    KNOWN,
    REQUIRED,
    Columns,
    OneByOne,
    Reject,
    UnreadableFile,
    Values,
)
from api.imports.lines import ROW_LENGTH_MAX, Lines, RowTooLong


class CsvRows:
    def __init__(self, lines: Lines) -> None:
        """Reads the header. Raises UnreadableFile where it is none."""
        # Python's own limit, of the whole process, is met in the middle of rows that are not too
        # long for us; their other lines must not be taken for rows.
        csv.field_size_limit(ROW_LENGTH_MAX)
        try:
            header = next(csv.reader(lines, strict=True), [])
        except RowTooLong as error:
            raise UnreadableFile(f"The header {error}.") from error
        except csv.Error as error:
            raise UnreadableFile(f"The header is not CSV: {error}.") from error
        _check_header(header)
        lines.begin_row()
        self._lines = lines
        self._width = len(header)
        # A missing column is the empty cell at the end.
        self._positions = [
            header.index(name) if name in header else self._width for name in COLUMNS
        ]

    def one_by_one(self) -> Generator[Values | Reject, None, None]:
        lines, width, values_of = self._lines, self._width, itemgetter(*self._positions)
        reader = csv.reader(lines, strict=True)
        while True:
            lines.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (RowTooLong, csv.Error) as error:
                yield self._rejected(error)
                reader = csv.reader(lines, strict=True)
                continue
            if len(cells) == width:
                cells.append("")
                yield values_of(cells)
            elif cells:
                reason = f"has {len(cells)} cells where the header has {width}"
                yield Reject(lines.first, reason, lines.row())

    def _rejected(self, error: RowTooLong | csv.Error) -> Reject:
        """The whole row, as text within quotes could be taken for rows."""
        lines = self._lines
        if isinstance(error, csv.Error):
            if lines.are_over:
                raise _never_closed(lines.first) from error
            return Reject(lines.first, f"is not CSV: {error}", lines.row())
        reject = Reject(lines.first, str(error), lines.row())
        quote = OpenQuote(is_open=lines.first < lines.number)
        line = lines.last_line()
        while quote.is_open_after(line):
            following = lines.take(1)
            if not following:
                raise _never_closed(reject.line)
            line = chain(following, lines.rest_of_line())
        return reject

    def at_once(self, lines: list[str]) -> Columns:
        try:
            rows = list(csv.reader(lines, strict=True))
        except csv.Error as error:
            raise OneByOne from error
        # A row has a line at least. So if there are as many, none has more.
        if len(rows) != len(lines) or set(map(len, rows)) != {self._width}:
            raise OneByOne
        cells = [*zip(*rows, strict=True), ("",) * len(rows)]
        return [cells[position] for position in self._positions]


def _never_closed(line: int) -> UnreadableFile:
    return UnreadableFile(
        f"The row that begins in line {line} has a quote that is never closed, so it takes in "
        "all that follows."
    )


def _check_header(header: list[str]) -> None:
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
