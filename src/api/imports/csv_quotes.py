"""Where a row of a CSV file ends that is not read, as it is too long."""

import re
from collections.abc import Iterable
from enum import Enum, auto

# Simple on purpose: groups without a way back, as in "(?:…)*+", are matched wrongly by Python
# before 3.11.5 (CPython's gh-106052), and those with one take memory for each of a million quotes.
_QUOTES = re.compile('"+')


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
        match self._place:
            case _Place.QUOTED:
                return self._to_the_closing_quote(text, at)
            case _Place.CELL:
                return self._to_the_next_quoted_cell(text, at)
            case _Place.BEHIND:
                following = {'"': _Place.QUOTED, ",": _Place.CELL}
                self._place = following.get(text[at], _Place.WRONG)
                return at + 1
        comma = text.find(",", at) if self._place is _Place.PLAIN else -1
        if comma < 0:
            return len(text)
        self._place = _Place.CELL
        return comma + 1

    def _to_the_closing_quote(self, text: str, at: int) -> int:
        while (begin := text.find('"', at)) >= 0:
            quotes = _QUOTES.match(text, begin)
            assert quotes is not None
            at = quotes.end()
            if (at - begin) % 2:  # two stand for one
                self._place = _Place.BEHIND
                return at
        return len(text)

    def _to_the_next_quoted_cell(self, text: str, at: int) -> int:
        if text[at] == '"':
            self._place = _Place.QUOTED
            return at + 1
        begin = text.find(',"', at)
        if begin >= 0:
            self._place = _Place.QUOTED
            return begin + 2
        if not text.endswith(","):
            self._place = _Place.PLAIN
        return len(text)
