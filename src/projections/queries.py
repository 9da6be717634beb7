"""What people ask the read model: filters and pages, and how fresh it is."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg

from ledger.errors import LedgerError
from projections import tables
from projections.feed import head, recorded_at
from projections.rows import BookingRow, HistoryRow, milliseconds

FRESH_SECONDS = 5.0

Order = Literal["asc", "desc"]


class ProjectionBehind(LedgerError):
    """The read model is behind the ledger"""

    def __init__(self, position: int, newest: int) -> None:
        super().__init__(
            f"The read model is at position {position}, the ledger at {newest}. It catches up; "
            "the history of single bookings is answered meanwhile."
        )
        self.position = position
        self.head = newest


Condition = tuple[str, Any]
"""A comparison in SQL and its value, or a tuple of several; None where nothing is asked."""


@dataclass(frozen=True)
class Lag:
    """How far a projection is behind: in events, and in seconds since the oldest of them."""

    position: int
    head: int
    seconds: float
    failed_at: datetime | None
    failure: str | None

    @property
    def events(self) -> int:
        return self.head - self.position


@dataclass(frozen=True)
class Filter:
    """Filters of a list; None filters nothing. `since` is inclusive, `until` exclusive."""

    booking_id: str | None = None
    status: str | None = None
    from_status: str | None = None
    changed_by: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Page:
    """Where a page begins (after this time and tie-breaker), its size and its order."""

    size: int
    order: Order = "desc"
    after: tuple[datetime, int | str] | None = None


def wait_until_fresh(
    connection: psycopg.Connection, seconds: float = FRESH_SECONDS, newest: int | None = None
) -> int:
    """Wait until the read model has the event at `newest`, or without it every event committed
    before this call; its position.

    Raises ProjectionBehind when that takes longer than `seconds`.
    """
    if newest is None:
        newest = head(connection)
    deadline = time.monotonic() + seconds
    pause = 0.001
    while (position := derived_position(connection)) < newest:
        if time.monotonic() > deadline:
            raise ProjectionBehind(position, newest)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    return position


def read_lag(connection: psycopg.Connection, name: str = tables.NAME) -> Lag:
    """The lag of a projection, the read model where none is named."""
    row = connection.execute(
        "SELECT position, failed_at, failure FROM projection WHERE name = %s", (name,)
    ).fetchone()
    position, failed_at, failure = row or (0, None, "it was never set up")
    since = recorded_at(connection, position + 1)
    age = 0.0 if since is None else (datetime.now(UTC) - since).total_seconds()
    return Lag(position, head(connection), max(age, 0.0), failed_at, failure)


def history_conditions(chosen: Filter, table: str = '"BookingStatusHistory"') -> list[Condition]:
    """What a filter asks of history rows."""
    return [
        (f'{table}."bookingId" = %s', chosen.booking_id),
        *((f"{column} = %s", value) for column, value in indexed_values(chosen, table)),
        (f'{table}."createdAt" >= %s', _stored(chosen.since)),
        (f'{table}."createdAt" < %s', _stored(chosen.until)),
    ]


def indexed_values(chosen: Filter, table: str = '"BookingStatusHistory"') -> list[tuple[str, Any]]:
    """The columns of history rows of which a filter gives the value, and that have an index which
    goes on with the order of lists."""
    columns = [
        (f'{table}."toStatus"', chosen.status),
        (f'{table}."fromStatus"', chosen.from_status),
        (f'{table}."changedBy"', chosen.changed_by),
    ]
    return [(column, value) for column, value in columns if value is not None]


def all_of(conditions: Sequence[Condition]) -> tuple[str, list[Any]]:
    """The conditions that ask something, in SQL, and their values."""
    given = [(condition, value) for condition, value in conditions if value is not None]
    values: list[Any] = []
    for _, value in given:
        values += value if isinstance(value, tuple) else [value]
    return " AND ".join(condition for condition, _ in given), values


def columns_of(row: type[BookingRow] | type[HistoryRow]) -> str:
    return ", ".join(f'"{name}"' for name in row._fields)


def _stored(time_: datetime | None) -> datetime | None:
    """A bound as the tables hold times; rounding down keeps `since` inclusive."""
    return None if time_ is None else milliseconds(time_)


def derived_position(connection: psycopg.Connection) -> int:
    """Up to where the tables have what happened; 0 where there are none."""
    _, position = tables.derived(connection) or (None, 0)
    return position
