"""Stretches of an index: how lists are read, at a cost that has a bound (decision 0037)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from projections.queries import Condition, Filter, Order, Page, all_of
from projections.rows import milliseconds

LOOKED_THROUGH = 1_000
"""Rows that are compared with other conditions for a page."""

FEW = 10
"""By how much fewer are tried at first: mostly many fit, and the first few fill the page."""

IN_ORDER = "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off"
"""For a transaction of its own. The indexes have the order; where PostgreSQL expects few rows it
would read and sort all. Before release 18 what is off is dear, and what is dear is compiled."""

Place = tuple[datetime, Any]


@dataclass(frozen=True)
class Stretch:
    """Rows that stand one after the other in an index: those with one value in its first column,
    or all, whose `key` is between two places. `low` and `high` are not part of it.
    """

    key: tuple[str, str]
    order: Order
    low: Place
    high: Place
    value: Any = None
    column: str | None = None

    def asked(self, *also: Condition) -> tuple[str, list[Any]]:
        """WHERE and ORDER BY, and their values.

        The first column is compared as part of the place. Were it equated, PostgreSQL could go by
        the index of all rows instead, and pass over those with other values. Its estimates are bad
        for it: where they matter, IN_ORDER is in force.
        """
        columns = list(self.key) if self.column is None else [self.column, *self.key]
        value = () if self.column is None else (self.value,)
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        between = [
            (f"({names}) > ({marks})", (*value, *self.low)),
            (f"({names}) < ({marks})", (*value, *self.high)),
        ]
        where, values = all_of([*between, *also])
        order = ", ".join(f"{name} {self.order}" for name in columns)
        return f"WHERE {where} ORDER BY {order}", values

    def of(self, column: str, value: Any) -> "Stretch":
        return replace(self, column=column, value=value)

    def up_to(self, place: tuple[datetime, int] | None) -> "Stretch":
        """So that it ends with this place, where there is one."""
        if place is None:
            return self
        time, number = place
        if self.order == "asc":
            return replace(self, high=(time, number + 1))
        return replace(self, low=(time, number - 1))


def stretch_of(page: Page, chosen: Filter, key: tuple[str, str], before_all: int | str) -> Stretch:
    """From where a page begins, within the times of a filter. `before_all` is less than the second
    part of any key."""
    since = datetime.min if chosen.since is None else milliseconds(chosen.since)  # noqa: DTZ901
    until = datetime.max if chosen.until is None else milliseconds(chosen.until)  # noqa: DTZ901
    low: Place = (since, before_all)
    high: Place = (until, before_all)
    if page.after is not None:
        if page.order == "asc":
            low = max(low, page.after)
        else:
            high = min(high, page.after)
    return Stretch(key, page.order, low, high)


class Walk(NamedTuple):
    """A stretch of which so many rows are looked through, what else is asked of them, and the last
    of them; None where the stretch ends before."""

    stretch: Stretch
    others: Sequence[Condition]
    end: tuple[datetime, int] | None


def counts(size: int, looked_through: int) -> Iterator[int]:
    """How many rows to look through for a page: a few, then all that may be."""
    few = min(looked_through, max(looked_through // FEW, 2 * size))
    yield few
    if few < looked_through:
        yield looked_through


def walk_rarest(
    connection: psycopg.Connection,
    table: str,
    whole: Stretch,
    equal: Sequence[tuple[str, Any]],
    count: int,
) -> Walk:
    """So many rows of the rarest of these columns' values there; of all rows where none is given.

    Each column has an index that goes on with the key of `whole`, whose second part is a number.
    """
    stretches = [whole.of(*one) for one in equal] or [whole]
    ends = [_end(connection, table, one, count) for one in stretches]
    reached = [place for place in ends if place is not None]
    # The rarest takes us furthest; or to the end, with fewer rows than may be looked through.
    end = None if None in ends else max(reached) if whole.order == "asc" else min(reached)
    chosen = ends.index(end)
    others = [*equal[:chosen], *equal[chosen + 1 :]]
    return Walk(
        stretches[chosen].up_to(end), [(f"{name} = %s", value) for name, value in others], end
    )


def _end(
    connection: psycopg.Connection, table: str, stretch: Stretch, count: int
) -> tuple[datetime, int] | None:
    """The last of so many rows; None where there are fewer."""
    asked, values = stretch.asked()
    statement = f"SELECT {', '.join(stretch.key)} FROM {table} {asked} OFFSET %s LIMIT 1"
    return connection.execute(statement.encode(), [*values, count - 1]).fetchone()
