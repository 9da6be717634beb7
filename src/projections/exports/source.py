"""What is exported: the rows of the history up to a position, page by page."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import psycopg

from projections.analytics.question import conditions
from projections.queries import Filter
from projections.rows import HistoryRow

PAGE_ROWS = 5_000

COLUMNS = ", ".join(f'entry."{name}"' for name in HistoryRow._fields)
# The unique index has this order, so every page begins where it must and sorts nothing.
ROWS = f"""
    SELECT {COLUMNS} FROM "BookingStatusHistory" AS entry
    WHERE (entry."bookingId", entry.version) > (%s, %s) AND entry.position <= %s{{where}}
    ORDER BY entry."bookingId", entry.version LIMIT {PAGE_ROWS}
"""
COUNT = """
    SELECT count(*) FROM "BookingStatusHistory" AS entry WHERE entry.position <= %s{where}
"""
DISTINCT = """
    SELECT DISTINCT entry."{column}" COLLATE "C" AS value FROM "BookingStatusHistory" AS entry
    WHERE entry.position <= %s AND entry."{column}" COLLATE "C" > %s{where}
    ORDER BY value LIMIT {limit}
"""

ALL = Filter()

Connect = Callable[[], AbstractContextManager[psycopg.Connection]]


@dataclass(frozen=True)
class Export:
    """The chosen rows up to a position, by booking and version.

    Rows up to a position never change, so each page has a short transaction of its own, on any
    connection: a slow reader of an export holds back neither vacuum nor a rebuild.
    `on_page` is told how many rows the present reading has given.
    """

    connect: Connect
    position: int
    chosen: Filter = ALL
    on_page: Callable[[int], None] | None = None

    def pages(self) -> Iterator[Sequence[HistoryRow]]:
        """All rows, at most PAGE_ROWS at a time; as often as it is called."""
        where, values = conditions(self.chosen, "entry")
        after: tuple[str, int] = ("", 0)
        done = 0
        while True:
            asked = [*after, self.position, *values]
            with self.connect() as connection:
                found = connection.execute(ROWS.format(where=where), asked, binary=True)
                page = [HistoryRow(*row) for row in found]
            done += len(page)
            if page:
                yield page
            if self.on_page is not None:
                self.on_page(done)
            if len(page) < PAGE_ROWS:
                return
            after = page[-1].bookingId, page[-1].version

    def rows(self) -> Iterator[HistoryRow]:
        for page in self.pages():
            yield from page

    def count(self) -> int:
        where, values = conditions(self.chosen, "entry")
        with self.connect() as connection:
            row = connection.execute(COUNT.format(where=where), [self.position, *values]).fetchone()
        assert row is not None
        return int(row[0])

    def statuses(self) -> Iterator[str]:
        return self._distinct("toStatus")

    def actors(self) -> Iterator[str]:
        return self._distinct("changedBy")

    def _distinct(self, column: str) -> Iterator[str]:
        where, values = conditions(self.chosen, "entry")
        statement = DISTINCT.format(column=column, where=where, limit=PAGE_ROWS)
        after = ""
        while True:
            asked: list[Any] = [self.position, after, *values]
            with self.connect() as connection:
                found = [value for (value,) in connection.execute(statement, asked)]
            yield from found
            if len(found) < PAGE_ROWS:
                return
            after = found[-1]
