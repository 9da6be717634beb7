"""What a figure is asked for: the position that it is true for, and which rows count."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from ledger.errors import InvalidField
from projections import tables
from projections.feed import recorded_at
from projections.queries import (
    FRESH_SECONDS,
    Filter,
    history_conditions,
    read_lag,
    wait_until_fresh,
)
from projections.rows import milliseconds

# A plan of a second that is compiled for half of it first, and sorts that spill to disk, are
# what the defaults give here.
SETTINGS = "SET LOCAL jit = off; SET LOCAL work_mem = '64MB'"

MILLISECONDS = "round(date_part('epoch', {end} - {start}) * 1000)"
"""A duration as a double that holds a whole number: quicker to sort than an interval."""


@dataclass(frozen=True)
class Moment:
    """A position, and when its event was recorded (UTC, naive; None before the first event).

    What is still open lasts until then: so a figure for a position never changes.
    """

    position: int
    recorded_at: datetime | None
    by_days: bool = False
    """Whether the connection sees the days of flow_day as they are at just this position."""


def moment(connection: psycopg.Connection, as_of_position: int | None) -> Moment:
    """The moment asked for, once the read model has it; without one, the newest.

    Raises InvalidField for a position that does not exist yet, and ProjectionBehind.
    """
    if as_of_position is None:
        position = wait_until_fresh(connection, FRESH_SECONDS)
        return Moment(position, _recorded_at(connection, position))
    lag = read_lag(connection)
    if as_of_position > lag.head:
        raise InvalidField(
            "asOfPosition", f"must be at most {lag.head}, the newest position, or be left out"
        )
    if as_of_position > lag.position:
        wait_until_fresh(connection, FRESH_SECONDS, as_of_position)
    return Moment(as_of_position, _recorded_at(connection, as_of_position))


@contextmanager
def newest(connection: psycopg.Connection) -> Iterator[Moment]:
    """The newest moment, and until the end of the block one unchanging sight of the read model
    at it, in which what is asked for a period is added up from days.

    Raises ProjectionBehind.
    """
    wait_until_fresh(connection, FRESH_SECONDS)
    # Tables of an older version have no days; a rebuild is at it.
    version, _ = tables.derived(connection) or (None, 0)
    by_days = version == tables.VERSION
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if by_days:
            # Before the sight is taken by the first query: a rebuild that switched tables after
            # it would leave us with tables whose rows it does not have.
            connection.execute('LOCK TABLE flow_day, "BookingStatusHistory" IN ACCESS SHARE MODE')
        _, position = tables.derived(connection) or (None, 0)
        yield Moment(position, _recorded_at(connection, position), by_days)


def _recorded_at(connection: psycopg.Connection, position: int) -> datetime | None:
    found = recorded_at(connection, position)
    return None if found is None else milliseconds(found)


def conditions(chosen: Filter, entry: str) -> tuple[str, list[Any]]:
    """SQL that holds for the history rows chosen, to be put after AND, and its values."""
    given = [one for one in history_conditions(chosen, entry) if one[1] is not None]
    return "".join(f" AND {sql}" for sql, _ in given), [value for _, value in given]


def settings(chosen: Filter) -> str:
    """What a query of the history is run under. To start helpers for the changes of one person
    costs more than they bring."""
    if is_about_somebody(chosen):
        return f"{SETTINGS}; SET LOCAL max_parallel_workers_per_gather = 0"
    return SETTINGS


def is_about_somebody(chosen: Filter) -> bool:
    """Whether figures name a person or a booking, whom an erasure or a hold may be about."""
    return chosen.changed_by is not None or chosen.booking_id is not None
