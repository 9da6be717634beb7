"""The rows of a file with a JSON object in each line."""

import json
import re
from collections.abc import Generator
from itertools import chain
from typing import Any

import orjson

from api.imports.formats import COLUMNS, KNOWN, Columns, OneByOne, Reject, Values
from api.imports.lines import Lines, RowTooLong

_LARGE_INTEGER = re.compile("[0-9]{19}")


class NdjsonRows:
    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def one_by_one(self) -> Generator[Values | Reject, None, None]:
        lines = self._lines
        while not lines.are_over:
            try:
                for line in lines:
                    text = line.strip()
                    if text:
                        found = _values(text)
                        yield Reject(lines.number, found, text) if isinstance(found, str) else found
                    lines.begin_row()
            except RowTooLong as error:
                yield Reject(lines.number, str(error), lines.row())
                lines.begin_row()

    def at_once(self, lines: list[str]) -> Columns:
        # Of an integer that is too large for the quick parser it makes a float with an exponent,
        # and such metadata is read alone.
        try:
            documents: list[Any] = list(map(orjson.loads, lines))
        except ValueError as error:
            raise OneByOne from error
        if set(map(type, documents)) != {dict} or not KNOWN.issuperset(chain(*documents)):
            raise OneByOne
        return [[document.get(name) for document in documents] for name in COLUMNS]


def _values(text: str) -> Values | str:
    """The values of a row, or why it has none."""
    try:
        document = orjson.loads(text)
    except ValueError as error:
        return f"is not JSON: {error}"
    if _LARGE_INTEGER.search(text):
        # The quick parser may have made the nearest float of it: refused, perhaps, never altered.
        try:
            document = json.loads(text)
        except RecursionError:
            return "is nested too deeply"
    if not isinstance(document, dict):
        return "is not a JSON object"
    unknown = document.keys() - KNOWN
    if unknown:
        return f"has unknown fields: {', '.join(map(repr, sorted(unknown)))}"
    return tuple(map(document.get, COLUMNS))
