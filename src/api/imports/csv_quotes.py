"""Where a row of a CSV file ends that is not read, as it is too long."""

import re
from collections.abc import Iterable
from enum import Enum, auto

# Without a way back: one would be kept for each of a million quotes.
_CELLS_WITHOUT = re.compile(r'(?:(?!")[^,]*+,)*+')
_WITHIN = re.compile(r'(?:[^"]++|"")*+')


class _Place(Enum):
    CELL = auto()
    """Where a cell begins."""
    PLAIN = auto()
    """In a cell without quotes, of which one that comes later is no sign."""
    QUOTED = auto()
    BEHIND = auto()
    """Behind a quote that ends a cell, or is the first of two that stand for one."""
    WRONG = auto()
    """Behind what may not follow a quote: there the row ends with the line."""


class OpenQuote:
    """Follows a row, as strict csv.reader reads it, in as little memory as its pieces take."""

    def __init__(self, *, is_open: bool) -> None:
        """Whether the row is within quotes where the first line begins."""
        self._place = _Place.QUOTED if is_open else _Place.CELL

    def is_open_after(self, line: Iterable[str]) -> bool:
        """Whether the row goes on behind its next line, which is given in pieces."""
        for piece in line:
            at = 0
            while at < len(piece):
                at = self._step(piece, at)
        return self._place is _Place.QUOTED

    def _step(self, text: str, at: int) -> int:
        """To the next place; gives where in the text it begins."""
        if self._place is _Place.QUOTED:
            at = _end(_WITHIN, text, at)
            if at < len(text):
                self._place = _Place.BEHIND
            return at + 1
        if self._place is _Place.CELL:
            at = _end(_CELLS_WITHOUT, text, at)
            if at < len(text):
                self._place = _Place.QUOTED if text[at] == '"' else _Place.PLAIN
            return at + 1
        if self._place is _Place.BEHIND:
            following = {'"': _Place.QUOTED, ",": _Place.CELL}
            self._place = following.get(text[at], _Place.WRONG)
            return at + 1
        comma = text.find(",", at) if self._place is _Place.PLAIN else -1
        if comma < 0:
            return len(text)
        self._place = _Place.CELL
        return comma + 1


def _end(pattern: "re.Pattern[str]", text: str, at: int) -> int:
    found = pattern.match(text, at)
    assert found is not None  # an empty text matches
    return found.end()
