"""Bringing the read model up to date once: by a rebuild where most is missing."""

import psycopg
import pytest
from scenes import import_row, importing, rows_of

from ledger.database import Database
from projections import catch_up as catching_up
from projections import tables
from projections.audit import audit
from projections.catch_up import catch_up
from projections.rebuild import rebuild

MANY = 50


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catching_up, "MANY_EVENTS", MANY)


def import_bookings(database: Database, first: int, count: int) -> None:
    rows = (import_row(f"b{n}", "pending", n) for n in range(first, first + count))
    with importing(database) as writer:
        writer.record(rows_of(*rows))


def state(connection: psycopg.Connection) -> tuple[int, int, list[str]]:
    """Which table the history is in, its rows, and tables that were left behind."""
    rows = connection.execute('SELECT count(*) FROM "BookingStatusHistory"').fetchone()
    assert rows is not None
    left = connection.execute("SELECT relname FROM pg_class WHERE relname LIKE '%%_rebuild'")
    with connection.transaction():
        return tables.oid(connection, tables.HISTORY, ""), rows[0], [name for (name,) in left]


@pytest.mark.parametrize(
    ("before", "count", "is_rebuilt"),
    [(0, MANY, True), (MANY, MANY, True), (0, MANY - 1, False), (MANY + 1, MANY, False)],
)
def test_it_is_rebuilt_where_most_is_missing_and_added_to_where_little_is(
    database: Database, connection: psycopg.Connection, before: int, count: int, is_rebuilt: bool
) -> None:
    import_bookings(database, 0, before)
    rebuild(database)
    old, *_ = state(connection)
    import_bookings(database, before, count)

    assert catch_up(database) == count

    new, rows, left = state(connection)
    assert (new != old, rows, left) == (is_rebuilt, before + count, [])
    assert audit(database).sound


def test_where_others_have_views_on_it_everything_is_added(
    database: Database, connection: psycopg.Connection
) -> None:
    """A rebuild would have to drop those."""
    rebuild(database)
    old, *_ = state(connection)
    connection.execute('CREATE VIEW theirs AS SELECT id FROM "BookingStatusHistory"')
    import_bookings(database, 0, MANY)

    assert catch_up(database) == MANY
    assert state(connection) == (old, MANY, [])
    assert audit(database).sound


def test_where_another_rebuild_runs_everything_is_added(
    database: Database, connection: psycopg.Connection
) -> None:
    rebuild(database)
    old, *_ = state(connection)
    import_bookings(database, 0, MANY)
    with database.try_lock(connection, "rebuild") as alone:
        assert alone
        assert catch_up(database) == MANY

    assert state(connection) == (old, MANY, [])
