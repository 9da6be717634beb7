"""The audit of the log: whatever is altered as superuser is found at its place; undone, all is
sound."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from log_scenes import MASTER_KEY, ORIGIN, log_all, open_many, tampering
from psycopg import sql

from ledger.database import Database
from projections import audit_beside
from projections.audit import AuditReport, audit
from projections.audit_snapshot import Outside
from projections.catch_up import catch_up
from projections.log import checkpoint_table, signing_keys, tile_table
from projections.log.checkpoints import Checkpoint, sign_checkpoint
from projections.log.notes import Signer

TABLES = (
    "ledger_events",
    "log_checkpoint",
    "log_cosignature",
    "log_tile",
    "log_latest",
    "log_key",
)
LOG_KINDS = {
    "altered_event",
    "wrong_tile",
    "wrong_checkpoint_root",
    "wrong_latest",
    "checkpoint_beyond_log",
    "checkpoint_missing",
    "bad_signature",
}


@pytest.fixture
def logged(database: Database) -> Database:
    """540 events; checkpoints of 0, 100, 200, 400 and 540; read model and log up to date."""
    log_all(database)
    for part, count in enumerate((100, 100, 200, 140)):
        open_many(database, count, f"part-{part}")
        log_all(database)
    catch_up(database)
    return database


@contextmanager
def altered(database: Database, *statements: str) -> Iterator[None]:
    """Altered by a superuser without triggers; afterwards all is as it was."""
    with tampering(database) as superuser:
        for table in TABLES:
            name, copy = sql.Identifier(table), sql.Identifier(f"kept {table}")
            superuser.execute(sql.SQL("CREATE TABLE {} AS TABLE {}").format(copy, name))
        for statement in statements:
            superuser.execute(statement)  # type: ignore[arg-type]
        yield
        for table in TABLES:
            superuser.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        for table in ("log_key", *TABLES[:-1]):
            name, copy = sql.Identifier(table), sql.Identifier(f"kept {table}")
            superuser.execute(
                sql.SQL("INSERT INTO {} OVERRIDING SYSTEM VALUE TABLE {}").format(name, copy)
            )
            superuser.execute(sql.SQL("DROP TABLE {}").format(copy))


def of_log(report: AuditReport) -> set[tuple[str, int | None]]:
    return {(one.kind, one.position) for one in report.findings if one.kind in LOG_KINDS}


def event(change: str, position: int) -> str:
    return f"UPDATE ledger_events SET {change} WHERE notification_id = {position}"


def flip(level: int, number: int, byte: int) -> str:
    return (
        f"UPDATE log_tile SET hashes = set_byte(hashes, {byte}, get_byte(hashes, {byte}) # 1)"
        f" WHERE level = {level} AND number = {number}"
    )


SWAP = (
    "UPDATE ledger_events SET notification_id = 9999 WHERE notification_id = 150",
    "UPDATE ledger_events SET notification_id = 150 WHERE notification_id = 151",
    "UPDATE ledger_events SET notification_id = 151 WHERE notification_id = 9999",
)
INSERT = """
    INSERT INTO ledger_events
    SELECT 'put-in-later', 1, topic, state, {} FROM ledger_events WHERE notification_id = 1
"""
BYTE = "state = set_byte(state, {0}, get_byte(state, {0}) # 1)"
OTHER_ROOT = "UPDATE log_checkpoint SET root = sha256('x') WHERE size = {}"

ATTACKS: dict[str, tuple[tuple[str, ...], set[tuple[str, int | None]]]] = {
    "first byte of an event": ((event(BYTE.format(0), 7),), {("altered_event", 7)}),
    "a later byte of an event": ((event(BYTE.format(60), 333),), {("altered_event", 333)}),
    "the first event": ((event(BYTE.format(9), 1),), {("altered_event", 1)}),
    "the last event": ((event(BYTE.format(9), 540),), {("altered_event", 540)}),
    "topic": ((event("topic = 'x'", 101),), {("altered_event", 101)}),
    "booking": ((event("originator_id = 'x'", 200),), {("altered_event", 200)}),
    "version": ((event("originator_version = 2", 256),), {("altered_event", 256)}),
    "two events swapped": (SWAP, {("altered_event", 150), ("altered_event", 151)}),
    "an event put in the place of another": (
        ("DELETE FROM ledger_events WHERE notification_id = 300", INSERT.format(300)),
        {("altered_event", 300)},
    ),
    "many events": (
        tuple(event("topic = 'x'", position) for position in (5, 150, 250, 450)),
        {("altered_event", position) for position in (5, 150, 250, 450)},
    ),
    "the last event removed": (
        ("DELETE FROM ledger_events WHERE notification_id = 540",),
        {("checkpoint_beyond_log", 540)},
    ),
    "all events removed": (("DELETE FROM ledger_events",), {("checkpoint_beyond_log", 1)}),
    "event and its hash in the tile": (
        (event("topic = 'x'", 150), flip(0, 0, 149 * 32)),
        {("wrong_checkpoint_root", 101), ("wrong_tile", 150), ("wrong_tile", 1)},
    ),
    "a hash of a leaf tile": ((flip(0, 0, 32 * 9),), {("wrong_tile", 10), ("wrong_tile", 1)}),
    "a hash of the open leaf tile": ((flip(0, 2, 0),), {("wrong_tile", 513)}),
    "a hash of an upper tile": ((flip(1, 0, 33),), {("wrong_tile", 257)}),
    "a leaf tile removed": (
        ("DELETE FROM log_tile WHERE level = 0 AND number = 1",),
        {("wrong_tile", 257)},
    ),
    "an upper tile removed": (("DELETE FROM log_tile WHERE level = 1",), {("wrong_tile", 1)}),
    "all tiles removed": (("DELETE FROM log_tile",), {("wrong_tile", p) for p in (1, 257, 513)}),
    "a tile cut short": (
        ("UPDATE log_tile SET hashes = substr(hashes, 1, 32) WHERE level = 0 AND number = 2",),
        {("wrong_tile", 513)},
    ),
    "a bit of the latest events": (
        ("UPDATE log_latest SET bits = set_byte(bits, 9, get_byte(bits, 9) # 4)",),
        {("wrong_latest", 75)},
    ),
    "a bit of what is not there yet": (
        ("UPDATE log_latest SET bits = set_byte(bits, 100, 1)",),
        {("wrong_latest", 801)},
    ),
    "the latest events removed": (("DELETE FROM log_latest",), {("wrong_latest", 1)}),
    "the latest events moved": (
        ("UPDATE log_latest SET number = number + 1",),
        {("wrong_latest", 1)},
    ),
    "the latest events in a note": (
        (r"UPDATE log_checkpoint SET note = replace(note, 'latest/1 ', 'latest/1 A')",),
        {("bad_signature", size) for size in (0, 100, 200, 400, 540)},
    ),
    "the time in a note": (
        (r"UPDATE log_checkpoint SET note = regexp_replace(note, '\dZ', 'xZ') WHERE size = 200",),
        {("bad_signature", 200)},
    ),
    "the root beside a note": ((OTHER_ROOT.format(200),), {("wrong_checkpoint_root", 200)}),
    "the size beside a note": (
        ("UPDATE log_checkpoint SET size = 201 WHERE size = 200",),
        {("wrong_checkpoint_root", 201)},
    ),
    "the size in a note": (
        (r"UPDATE log_checkpoint SET note = replace(note, E'\n200\n', E'\n201\n')",),
        {("bad_signature", 200)},
    ),
    "the signature of a note": (
        ("UPDATE log_checkpoint SET note = left(note, -20) || right(note, 2) WHERE size = 400",),
        {("bad_signature", 400)},
    ),
    "no note at all": (
        ("UPDATE log_checkpoint SET note = 'x' WHERE size = 0",),
        {("bad_signature", 0)},
    ),
    "the newest checkpoint removed": (
        ("DELETE FROM log_checkpoint WHERE size = 540",),
        {("checkpoint_missing", 401)},
    ),
    "all checkpoints removed": (("DELETE FROM log_checkpoint",), {("checkpoint_missing", 1)}),
    "the key of another": (
        ("UPDATE log_key SET public_key = sha256('x')",),
        {("bad_signature", size) for size in (0, 100, 200, 400, 540)},
    ),
    "no key": (
        ("DELETE FROM log_key",),
        {("bad_signature", size) for size in (0, 100, 200, 400, 540)},
    ),
    "a newer checkpoint than there are events, unsigned": (
        ("INSERT INTO log_checkpoint SELECT 541, root, note FROM log_checkpoint WHERE size = 540",),
        {("wrong_checkpoint_root", 541)},
    ),
}


def test_a_log_that_nobody_altered_is_sound(logged: Database) -> None:
    report = audit(logged)

    assert report.findings == ()
    assert report.sound


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_alteration_is_found_at_its_place_and_undone_all_is_sound(
    logged: Database, attack: str
) -> None:
    statements, expected = ATTACKS[attack]
    with altered(logged, *statements):
        report = audit(logged)
        assert of_log(report) == expected
        assert not report.sound

    assert audit(logged).sound


@pytest.mark.parametrize("position", [1, 99, 100, 256, 257, 539])
def test_a_removed_event_leaves_a_gap_and_the_rest_still_agrees(
    logged: Database, position: int
) -> None:
    with altered(logged, f"DELETE FROM ledger_events WHERE notification_id = {position}"):
        report = audit(logged)

        assert of_log(report) == set()
        assert ("missing_position", position) in {
            (one.kind, one.position) for one in report.findings
        }


def test_an_altered_event_is_named_with_its_booking(logged: Database) -> None:
    with altered(logged, event("topic = 'x'", 105)):
        (found,) = [one for one in audit(logged).findings if one.kind == "altered_event"]

    assert (found.booking_id, found.version, found.position) == ("part-1-4", 1, 105)


def test_an_event_squeezed_in_shifts_all_that_follow(logged: Database) -> None:
    with altered(
        logged,
        "UPDATE ledger_events SET notification_id = notification_id + 9000"
        " WHERE notification_id > 500",
        "UPDATE ledger_events SET notification_id = notification_id - 8999"
        " WHERE notification_id > 9000",
        INSERT.format(501),
    ):
        found = of_log(audit(logged))

    assert found == {("altered_event", position) for position in range(501, 541)}


def test_a_position_far_away_does_not_keep_the_audit_busy(logged: Database) -> None:
    with altered(logged, event(f"notification_id = {2**62}", 540)):
        report = audit(logged)

    assert "missing_position" in {one.kind for one in report.findings}
    assert not report.sound


# --- kept outside ---------------------------------------------------------------------------


def outside(database: Database, *sizes: int) -> Outside:
    with database.connect() as connection:
        kept = [checkpoint_table.at_size(connection, size) for size in sizes]
        known = signing_keys.verifiers(connection)
    named = [(f"{one.size}.txt", one.parsed()) for one in kept if one is not None]
    return Outside(named, known)


def rewrite(connection: psycopg.Connection, database: Database, position: int) -> None:
    """Everything anew as the operator can: another history, tiles, key and checkpoints."""
    with tampering(database) as superuser:
        superuser.execute(event(BYTE.format(60), position))  # type: ignore[arg-type]
        superuser.execute("DELETE FROM log_checkpoint")
        superuser.execute("DELETE FROM log_key")
    with connection.transaction():
        tile_table.start_anew(connection)
    log_all(database)


def test_a_rewritten_log_agrees_with_itself_but_not_with_what_was_kept_outside(
    logged: Database, connection: psycopg.Connection
) -> None:
    kept = outside(logged, 100, 200, 400)
    rewrite(connection, logged, 150)

    assert of_log(audit(logged)) == set()
    found = of_log(audit(logged, outside=kept))
    assert found == {("wrong_checkpoint_root", 101)}
    found = of_log(audit(logged, outside=Outside(kept.checkpoints)))
    assert found == {("bad_signature", size) for size in (100, 200, 400)}


def test_checkpoints_outside_of_an_honest_log_agree(logged: Database) -> None:
    assert audit(logged, outside=outside(logged, 0, 100, 540)).sound


def test_a_log_cut_short_and_signed_anew_is_found(
    logged: Database, connection: psycopg.Connection
) -> None:
    kept = outside(logged, 540)
    with tampering(logged) as superuser:
        superuser.execute("DELETE FROM ledger_events WHERE notification_id > 500")
        superuser.execute("DELETE FROM log_checkpoint WHERE size > 500")
    with connection.transaction():
        tile_table.start_anew(connection)
    log_all(logged)

    assert of_log(audit(logged)) == set()
    assert of_log(audit(logged, outside=kept)) == {("checkpoint_beyond_log", 501)}


def test_a_forged_checkpoint_from_outside_accuses_nobody(logged: Database) -> None:
    forger = Signer(ORIGIN, b"f" * 32)
    forged: Checkpoint = sign_checkpoint(ORIGIN, 200, b"r" * 32, [forger])

    assert of_log(audit(logged, outside=Outside([("forged.txt", forged)]))) == {
        ("bad_signature", 200)
    }


def test_after_a_rotation_of_keys_all_is_sound(
    logged: Database, connection: psycopg.Connection
) -> None:
    before = outside(logged, 540)
    signing_keys.rotate(logged, MASTER_KEY, ORIGIN)
    open_many(logged, 5, "after")
    log_all(logged)
    catch_up(logged)

    assert audit(logged, outside=Outside(before.checkpoints)).sound


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_beside, "BESIDE_FROM_EVENTS", 1)
    monkeypatch.setattr(audit_beside, "cpu_count", lambda: 2)


def test_a_process_beside_finds_the_same(
    logged: Database, beside: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for ledgers of some size; what it finds comes behind what is found of the bookings."""
    assert audit(logged).sound
    with altered(
        logged,
        "UPDATE ledger_events SET state = state || ' ' WHERE notification_id = 150",
        "UPDATE log_checkpoint SET note = replace(note, 'A', 'B') WHERE size = 200",
    ):
        two = audit(logged)
        monkeypatch.setattr(audit_beside, "BESIDE_FROM_EVENTS", 10**9)
        one = audit(logged)

    assert not two.sound
    assert sorted(map(repr, two.findings)) == sorted(map(repr, one.findings))
    assert two.findings_count == one.findings_count


def test_a_process_beside_that_fails_fails_the_audit(
    logged: Database, beside: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_beside, "_check", os.abort)

    with pytest.raises(audit_beside.AuditFailed, match="has ended"):
        audit(logged)
