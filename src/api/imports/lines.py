"""The lines of a file, as an editor counts them."""

import csv
import io
from codecs import getincrementaldecoder
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
LINE_ENDS = ("\n", "\r")


class Lines:
    """Lines with their ends, numbered from 1, and those that the present row has taken.

    Iterating raises csv.Error where a row takes more lines, or is longer, than any row should be.
    Bytes that are not UTF-8 become lone surrogates.
    """

    def __init__(self, binary: io.BufferedIOBase) -> None:
        self._binary = binary
        # It keeps a return that ends a block, as a newline may follow.
        self._decoder = io.IncrementalNewlineDecoder(
            getincrementaldecoder("utf-8")("surrogateescape"), translate=False
        )
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
        return "".join(self._taken)[:ROW_LENGTH_MAX].rstrip("\r\n")

    def first_line_again(self) -> str:
        """The first line of a row that is broken; the others will be read once more.

        A quote that is never closed takes the lines after it along, which may be good rows.
        """
        first, *others = self._taken
        self.give_back(others)
        return first[:LINE_LENGTH_MAX].rstrip("\r\n")

    def _refill(self) -> bool:
        """Whether more lines wait; reads a block, and on while it ends no line."""
        while not self._waiting and not self._ended:
            self._wait(self._rest + self._block())
            if len(self._rest) >= LINE_LENGTH_MAX:
                self._waiting.append(self._rest[:LINE_LENGTH_MAX])
                self._skip_rest_of_line()
        if self._waiting and self.number == 0:
            self._waiting[0] = self._waiting[0].removeprefix(BYTE_ORDER_MARK)
        return bool(self._waiting)

    def _block(self) -> str:
        """What one read gives: what stands before a damage must not be lost with it."""
        block = self._binary.read1(BLOCK_LENGTH)
        self._ended = not block
        return self._decoder.decode(block, final=self._ended)

    def _wait(self, text: str) -> None:
        """Its lines wait to be taken, but for the last where it has no end yet."""
        lines = io.StringIO(text, newline="").readlines()
        self._rest = ""
        if lines and not self._ended and not lines[-1].endswith(LINE_ENDS):
            self._rest = lines.pop()
        self._waiting.extend(lines)

    def _skip_rest_of_line(self) -> None:
        self._rest = ""
        while not self._ended:
            first, *others = io.StringIO(self._block(), newline="").readlines() or [""]
            if first.endswith(LINE_ENDS):
                self._wait("".join(others))
                return
