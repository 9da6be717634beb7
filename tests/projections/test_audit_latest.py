"""The audit of the latest events: what pages and signed lines say is derived anew."""

import psycopg
import pytest
from log_scenes import MASTER_KEY, ORIGIN, log_all, open_many, tampering
from scenes import change_status, record

from ledger.commands import DecideOnPersonalData
from ledger.database import Database
from ledger.personal_data import Decision
from projections.audit import audit
from projections.audit_snapshot import Outside
from projections.catch_up import catch_up
from projections.findings import Finding
from projections.log import checkpoint_table, signing_keys
from projections.log.checkpoints import Checkpoint, LatestRoot, sign_checkpoint

HOLD = Decision(
    verdict="hold", reason="dispute", decided_by="anna", actor="api-key", source="tests"
)


@pytest.fixture
def logged(database: Database) -> Database:
    """Checkpoints of 0, 100, 150, 151 and 9,151 events; 50 bookings were changed, one is held."""
    for step in (
        lambda: None,
        lambda: open_many(database, 100),
        lambda: record(database, *(change_status(f"b-{n}", "confirmed") for n in range(50))),
        lambda: record(database, DecideOnPersonalData("b-7", HOLD)),
        lambda: open_many(database, 9_000, "more"),
    ):
        step()
        log_all(database)
    catch_up(database)
    return database


def signed(connection: psycopg.Connection, size: int, latest: LatestRoot | None) -> Checkpoint:
    """The checkpoint of a size with another line, as who has its key could sign it."""
    kept = checkpoint_table.at_size(connection, size)
    assert kept is not None
    signers = signing_keys.signers(connection, MASTER_KEY, ORIGIN)
    return sign_checkpoint(ORIGIN, size, kept.root, signers, latest)


def put(database: Database, checkpoint: Checkpoint) -> None:
    with tampering(database) as superuser:
        superuser.execute(
            "UPDATE log_checkpoint SET note = %s WHERE size = %s",
            (str(checkpoint.note), checkpoint.size),
        )


def found(database: Database, outside: Outside | None = None) -> list[Finding]:
    return list(audit(database, outside=outside or Outside()).findings)


def places(findings: list[Finding]) -> set[tuple[str, int | None]]:
    return {(one.kind, one.position) for one in findings}


def test_what_nobody_altered_is_sound(logged: Database) -> None:
    assert found(logged) == []


@pytest.mark.parametrize("size", [0, 100, 150, 151, 9_151])
def test_a_line_that_was_signed_for_other_events_is_found(
    logged: Database, connection: psycopg.Connection, size: int
) -> None:
    """Whoever has the key could sign it: no signature shows it."""
    put(logged, signed(connection, size, LatestRoot(b"r" * 32, None)))

    (one,) = found(logged)

    assert (one.kind, one.position) == ("wrong_latest", size)
    assert f"of size {size} was signed for others" in one.detail


def test_a_line_that_was_true_before_the_last_change_is_found(
    logged: Database, connection: psycopg.Connection
) -> None:
    """How the operator would hide the newest change of a booking."""
    before = checkpoint_table.at_size(connection, 100)
    assert before is not None
    put(logged, signed(connection, 150, before.parsed().latest))

    assert places(found(logged)) == {("wrong_latest", 150)}


def test_checkpoints_without_the_line_are_sound(
    logged: Database, connection: psycopg.Connection
) -> None:
    """From before there was the line, or signed by such software again: they claim nothing."""
    for size in (0, 100, 151):
        put(logged, signed(connection, size, None))

    assert found(logged) == []


def test_a_line_that_was_shown_to_one_alone_is_found_by_what_he_kept(
    logged: Database, connection: psycopg.Connection
) -> None:
    shown = signed(connection, 150, LatestRoot(b"r" * 32, None))
    known = signing_keys.verifiers(connection)

    assert places(found(logged, Outside([("shown.txt", shown)], known))) == {("wrong_latest", 150)}


@pytest.mark.parametrize(
    ("harm", "position"),
    [
        ("UPDATE log_latest SET bits = set_byte(bits, 1, 1) WHERE number = 0", 9),
        ("UPDATE log_latest SET bits = set_byte(bits, 12, 0) WHERE number = 0", 97),
        ("UPDATE log_latest SET bits = set_byte(bits, 0, 0) WHERE number = 1", 8_193),
        ("DELETE FROM log_latest WHERE number = 0", 1),
        ("DELETE FROM log_latest WHERE number = 1", 8_193),
        ("DROP TABLE log_latest", 1),
    ],
)
def test_altered_pages_are_found_at_their_event_and_healed(
    logged: Database, connection: psycopg.Connection, harm: str, position: int
) -> None:
    connection.execute(harm)
    assert ("wrong_latest", position) in places(found(logged))
    assert {one.kind for one in found(logged)} == {"wrong_latest"}

    log_all(logged)
    assert found(logged) == []


def test_an_altered_event_is_not_told_twice(logged: Database) -> None:
    """What other events would be the latest is no finding of its own."""
    with tampering(logged) as superuser:
        superuser.execute(
            "UPDATE ledger_events SET originator_id = 'x' WHERE notification_id = 110"
        )

    kinds = {one.kind for one in found(logged)}

    assert "altered_event" in kinds
    assert "wrong_latest" not in kinds


def test_a_log_that_is_behind_is_compared_as_far_as_it_has_come(
    logged: Database, connection: psycopg.Connection
) -> None:
    record(logged, change_status("b-60", "confirmed"))
    catch_up(logged)
    assert found(logged) == []

    connection.execute("UPDATE log_latest SET bits = set_byte(bits, 7, 255) WHERE number = 0")
    connection.execute("UPDATE log_latest SET bits = set_byte(bits, 5, 255) WHERE number = 0")
    assert places(found(logged)) == {("wrong_latest", 41)}
