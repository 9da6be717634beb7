"""The analysts' views: what they say of re-entries, open stays and skipped steps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hotel import load_hotel, read_source
from psycopg import sql
from scenes import ANY_CHANGE, change_status, eventually, open_booking, projecting, record

from ledger.database import Database
from projections import tables
from projections.catch_up import catch_up
from projections.rebuild import rebuild

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


def hour(number: int) -> datetime:
    return MIDNIGHT + timedelta(hours=number)


@pytest.fixture(name="told")
def _told(database: Database) -> Database:
    """One booking that comes back and one that goes straight; the rest of the day is quiet."""
    record(
        database,
        open_booking("back", occurred_at=hour(0), changed_by="anna"),
        change_status("back", "confirmed", occurred_at=hour(1), changed_by="ben"),
        change_status("back", "pending", occurred_at=hour(3), changed_by="anna", reason="typo"),
        change_status("back", "confirmed", occurred_at=hour(7), changed_by="anna"),
        change_status("back", "in_progress", occurred_at=hour(8)),
        open_booking("straight", occurred_at=hour(2)),
        change_status("straight", "in_progress", occurred_at=hour(4), changed_by="ben"),
        workflow=ANY_CHANGE,
    )
    catch_up(database)
    return database


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(query).fetchall()


def test_time_in_status_sums_stays_and_is_null_for_a_status_never_had(told: Database) -> None:
    found = {
        status: (visits, spent, current)
        for status, visits, spent, current in rows(
            told,
            "SELECT status, visits, time_in_status, is_current FROM booking_time_in_status"
            " WHERE booking_id = 'straight'",
        )
    }

    assert found["confirmed"] == (0, None, False)
    assert found["pending"] == (1, timedelta(hours=2), False)
    visits, spent, current = found["in_progress"]
    assert (visits, current) == (1, True)
    assert timedelta(0) <= datetime.now(UTC) - hour(4) - spent < timedelta(minutes=1)
    (back,) = rows(
        told,
        "SELECT visits, time_in_status FROM booking_time_in_status"
        " WHERE booking_id = 'back' AND status = 'pending'",
    )
    assert back == (2, timedelta(hours=1 + 4))


def test_a_stay_says_who_began_and_who_ended_it(told: Database) -> None:
    found = rows(
        told,
        "SELECT status, entered_by, left_by, next_status, duration FROM booking_status_visit"
        " WHERE booking_id = 'back' ORDER BY version",
    )

    assert found == [
        ("pending", "anna", "ben", "confirmed", timedelta(hours=1)),
        ("confirmed", "ben", "anna", "pending", timedelta(hours=2)),
        ("pending", "anna", "anna", "confirmed", timedelta(hours=4)),
        ("confirmed", "anna", None, "in_progress", timedelta(hours=1)),
        ("in_progress", None, None, None, None),
    ]


def test_transitions_by_day_and_by_who(told: Database) -> None:
    by_day = rows(
        told,
        "SELECT day::text, changes, total_time, median_time FROM booking_transition_by_day"
        " WHERE from_status = 'pending' AND to_status = 'confirmed'",
    )
    by_actor = rows(
        told,
        "SELECT changed_by, changes FROM booking_transition_by_actor"
        " WHERE from_status = 'pending' AND to_status = 'confirmed' ORDER BY changed_by",
    )

    assert by_day == [("2026-03-01", 2, timedelta(hours=5), timedelta(hours=2, minutes=30))]
    assert by_actor == [("anna", 1), ("ben", 1)]


def test_reopened_and_skipped(told: Database) -> None:
    reopened = rows(
        told, "SELECT booking_id, version, status, time_away, visits_before FROM booking_reopened"
    )
    skipped = rows(
        told,
        "SELECT booking_id, from_status, skipped_status, to_status FROM booking_skipped_step",
    )

    assert sorted(reopened) == [
        ("back", 3, "pending", timedelta(hours=2), 1),
        ("back", 4, "confirmed", timedelta(hours=4), 1),
    ]
    assert skipped == [("straight", "pending", "confirmed", "in_progress")]


def test_the_funnel_counts_bookings_once(told: Database) -> None:
    found = rows(
        told,
        "SELECT from_status, to_status, bookings, converted, conversion FROM booking_funnel"
        " ORDER BY 1, 2",
    )

    assert found == [
        ("confirmed", "in_progress", 1, 1, 1.0),
        ("confirmed", "pending", 1, 1, 1.0),
        ("pending", "confirmed", 2, 1, 0.5),
        ("pending", "in_progress", 2, 2, 1.0),
    ]


def test_the_order_is_the_version_where_times_contradict_it(database: Database) -> None:
    record(database, open_booking("late", occurred_at=hour(5)))
    record(database, change_status("late", "confirmed", occurred_at=hour(4)))
    catch_up(database)

    assert rows(database, "SELECT status, duration FROM booking_status_visit ORDER BY version") == [
        ("pending", timedelta(hours=-1)),
        ("confirmed", None),
    ]


def test_an_empty_ledger_has_no_rows(database: Database) -> None:
    for view in tables.ANALYTICS_VIEWS:
        assert rows(database, f"SELECT * FROM {view}") == []


def test_every_column_of_every_view_is_explained(connection: psycopg.Connection) -> None:
    found = connection.execute(
        """
        SELECT relname, attname FROM pg_attribute
        JOIN pg_class ON pg_class.oid = attrelid
        WHERE relkind = 'v' AND relnamespace = current_schema()::regnamespace AND attnum > 0
            AND (col_description(attrelid, attnum) IS NULL
                OR obj_description(attrelid, 'pg_class') IS NULL)
        """
    ).fetchall()
    (views,) = connection.execute(
        "SELECT array_agg(viewname::text) FROM pg_views WHERE schemaname = current_schema()"
    ).fetchone() or (None,)

    assert found == []
    assert set(views or []) == {*tables.ANALYTICS_VIEWS, "booking", "booking_status_history"}


def test_analysts_read_the_views_and_write_nothing(database: Database) -> None:
    load_hotel(database)
    with database.connect() as connection:
        connection.execute("SET ROLE ledger_analyst")
        for view in tables.ANALYTICS_VIEWS:
            connection.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.Identifier(view)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute('SELECT * FROM "BookingStatusHistory"')
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM ledger_events")


def test_a_rebuild_keeps_views_that_people_have_built_on_them(told: Database) -> None:
    with told.connect() as connection:
        connection.execute("CREATE VIEW mine AS SELECT * FROM booking_funnel")
        before = connection.execute("SELECT * FROM mine ORDER BY 1, 2").fetchall()
        with projecting(told):
            rebuild(told)
            record(told, open_booking("after"))
            eventually(
                lambda: (
                    connection.execute(
                        "SELECT FROM booking_path WHERE booking_id = 'after'"
                    ).fetchone()
                    is not None
                ),
                "the views see what comes after the rebuild",
            )
        after = connection.execute("SELECT * FROM mine ORDER BY 1, 2").fetchall()

    assert [row[:2] for row in after] == [row[:2] for row in before]


def test_funnel_and_time_in_status_equal_the_source(database: Database) -> None:
    """Worked out from the CSV, in the order of the file, without our tables."""
    load_hotel(database)
    reached: dict[str, set[str]] = {}
    converted: dict[tuple[str, str], set[str]] = {}
    spent: dict[tuple[str, str], timedelta] = {}
    for booking_id, entries in read_source().items():
        for number, entry in enumerate(entries):
            reached.setdefault(entry.to_status, set()).add(booking_id)
            for later in entries[number + 1 :]:
                converted.setdefault((entry.to_status, later.to_status), set()).add(booking_id)
            if number + 1 < len(entries):
                key = booking_id, entry.to_status
                stay = entries[number + 1].created_at - entry.created_at
                spent[key] = spent.get(key, timedelta(0)) + stay

    assert {
        (row[0], row[1]): (row[2], row[3])
        for row in rows(
            database, "SELECT from_status, to_status, bookings, converted FROM booking_funnel"
        )
    } == {pair: (len(reached[pair[0]]), len(ids)) for pair, ids in converted.items()}
    assert {
        (row[0], row[1]): row[2]
        for row in rows(
            database,
            "SELECT booking_id, status, time_in_status FROM booking_time_in_status"
            " WHERE NOT is_current AND time_in_status IS NOT NULL",
        )
    } == spent
