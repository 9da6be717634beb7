"""What files of rows there are, and what their rows have."""

from collections.abc import Generator, Sequence
from typing import Literal, NamedTuple, Protocol

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

Values = tuple[object, ...]
"""The values of COLUMNS, in that order; None where one is missing or empty."""
Columns = Sequence[Sequence[object]]
"""The same of many rows: for each of COLUMNS the values of all of them."""


class Reject(NamedTuple):
    """A row that cannot be taken. `row` is its text as it stands in the file."""

    line: int
    reason: str
    row: str


class UnreadableFile(LedgerError):
    """The file cannot be imported"""


class OneByOne(Exception):
    """Among some rows is one that has to be read alone: to be refused by name, or as it is odd"""


class RowsOfFormat(Protocol):
    """The rows of a file in one of the formats."""

    def one_by_one(self) -> Generator[Values | Reject, None, None]:
        """The rows from where the lines are, to the end of the file. Between two of them others may
        take lines, so it keeps none. Raises UnreadableFile where the file ends within one."""

    def at_once(self, lines: list[str]) -> Columns:
        """The rows that these lines are, one at least, each a row of its own. Raises OneByOne."""


def format_of(name: str) -> Format | None:
    """The format that a file's name tells, `.gz` or not."""
    plain = name.lower().removesuffix(".gz")
    return next((format_ for end, format_ in SUFFIXES.items() if plain.endswith(end)), None)
