"""The read model exactly as its consumers know it: a contract, asked of the catalog."""

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from scenes import NOON, change_status, folded_tables, live_tables, open_booking, record
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from ledger.database import Database
from ledger.schema import analyst_role
from projections import tables
from projections.catch_up import catch_up

COLUMNS = """
    SELECT column_name, data_type, datetime_precision, is_nullable = 'YES'
    FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name = %s ORDER BY ordinal_position
"""
CONSTRAINTS = """
    SELECT pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = %s::regclass AND contype IN ('p', 'f') ORDER BY contype DESC
"""
INDEXED_FIRST = """
    SELECT DISTINCT attname FROM pg_index
    JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
    WHERE indrelid = %s::regclass AND indpred IS NULL AND indisvalid
"""
COMMENTS = """
    SELECT relname, attname, coalesce(col_description(attrelid, attnum), '')
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relkind = 'v' AND relnamespace = current_schema()::regnamespace AND attnum > 0
"""

HISTORY_CONTRACT = [
    ("id", "text", None, False),
    ("bookingId", "text", None, False),
    ("fromStatus", "text", None, True),
    ("toStatus", "text", None, False),
    ("changedBy", "text", None, True),
    ("reason", "text", None, True),
    ("metadata", "text", None, True),
    ("createdAt", "timestamp without time zone", 3, False),
]
TIMES = ("timestamp without time zone", 3)
HISTORY_MORE = [
    ("version", "integer", None, False),
    ("position", "bigint", None, False),
    ("recordedAt", *TIMES, False),
    ("actor", "text", None, False),
    ("source", "text", None, False),
    ("claimedFromStatus", "text", None, True),
    ("erased", "boolean", None, False),
]
BOOKING_CONTRACT = [
    ("id", "text", None, False),
    ("status", "text", None, False),
    ("version", "integer", None, False),
    ("createdAt", *TIMES, False),
    ("updatedAt", *TIMES, False),
    ("position", "bigint", None, False),
]
SAID: dict[str, Any] = {
    "changed_by": "Zoë",
    "reason": "called",
    "metadata": {"nights": 3, "note": "späte Anreise"},
    "occurred_at": datetime(2026, 5, 1, 8, 30, 0, 987654, tzinfo=UTC),
}


@pytest.fixture
def filled(database: Database) -> Database:
    record(
        database,
        open_booking("room-12", occurred_at=NOON - timedelta(days=30)),
        change_status("room-12", "confirmed", **SAID),
    )
    catch_up(database)
    return database


# --- the tables -------------------------------------------------------------------------------


def test_history_has_the_eight_columns_and_then_ours(connection: psycopg.Connection) -> None:
    columns = connection.execute(COLUMNS, ("BookingStatusHistory",)).fetchall()

    assert columns[:8] == HISTORY_CONTRACT
    assert columns[8:] == HISTORY_MORE


def test_booking_has_a_row_with_id_status_version_and_times(
    connection: psycopg.Connection,
) -> None:
    assert connection.execute(COLUMNS, ("Booking",)).fetchall() == BOOKING_CONTRACT


def test_keys(connection: psycopg.Connection) -> None:
    history = connection.execute(CONSTRAINTS, ('"BookingStatusHistory"',)).fetchall()
    booking = connection.execute(CONSTRAINTS, ('"Booking"',)).fetchall()

    assert history == [
        ("PRIMARY KEY (id)",),
        ('FOREIGN KEY ("bookingId") REFERENCES "Booking"(id)',),
    ]
    assert booking == [("PRIMARY KEY (id)",)]


def test_a_booking_with_history_cannot_be_deleted(
    filled: Database, connection: psycopg.Connection
) -> None:
    """No cascade: history never goes with its booking."""
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute('DELETE FROM "Booking"')


def test_each_filter_has_an_index_that_begins_with_it(connection: psycopg.Connection) -> None:
    rows = connection.execute(INDEXED_FIRST, ('"BookingStatusHistory"',))

    assert {"bookingId", "toStatus", "createdAt", "changedBy"} <= {name for (name,) in rows}


def test_the_rows_are_the_fold_of_the_events(
    filled: Database, connection: psycopg.Connection
) -> None:
    assert live_tables(connection) == folded_tables(connection)


class Model(DeclarativeBase):
    pass


class BookingStatusHistory(Model):
    """The model of an existing consumer: these eight columns and no others."""

    __tablename__ = "BookingStatusHistory"

    id: Mapped[str] = mapped_column(primary_key=True)
    booking_id: Mapped[str] = mapped_column("bookingId")
    from_status: Mapped[str | None] = mapped_column("fromStatus")
    to_status: Mapped[str] = mapped_column("toStatus")
    changed_by: Mapped[str | None] = mapped_column("changedBy")
    reason: Mapped[str | None]
    # `metadata` is taken on every declarative class.
    details: Mapped[str | None] = mapped_column("metadata")
    created_at: Mapped[datetime] = mapped_column("createdAt")


def test_an_orm_model_of_the_eight_columns_reads_it_unchanged(filled: Database) -> None:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(filled.conninfo)
    )
    with Session(engine) as session:
        first, second = session.scalars(
            select(BookingStatusHistory).order_by(BookingStatusHistory.created_at)
        )
        assert (first.from_status, first.to_status, first.changed_by) == (None, "pending", None)
        assert (first.reason, first.details) == (None, None)
        assert (second.booking_id, second.from_status) == ("room-12", "pending")
        assert (second.to_status, second.changed_by, second.reason) == (
            "confirmed",
            "Zoë",
            "called",
        )
        assert isinstance(second.details, str)
        assert json.loads(second.details) == SAID["metadata"]
        assert second.created_at == datetime(2026, 5, 1, 8, 30, 0, 987000)  # noqa: DTZ001
        assert isinstance(second.id, str)
    engine.dispose()


# --- the views --------------------------------------------------------------------------------


def test_views_have_snake_case_columns_jsonb_and_times_with_a_zone(
    connection: psycopg.Connection,
) -> None:
    history = connection.execute(COLUMNS, ("booking_status_history",)).fetchall()
    booking = connection.execute(COLUMNS, ("booking",)).fetchall()

    types = {name: type_ for name, type_, *_ in history}
    assert set(types) == {
        *("id", "booking_id", "version", "from_status", "to_status", "changed_by", "reason"),
        *("metadata", "created_at", "recorded_at", "actor", "source", "claimed_from_status"),
        *("position", "erased"),
    }
    assert types["metadata"] == "jsonb"
    assert types["created_at"] == types["recorded_at"] == "timestamp with time zone"
    assert [(name, type_) for name, type_, *_ in booking] == [
        ("booking_id", "text"),
        ("status", "text"),
        ("version", "integer"),
        ("created_at", "timestamp with time zone"),
        ("updated_at", "timestamp with time zone"),
        ("position", "bigint"),
    ]


def test_every_column_of_every_view_is_explained(connection: psycopg.Connection) -> None:
    comments = connection.execute(COMMENTS).fetchall()

    assert len(comments) == 88
    assert [(view, column) for view, column, comment in comments if len(comment) < 8] == []


@pytest.mark.parametrize("timezone", ["UTC", "Asia/Kolkata"])
def test_views_mean_the_same_moment_in_every_session(filled: Database, timezone: str) -> None:
    with filled.connect() as connection:
        connection.execute(f"SET timezone = '{timezone}'")
        row = connection.execute(
            "SELECT metadata ->> 'note', created_at FROM booking_status_history WHERE version = 2"
        ).fetchone()

    assert row == ("späte Anreise", SAID["occurred_at"].replace(microsecond=987000))


# --- who may read -----------------------------------------------------------------------------


def test_an_analyst_reads_the_views_and_nothing_else(
    filled: Database, connection: psycopg.Connection, request: pytest.FixtureRequest
) -> None:
    name = sql.Identifier(f"analyst_{os.getpid()}")
    connection.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'sum' IN ROLE {}").format(
            name, sql.Identifier(analyst_role(filled.schema))
        )
    )
    request.addfinalizer(lambda: connection.execute(sql.SQL("DROP ROLE {}").format(name)))
    url = make_conninfo(filled.url, user=f"analyst_{os.getpid()}", password="sum")
    relations = connection.execute(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'p', 'S')"
        " AND relnamespace = current_schema()::regnamespace"
    ).fetchall()

    with Database(url, filled.schema).connect() as own:
        readable = set()
        for (relation,) in relations:
            try:
                own.execute(f"SELECT * FROM {relation}")
            except psycopg.errors.InsufficientPrivilege:
                continue
            readable.add(relation)
        for statement in (
            "INSERT INTO booking VALUES ('room-13')",
            "DELETE FROM booking_status_history",
            "CREATE VIEW mine AS SELECT 1",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                pytest.fail(str(own.execute(statement).statusmessage))

    assert len(relations) >= 10
    assert readable == {"booking", "booking_status_history", *tables.ANALYTICS_VIEWS}
