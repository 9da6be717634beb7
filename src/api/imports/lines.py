"""The lines of a file, as an editor counts them."""

import csv
import io
from collections import deque
from collections.abc import Iterator

LINE_LENGTH_MAX = 2_097_152
"""Longer lines are no rows, whatever is in them; reading them whole could take all memory."""

ROW_LINES_MAX = 1_000
ROW_LENGTH_MAX = LINE_LENGTH_MAX
"""A quote that is never closed makes one row of all that follows, which is then read again from its
second line: that must not cost the square of the file."""

BLOCK_LENGTH = 65_536
BYTE_ORDER_MARK = "\ufeff"


class Lines:
    """Lines with their ends, numbered from 1, and those that the present row has taken.

    Iterating raises csv.Error where a row takes more lines, or is longer, than any row should be.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._waiting: deque[str] = deque()
        self._rest = ""
        self._taken: list[str] = []
        self._taken_length = 0
        self._ended = False
        """The end of a file that is still written to is where it was read first."""
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        waiting, taken = self._waiting, self._taken
        while waiting or self._refill():
            line = waiting.popleft()
            self.number += 1
            taken.append(line)
            self._taken_length += len(line)
            if len(taken) > 1 and self._is_too_long():
                raise csv.Error("row has too many lines")
            yield line

    def take(self, count: int) -> list[str]:
        """The next lines, of no row yet, at most `count`; none at the end.

        No more than wait: where the rest cannot be read, the error comes when all before it is
        taken.
        """
        waiting = self._waiting
        if not waiting:
            self._refill()
        lines = [waiting.popleft() for _ in range(min(count, len(waiting)))]
        self.number += len(lines)
        return lines

    def give_back(self, lines: list[str]) -> None:
        """To be read again. They are those that were taken last."""
        self._waiting.extendleft(reversed(lines))
        self.number -= len(lines)

    @property
    def first(self) -> int:
        """The number of the row's first line."""
        return self.number - len(self._taken) + 1

    def begin_row(self) -> None:
        self._taken.clear()
        self._taken_length = 0

    def _is_too_long(self) -> bool:
        return len(self._taken) > ROW_LINES_MAX or self._taken_length > ROW_LENGTH_MAX

    def row(self) -> str:
        return "".join(self._taken).rstrip("\r\n")

    def first_line_again(self) -> str:
        """The first line of a row that is broken; the others will be read once more.

        A quote that is never closed takes the lines after it along, which may be good rows.
        """
        first, *others = self._taken
        self.give_back(others)
        return first.rstrip("\r\n")

    def _refill(self) -> bool:
        """Whether more lines wait; reads a block, and on while it ends no line."""
        while not self._waiting and not self._ended:
            block = self._text.read(BLOCK_LENGTH)
            lines = io.StringIO(self._rest + block, newline="").readlines()
            self._rest = ""
            if not block:
                self._ended = True
                self._waiting.extend(lines)
                break
            if not lines[-1].endswith("\n"):
                # It has no end yet, or a return that a newline may follow.
                self._rest = lines.pop()
            if len(self._rest) >= LINE_LENGTH_MAX:
                lines.append(self._rest[:LINE_LENGTH_MAX])
                self._skip_rest_of_line()
            self._waiting.extend(lines)
        if self._waiting and self.number == 0:
            self._waiting[0] = self._waiting[0].removeprefix(BYTE_ORDER_MARK)
        return bool(self._waiting)

    def _skip_rest_of_line(self) -> None:
        self._rest = ""
        while block := self._text.read(BLOCK_LENGTH):
            first, *others = io.StringIO(block, newline="").readlines()
            if first.endswith("\r") and not others:
                others = [self._text.read(1).removeprefix("\n")]
            if first.endswith(("\r", "\n")):
                self._rest = "".join(others)
                return
