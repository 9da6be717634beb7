"""Audit: whatever is altered behind the ledger's back is found, with booking and kind."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from ledger.booking import Change
from ledger.commands import RecordStatus
from ledger.database import Database
from ledger.workflow import DEFAULT
from ledger.writer import Writer
from projections import findings
from projections.audit import AuditReport, audit
from projections.rebuild import rebuild
from projections.runner import Projector

TABLES = ("ledger_events", "booking_key", "Booking", "BookingStatusHistory")


def _record(database: Database, *changes: tuple[str, str]) -> None:
    writer = Writer(database, DEFAULT)
    try:
        writer.execute(
            [
                RecordStatus(
                    booking_id,
                    Change(
                        status=status,
                        changed_by="anna",
                        reason="asked",
                        metadata={"n": number},
                        actor="api-key",
                        source="key:test",
                    ),
                )
                for number, (booking_id, status) in enumerate(changes)
            ]
        )
    finally:
        writer.close()


def _project(database: Database) -> None:
    with database.connect() as connection:
        while Projector(database).project(connection):
            pass


@pytest.fixture
def ledger(database: Database) -> Database:
    """Positions: a 1, 3, 5; b 2, 4; c 6. The read model is up to date."""
    _record(
        database,
        ("a", "pending"),
        ("b", "pending"),
        ("a", "confirmed"),
        ("b", "cancelled"),
        ("a", "in_progress"),
        ("c", "pending"),
    )
    _project(database)
    return database


@contextmanager
def _altered(database: Database, *statements: str) -> Iterator[None]:
    """Alter as a superuser who switches the triggers off; afterwards all is as it was."""
    with database.connect() as connection:
        _triggers(connection, "DISABLE TRIGGER ALL")
        for table in TABLES:
            name, copy = sql.Identifier(table), sql.Identifier(f"kept {table}")
            connection.execute(sql.SQL("CREATE TABLE {} AS TABLE {}").format(copy, name))
        for statement in statements:
            assert connection.execute(statement).rowcount  # type: ignore[arg-type]
        yield
        for table in TABLES:
            name, copy = sql.Identifier(table), sql.Identifier(f"kept {table}")
            connection.execute(sql.SQL("DELETE FROM {}").format(name))
            connection.execute(sql.SQL("INSERT INTO {} TABLE {}").format(name, copy))
            connection.execute(sql.SQL("DROP TABLE {}").format(copy))
        _triggers(connection, "ENABLE TRIGGER ALL")


def _triggers(connection: psycopg.Connection, action: str) -> None:
    for table in TABLES:
        connection.execute(
            sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(table), sql.SQL(action))  # type: ignore[arg-type]
        )


def _found(report: AuditReport) -> set[tuple[str, str | None, int | None]]:
    return {(found.kind, found.booking_id, found.version) for found in report.findings}


def _state(old: str, new: str, where: str) -> str:
    return f"""
        UPDATE ledger_events SET state = convert_to(
            replace(convert_from(state, 'UTF8'), '{old}', '{new}'), 'UTF8')
        WHERE {where}
    """


class TestSound:
    def test_an_empty_ledger_is_sound(self, database: Database) -> None:
        report = audit(database)
        assert report.sound
        assert (report.events, report.bookings, report.head, report.position) == (0, 0, 0, 0)

    def test_what_the_ledger_wrote_is_sound(self, ledger: Database) -> None:
        report = audit(ledger)
        assert report.findings == ()
        assert (report.events, report.bookings, report.head, report.position) == (6, 3, 6, 6)

    def test_events_that_are_not_projected_yet_are_audited_and_not_missed(
        self, ledger: Database
    ) -> None:
        _record(ledger, ("a", "completed"), ("d", "pending"))
        report = audit(ledger)
        assert report.findings == ()
        assert (report.events, report.head, report.position) == (8, 8, 6)

    def test_progress_ends_at_the_number_of_events(self, ledger: Database) -> None:
        seen: list[tuple[int, int]] = []
        audit(ledger, lambda done, total: seen.append((done, total)))
        assert seen[-1] == (6, 6)

    def test_ids_are_compared_in_the_order_of_the_database(self, database: Database) -> None:
        ids = ["ä", "Z", "a", "😀", "\uffee", "a b", "a-b", "ab", "B"]
        _record(database, *((booking_id, "pending") for booking_id in ids))
        _project(database)
        assert audit(database).sound


EVENTS_ALTERED = {
    "what is sealed in an event": (
        _state('"}', 'A"}', "originator_id = 'a' AND originator_version = 2"),
        {("unreadable_event", "a", 2)},
    ),
    "the key of a booking": (
        "UPDATE booking_key SET wrapped = wrapped || 'x' WHERE booking_id = 'a'",
        {("unreadable_event", "a", n) for n in (1, 2, 3)},
    ),
    "from_status in an event's bytes": (
        _state('"pending"', '"cancelled"', "originator_id = 'a' AND originator_version = 2"),
        {("broken_chain", "a", 2), ("different_value", "a", 2)},
    ),
    "to_status of the last event": (
        _state('"cancelled"', '"completed"', "originator_id = 'b' AND originator_version = 2"),
        {("different_value", "b", 2)},
    ),
    "to_status of the first event": (
        _state(
            '"to_status":"pending"',
            '"to_status":"x"',
            "originator_id = 'b' AND originator_version = 1",
        ),
        {("different_value", "b", 1), ("broken_chain", "b", 2)},
    ),
    "bytes that are no JSON": (
        "UPDATE ledger_events SET state = 'broken' WHERE notification_id = 3",
        {("unreadable_event", "a", 2)},
    ),
    "bytes that are no object": (
        "UPDATE ledger_events SET state = '[]' WHERE notification_id = 3",
        {("unreadable_event", "a", 2)},
    ),
    "an event without what is sealed": (
        _state(',"sealed":"', ',"unsealed":"', "notification_id = 3"),
        {("unreadable_event", "a", 2)},
    ),
    "an event with more than there is": (
        _state('{"timestamp"', '{"more":1,"timestamp"', "notification_id = 3"),
        {("unreadable_event", "a", 2)},
    ),
    "a value of another type": (
        _state('"sealed":"', '"sealed":1,"more":"', "notification_id = 3"),
        {("unreadable_event", "a", 2)},
    ),
    "a time without offset": (
        (
            "UPDATE ledger_events SET state = convert_to("
            "regexp_replace(convert_from(state, 'UTF8'),"
            """ '"timestamp":"([^"]*)Z"', '"timestamp":"\\1"'), 'UTF8') WHERE notification_id = 3"""
        ),
        {("unreadable_event", "a", 2)},
    ),
    "a topic that names a module": (
        "UPDATE ledger_events SET topic = 'os:system' WHERE notification_id = 3",
        {("unreadable_event", "a", 2)},
    ),
    "a later event that opens": (
        (
            "UPDATE ledger_events SET topic = 'Booking.Created', state = convert_to(rtrim("
            """convert_from(state, 'UTF8'), '}') || ',"originator_topic":"Booking"}', 'UTF8')"""
            " WHERE notification_id = 3"
        ),
        {("wrong_first_event", "a", 2)},
    ),
    "a middle event removed": (
        "DELETE FROM ledger_events WHERE originator_id = 'a' AND originator_version = 2",
        {("missing_position", None, None), ("version_gap", "a", 3), ("extra_row", "a", 2)},
    ),
    "the first event removed": (
        "DELETE FROM ledger_events WHERE originator_id = 'a' AND originator_version = 1",
        {("missing_position", None, None), ("version_gap", "a", 2), ("extra_row", "a", 1)},
    ),
    "the last event of a booking removed": (
        "DELETE FROM ledger_events WHERE originator_id = 'b' AND originator_version = 2",
        {("missing_position", None, None), ("extra_row", "b", 2), ("different_value", "b", 1)},
    ),
    "the newest event removed": (
        "DELETE FROM ledger_events WHERE originator_id = 'c'",
        {("read_model_ahead", None, None), ("extra_row", "c", 1)},
    ),
    "an event forged": (
        (
            "INSERT INTO ledger_events SELECT originator_id, 4, topic, state, 7 "
            "FROM ledger_events WHERE notification_id = 5"
        ),
        # What it says of persons is sealed for another version, so nobody can open it.
        {("broken_chain", "a", 4), ("key_missing", "a", 4)},
    ),
}


@pytest.mark.parametrize("alteration", EVENTS_ALTERED)
def test_altered_events_are_found(ledger: Database, alteration: str) -> None:
    statement, expected = EVENTS_ALTERED[alteration]
    with _altered(ledger, statement):
        assert _found(audit(ledger)) == expected
    assert audit(ledger).sound


def test_swapped_positions_are_found(ledger: Database) -> None:
    swap = "UPDATE ledger_events SET notification_id = {} WHERE notification_id = {}"
    between = [swap.format(99, 1), swap.format(1, 2), swap.format(2, 99)]
    with _altered(ledger, *between):
        assert _found(audit(ledger)) == {("different_value", "a", 1), ("different_value", "b", 1)}
    within = [swap.format(99, 1), swap.format(1, 3), swap.format(3, 99)]
    with _altered(ledger, *within):
        assert ("wrong_order", "a", 2) in _found(audit(ledger))
    assert audit(ledger).sound


HISTORY_COLUMNS = {
    "id": "'forged'",
    "fromStatus": "'forged'",
    "toStatus": "'forged'",
    "changedBy": "NULL",
    "reason": "'forged'",
    "metadata": """'{"n":3}'""",
    "createdAt": "'infinity'",
    "position": "77",
    "recordedAt": "\"recordedAt\" - interval '1 millisecond'",
    "actor": "'user'",
    "source": "'forged'",
    "claimedFromStatus": "''",
    "erased": "NOT erased",
}
BOOKING_COLUMNS = {
    "status": "'completed'",
    "version": "4",
    "createdAt": "\"createdAt\" - interval '1 millisecond'",
    "updatedAt": "'20000-01-01'",
    "position": "77",
}


@pytest.mark.parametrize("column", HISTORY_COLUMNS)
def test_a_changed_column_of_history_is_found(ledger: Database, column: str) -> None:
    change = (
        f'UPDATE "BookingStatusHistory" SET "{column}" = {HISTORY_COLUMNS[column]} '
        "WHERE \"bookingId\" = 'a' AND version = 2"
    )
    with _altered(ledger, change):
        (found,) = audit(ledger).findings
    assert (found.kind, found.booking_id, found.version) == ("different_value", "a", 2)
    assert f'"BookingStatusHistory": {column} is' in found.detail
    assert audit(ledger).sound


@pytest.mark.parametrize("column", BOOKING_COLUMNS)
def test_a_changed_column_of_bookings_is_found(ledger: Database, column: str) -> None:
    change = f'UPDATE "Booking" SET "{column}" = {BOOKING_COLUMNS[column]} WHERE id = \'a\''
    with _altered(ledger, change):
        (found,) = audit(ledger).findings
    assert (found.kind, found.booking_id, found.version) == ("different_value", "a", 3)
    assert f'"Booking": {column} is' in found.detail
    assert audit(ledger).sound


ROWS_ALTERED = {
    "a history row too many": (
        (
            'INSERT INTO "BookingStatusHistory" SELECT \'x\', "bookingId", "fromStatus", '
            '"toStatus", "changedBy", reason, metadata, "createdAt", 9, position, "recordedAt", '
            "actor, source, NULL, false "
            'FROM "BookingStatusHistory" WHERE "bookingId" = \'a\' AND version = 3'
        ),
        {("extra_row", "a", 9)},
    ),
    "a history row of no booking": (
        'UPDATE "BookingStatusHistory" SET "bookingId" = \'zz\' WHERE "bookingId" = \'c\'',
        {("missing_row", "c", 1), ("extra_row", "zz", 1)},
    ),
    "a history row missing": (
        'DELETE FROM "BookingStatusHistory" WHERE "bookingId" = \'a\' AND version = 3',
        {("missing_row", "a", 3)},
    ),
    "a booking missing": ("DELETE FROM \"Booking\" WHERE id = 'b'", {("missing_row", "b", 2)}),
    "a booking too many": (
        (
            'INSERT INTO "Booking" '
            'SELECT \'bb\', status, version, "createdAt", "updatedAt", position'
            " FROM \"Booking\" WHERE id = 'b'"
        ),
        {("extra_row", "bb", 2)},
    ),
}


@pytest.mark.parametrize("alteration", ROWS_ALTERED)
def test_rows_too_many_and_too_few_are_found(ledger: Database, alteration: str) -> None:
    statement, expected = ROWS_ALTERED[alteration]
    with _altered(ledger, statement):
        assert _found(audit(ledger)) == expected
    assert audit(ledger).sound


def test_rows_of_events_beyond_the_projections_position_are_too_many(ledger: Database) -> None:
    with ledger.connect() as connection:
        connection.execute("UPDATE projection SET position = 5 WHERE name = 'status_history'")
    assert _found(audit(ledger)) == {("extra_row", "c", 1)}


def test_an_unreadable_event_hides_no_other_finding(ledger: Database) -> None:
    with _altered(
        ledger,
        "UPDATE ledger_events SET state = '' WHERE notification_id = 2",
        "UPDATE \"Booking\" SET status = 'x' WHERE id = 'a'",
    ):
        assert _found(audit(ledger)) == {("unreadable_event", "b", 1), ("different_value", "a", 3)}


def test_a_read_model_that_is_gone_is_found_and_the_events_are_audited(ledger: Database) -> None:
    with ledger.connect() as connection:
        connection.execute('DROP TABLE "BookingStatusHistory", "Booking" CASCADE')
    report = audit(ledger)
    assert _found(report) == {("read_model_missing", None, None)}
    assert (report.events, report.position) == (6, None)


def test_a_read_model_of_another_release_is_not_compared(ledger: Database) -> None:
    """Its rows are others by right: right after an upgrade, each would be said to be altered."""
    with _altered(
        ledger,
        "UPDATE projection SET version = version - 1 WHERE name = 'status_history'",
        "UPDATE \"BookingStatusHistory\" SET id = 'x' || id",
    ):
        report = audit(ledger)
    assert _found(report) == {("read_model_version", None, None)}
    assert "'booking-ledger rebuild' makes it anew" in report.findings[0].detail
    assert (report.events, report.position) == (6, None)


def test_missing_positions_are_named(ledger: Database) -> None:
    with _altered(
        ledger, "DELETE FROM ledger_events WHERE notification_id IN (2, 4, 5)", "SELECT 1"
    ):
        gaps = [
            (found.position, found.detail)
            for found in audit(ledger).findings
            if found.kind == "missing_position"
        ]
    assert gaps == [(2, "missing: 2"), (4, "missing: 4 to 5")]


def test_findings_are_bounded_and_all_counted(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "FINDINGS_MAX", 4)
    with _altered(ledger, "UPDATE \"BookingStatusHistory\" SET actor = 'x'"):
        report = audit(ledger)
    assert (len(report.findings), report.findings_count) == (4, 6)
    assert not report.sound


def test_a_rebuilt_read_model_is_sound(ledger: Database) -> None:
    rebuild(ledger)
    assert audit(ledger).sound
