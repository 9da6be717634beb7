"""Bringing the read model up to date once: by a rebuild where most is missing."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from log_scenes import MASTER_KEY, ORIGIN
from scenes import import_row, importing, open_booking, record, rows_of

from api.cli import main
from ledger.database import Database
from ledger.transcoder import event_mapper
from projections import catch_up as catching_up
from projections import tables
from projections.audit import audit
from projections.catch_up import catch_up
from projections.log.projector import LogProjector, catch_up_log
from projections.queries import read_lag
from projections.rebuild import rebuild
from projections.replay import replay_all
from projections.runner import Projector

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


# --- while somebody records at every moment ---------------------------------------------------


@pytest.fixture(name="busy")
def _busy(database: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Records one more, at most a hundred: who waits for the last of them waits too long."""
    numbers = iter(range(100))

    def record_one_more() -> None:
        record(database, open_booking(f"meanwhile-{next(numbers)}"))

    for projector in (Projector, LogProjector):
        project = projector.project

        def beside(self: Any, connection: psycopg.Connection, project: Any = project) -> int:
            count: int = project(self, connection)
            record_one_more()
            return count

        monkeypatch.setattr(projector, "project", beside)
    record_one_more()
    return record_one_more


@pytest.mark.parametrize(
    "command",
    [
        "erase meanwhile-0 --yes --reason asked",
        "hold meanwhile-0 --reason asked",
        "log certificate",
        "export --format csv --output -",
    ],
)
def test_a_command_waits_for_no_more_than_it_needs(
    database: Database, busy: Callable[[], None], command: str
) -> None:
    answer = CliRunner().invoke(main, [*command.split(), "--database-url", database.url])

    assert answer.exit_code == 0, answer.output


def test_the_read_model_is_brought_to_what_was_there(
    database: Database, connection: psycopg.Connection, busy: Callable[[], None]
) -> None:
    assert catch_up(database) == 1
    assert read_lag(connection).events == 1


def test_the_log_is_brought_to_what_was_there(
    database: Database, connection: psycopg.Connection, busy: Callable[[], None]
) -> None:
    assert catch_up_log(database, MASTER_KEY, ORIGIN) == 1
    assert read_lag(connection, LogProjector.name).events == 1


def test_what_was_there_is_replayed(
    database: Database, connection: psycopg.Connection, busy: Callable[[], None]
) -> None:
    steps = []
    for step in replay_all(connection, event_mapper(database)):
        busy()
        steps.append(step)

    assert len(steps) == 1
