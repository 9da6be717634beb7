"""The lines of a file, as an editor counts them."""

import io
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Iterable, Iterator

LINE_LENGTH_MAX = 2_097_152
"""A line with as many characters is no row, whatever is in it; reading it whole could take all
memory."""

ROW_LINES_MAX = 1_000
ROW_LENGTH_MAX = LINE_LENGTH_MAX
"""A quote that is never closed makes one row of all that follows: it must not be kept."""

BLOCK_LENGTH = 65_536
BYTE_ORDER_MARK = "\ufeff"
LINE_ENDS = ("\n", "\r")


class RowTooLong(Exception):
    """The row has taken more lines, or is longer, than any row should; the last it did not get"""


class Lines:
    """Lines with their ends, numbered from 1, and those that the present row has taken.

    Iterating raises RowTooLong. Bytes that are not UTF-8 become lone surrogates.
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
        self._is_cut = False
        """Whether the last line that waits or was taken is too long, and not read to its end."""
        self._ended = False
        """The end of a file that is still written to is where it was read first."""
        self.are_over = False
        """Whether one was asked for behind the last, while iterating."""
        self.number = 0
        self.characters = 0
        """How many the lines have that were taken, but for the rest of those that are too long."""

    def __iter__(self) -> Iterator[str]:
        waiting, taken = self._waiting, self._taken
        while waiting or self._refill():
            line = waiting.popleft()
            self.number += 1
            taken.append(line)
            self.characters += len(line)
            self._taken_length += len(line)
            if self._taken_length >= ROW_LENGTH_MAX:
                raise RowTooLong(f"has {ROW_LENGTH_MAX:,} characters or more")
            if len(taken) > ROW_LINES_MAX:
                raise RowTooLong(f"has more than {ROW_LINES_MAX:,} lines")
            yield line
        self.are_over = True

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
        self.characters += sum(map(len, lines))
        return lines

    def give_back(self, lines: list[str]) -> None:
        """To be read again. They are those that were taken last."""
        self._waiting.extendleft(reversed(lines))
        self.number -= len(lines)
        self.characters -= sum(map(len, lines))

    @property
    def first(self) -> int:
        """The number of the row's first line."""
        return self.number - len(self._taken) + 1

    def begin_row(self) -> None:
        self._taken.clear()
        self._taken_length = 0

    def row(self) -> str:
        """The row as it stands, or its beginning where it is too long."""
        return "".join(self._taken)[:ROW_LENGTH_MAX].rstrip("\r\n")

    def last_line(self) -> Iterator[str]:
        """The row's last line whole, in pieces where it is too long. To be called once."""
        yield self._taken[-1]
        yield from self.rest_of_line()

    def rest_of_line(self) -> Iterator[str]:
        """What has not been read of the line that was taken last. It is passed over otherwise."""
        while self._is_cut and not self._waiting:
            first, *others = io.StringIO(self._block(), newline="").readlines() or [""]
            self._is_cut = not (self._ended or first.endswith(LINE_ENDS))
            self._wait(others)
            yield first

    def _refill(self) -> bool:
        """Whether more lines wait; reads a block, and on while it ends no line."""
        for _ in self.rest_of_line():
            pass
        while not self._waiting and not self._ended:
            block = self._block()
            text = self._rest + block
            if self._ended or len(text) >= LINE_LENGTH_MAX or "\n" in block or "\r" in block:
                self._wait(io.StringIO(text, newline="").readlines())
            else:
                self._rest = text  # looked through once, however few a read gives of it
        if self._waiting and self.number == 0:
            self._waiting[0] = self._waiting[0].removeprefix(BYTE_ORDER_MARK)
        return bool(self._waiting)

    def _block(self) -> str:
        """What one read gives: what stands before a damage must not be lost with it."""
        block = self._binary.read1(BLOCK_LENGTH)
        self._ended = not block
        return self._decoder.decode(block, final=self._ended)

    def _wait(self, lines: list[str]) -> None:
        """They wait to be taken, but for the last where it has no end yet and may be a row."""
        self._rest = ""
        if lines and not self._ended and not lines[-1].endswith(LINE_ENDS):
            if len(lines[-1]) < LINE_LENGTH_MAX:
                self._rest = lines.pop()
            else:
                self._is_cut = True
        self._waiting.extend(lines)


def may_be_too_long(lines: Iterable[str]) -> bool:
    """Whether one of them may be no row, as it is too long. They are those of a block or two."""
    return sum(map(len, lines)) >= LINE_LENGTH_MAX
