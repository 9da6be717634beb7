"""The log as a projection: whole, exactly once, consistent, healed, and loud when it is not."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise

import psycopg
import pytest
from log_scenes import (
    MASTER_KEY,
    ORIGIN,
    entries,
    latest_root_of_events,
    log_all,
    logging_on,
    open_many,
    root_of_events,
    tampering,
)
from scenes import change_status, eventually, open_booking, projecting, record, writing

from ledger import limits
from ledger.database import Database
from ledger.master_key import MasterKey, MasterKeyError
from projections.audit import audit
from projections.log import checkpoint_table, projector, signing_keys, tile_table
from projections.log.agreement import LogInconsistent
from projections.log.checkpoint_table import KeptCheckpoint
from projections.log.checkpoints import LatestRoot, sign_checkpoint
from projections.log.merkle import EMPTY_ROOT, consistency_proof, verify_consistency
from projections.log.notes import BadNote
from projections.log.projector import LogProjector
from projections.log.tiles import TileNodes
from projections.running import run_projectors


def newest(connection: psycopg.Connection) -> KeptCheckpoint:
    found = checkpoint_table.newest(connection)
    assert found is not None
    return found


def checkpoints(connection: psycopg.Connection) -> list[KeptCheckpoint]:
    return list(checkpoint_table.after(connection, -1, 10_000))


def derived(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return [
        *connection.execute("SELECT * FROM log_tile ORDER BY level, number"),
        *connection.execute("SELECT * FROM log_latest ORDER BY number"),
    ]


def assert_sound(connection: psycopg.Connection) -> None:
    """Every checkpoint is signed, has the roots of its events, and leads to the next."""
    nodes = TileNodes(lambda wanted: tile_table.read_tiles(connection, wanted))
    found = checkpoints(connection)
    assert found[0].size == 0
    known = signing_keys.verifiers(connection)
    for kept in found:
        parsed = kept.parsed()
        parsed.verify(known)
        assert (parsed.origin, parsed.size, parsed.root) == (ORIGIN, kept.size, kept.root)
        assert kept.root == root_of_events(connection, kept.size)
        assert parsed.latest is not None
        assert parsed.latest.root == latest_root_of_events(connection, kept.size)
    for older, newer in pairwise(found):
        proof = consistency_proof(older.size, newer.size, nodes)
        assert verify_consistency(older.size, newer.size, older.root, newer.root, proof)


def failure(connection: psycopg.Connection) -> str | None:
    row = connection.execute("SELECT failure FROM projection WHERE name = 'log'").fetchone()
    assert row is not None
    text: str | None = row[0]
    return text


def test_the_largest_event_that_can_be_recorded_is_logged(
    database: Database, connection: psycopg.Connection
) -> None:
    padding = limits.METADATA_BYTES_MAX - len('{"a":""}')
    with writing(database) as writer:
        writer.execute([open_booking("large", metadata={"a": "x" * padding}), open_booking("b")])

    assert log_all(database) == 2
    newest = checkpoint_table.newest(connection)
    assert newest is not None
    assert newest.root == root_of_events(connection)
    assert audit(database).findings == ()


def test_an_empty_log_has_a_signed_checkpoint_of_nothing(
    database: Database, connection: psycopg.Connection
) -> None:
    assert log_all(database) == 0

    assert (newest(connection).size, newest(connection).root) == (0, EMPTY_ROOT)
    assert newest(connection).parsed().verify(signing_keys.verifiers(connection))


def test_events_are_logged_once_and_nothing_is_signed_where_nothing_changed(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-1"), change_status("room-1", "confirmed"))

    assert log_all(database) == 2
    assert log_all(database) == 0

    assert [kept.size for kept in checkpoints(connection)] == [0, 2]
    assert_sound(connection)
    assert entries(connection)[0].startswith(
        b'{"format":1,"position":1,"booking":"room-1","version":1,"type":"Booking.Created","data":{'
    )


@pytest.mark.parametrize("batch", [1, 7, 255, 256, 257])
def test_batches_of_any_size_give_the_same_tiles(
    database: Database,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
) -> None:
    count = 600 if batch > 1 else 20
    open_many(database, count // 2)
    record(database, *(change_status(f"b-{n}", "confirmed") for n in range(count // 2)))
    log_all(database)
    at_once = derived(connection)
    with connection.transaction():
        tile_table.start_anew(connection)
    monkeypatch.setattr(projector, "BATCH_EVENTS", batch)

    assert log_all(database) == count

    assert derived(connection) == at_once
    assert newest(connection).root == root_of_events(connection)


def test_a_batch_writes_only_the_tiles_that_it_changes(
    database: Database, connection: psycopg.Connection
) -> None:
    open_many(database, 1_000)
    log_all(database)
    before = row_versions(connection)
    open_many(database, 30, "more")
    log_all(database)
    after = row_versions(connection)

    changed = {place for place, xmin in after.items() if before.get(place) != xmin}
    assert changed == {(0, 3), (0, 4), (1, 0)}
    assert len(after) == 6


def row_versions(connection: psycopg.Connection) -> dict[tuple[int, int], str]:
    rows = connection.execute("SELECT level, number, xmin::text FROM log_tile")
    return {(level, number): xmin for level, number, xmin in rows}


def test_a_change_is_in_a_checkpoint_within_a_second_and_checkpoints_are_gathered(
    database: Database, connection: psycopg.Connection
) -> None:
    with logging_on(database), writing(database) as writer:
        eventually(lambda: checkpoint_table.newest(connection) is not None, "the first checkpoint")
        started = time.monotonic()
        writer.execute([open_booking("room-1")])
        eventually(lambda: newest(connection).size == 1, "a checkpoint")
        assert time.monotonic() - started < 1.0
        before = len(checkpoints(connection))
        started = time.monotonic()
        for number in range(100):
            writer.execute([open_booking(f"one-{number}")])
        eventually(lambda: newest(connection).size == 101, "a checkpoint of all")
        seconds = time.monotonic() - started

    made = len(checkpoints(connection)) - before
    assert made <= seconds / projector.CHECKPOINT_SECONDS + 2
    assert_sound(connection)


def test_checkpoints_made_while_many_write_are_consistent_with_each_other(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two projectors, two writers, four threads; a checkpoint as often as it goes."""
    monkeypatch.setattr(projector, "CHECKPOINT_SECONDS", 0.0)
    with (
        logging_on(database),
        logging_on(database),
        writing(database) as one,
        writing(database) as other,
        ThreadPoolExecutor(4) as pool,
    ):

        def work(thread: int) -> None:
            for step in range(60):
                (one, other)[thread % 2].execute([open_booking(f"{thread}-{step}")])

        list(pool.map(work, range(4)))
        eventually(lambda: newest(connection).size == 240, "a checkpoint of all")

    assert len(checkpoints(connection)) > 5
    assert_sound(connection)


def test_projectors_that_die_at_any_point_lose_and_double_nothing(
    database: Database, connection: psycopg.Connection
) -> None:
    stop = threading.Event()

    def kill() -> None:
        key = database.lock_key("log") & 0xFFFF_FFFF_FFFF_FFFF
        with database.connect() as own:
            while not stop.is_set():
                own.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks"
                    " WHERE locktype = 'advisory' AND granted AND objsubid = 1"
                    " AND database = (SELECT oid FROM pg_database"
                    "  WHERE datname = current_database())"
                    " AND classid::bigint = %s AND objid::bigint = %s",
                    (key >> 32, key & 0xFFFF_FFFF),
                )
                time.sleep(0.03)

    def project() -> None:
        while not stop.is_set():
            try:
                LogProjector(database, MASTER_KEY, ORIGIN).run(stop)
            except psycopg.OperationalError:
                continue

    with ThreadPoolExecutor(3) as pool, writing(database) as writer:
        killing, running = pool.submit(kill), pool.submit(project)
        for step in range(300):
            room = f"room-{step // 2}"
            change = change_status(room, "confirmed") if step % 2 else open_booking(room)
            writer.execute([change])
        time.sleep(0.3)
        stop.set()
        killing.result()
        running.result()
    log_all(database)

    assert newest(connection).size == 300
    assert_sound(connection)


# --- healed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM log_tile",
        "TRUNCATE log_tile",
        "DROP TABLE log_tile",
        "DELETE FROM log_tile WHERE level = 1",
        "UPDATE log_tile SET hashes = substr(hashes, 1, 32) WHERE level = 0 AND number = 2",
        "UPDATE projection SET version = 0 WHERE name = 'log'",
        "UPDATE projection SET position = 0 WHERE name = 'log'",
        "UPDATE projection SET position = 300 WHERE name = 'log'",
        "DELETE FROM projection WHERE name = 'log'",
        "DELETE FROM log_latest",
        "TRUNCATE log_latest",
        "DROP TABLE log_latest",
        "UPDATE log_latest SET number = number + 1",
        "UPDATE log_latest SET bits = set_byte(bits, 9, 0)",
    ],
)
def test_lost_tiles_are_made_anew_and_agree_with_what_was_signed(
    database: Database, connection: psycopg.Connection, harm: str
) -> None:
    for part in range(3):
        open_many(database, 240, f"part-{part}")
        record(
            database, *(change_status(f"part-0-{10 * part + n}", "confirmed") for n in range(10))
        )
        log_all(database)
    before, signed = derived(connection), checkpoints(connection)

    connection.execute(harm)
    log_all(database)

    assert derived(connection) == before
    assert checkpoints(connection) == signed
    assert_sound(connection)


# --- loud -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("DELETE FROM ledger_events WHERE notification_id = 5", "position 5 is missing"),
        ("DELETE FROM ledger_events WHERE notification_id = 9", "for 9 events, the ledger has 8"),
        ("UPDATE ledger_events SET topic = 'x' WHERE notification_id = 2", "first 4 events"),
        ("UPDATE ledger_events SET topic = 'x' WHERE notification_id = 5", "first 9 events"),
    ],
)
def test_a_rewritten_history_is_not_signed_when_tiles_are_made_anew(
    database: Database, connection: psycopg.Connection, harm: str, said: str
) -> None:
    for part, count in enumerate((4, 5)):
        open_many(database, count, f"part-{part}")
        log_all(database)
    signed = checkpoints(connection)
    with tampering(database) as superuser:
        superuser.execute(harm)
    connection.execute("DELETE FROM log_tile")

    with pytest.raises(LogInconsistent, match=said):
        log_all(database)

    assert checkpoints(connection) == signed


def test_latest_events_that_were_signed_wrongly_are_not_signed_on(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-1"), open_booking("room-2"))
    log_all(database)
    sign_anew(database, connection, LatestRoot(b"r" * 32, None))
    record(database, change_status("room-1", "confirmed"))

    with pytest.raises(LogInconsistent, match="The latest events of the bookings are not those"):
        log_all(database)

    assert newest(connection).size == 2


def test_what_others_wrote_into_a_checkpoint_is_not_signed_on(
    database: Database, connection: psycopg.Connection
) -> None:
    """As superuser, without the key: pages, and the line that would have shown it."""
    record(database, open_booking("room-1"), change_status("room-1", "confirmed"))
    log_all(database)
    connection.execute("UPDATE log_latest SET bits = set_byte(bits, 0, 3)")
    with tampering(database) as superuser:
        superuser.execute(
            r"UPDATE log_checkpoint SET note = regexp_replace(note, '\nbooking-ledger[^\n]*', '')"
        )
    record(database, open_booking("room-2"))

    with pytest.raises(BadNote, match="signature"):
        log_all(database)

    assert newest(connection).size == 2


def test_beyond_the_newest_checkpoint_nothing_derived_is_believed(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-1"))
    log_all(database)
    record(database, change_status("room-1", "confirmed"))
    log_all(database)
    connection.execute("UPDATE log_latest SET bits = set_byte(bits, 0, 3)")
    with tampering(database) as superuser:
        superuser.execute("DELETE FROM log_checkpoint WHERE size = 2")

    log_all(database)

    assert [kept.size for kept in checkpoints(connection)] == [0, 1, 2]
    assert_sound(connection)


def sign_anew(
    database: Database, connection: psycopg.Connection, latest: LatestRoot | None
) -> None:
    """The newest checkpoint as its signer could have made it too."""
    kept = newest(connection)
    signers = signing_keys.signers(connection, MASTER_KEY, ORIGIN)
    other = sign_checkpoint(ORIGIN, kept.size, kept.root, signers, latest)
    with tampering(database) as superuser:
        superuser.execute(
            "UPDATE log_checkpoint SET note = %s WHERE size = %s", (str(other.note), kept.size)
        )


def test_after_checkpoints_that_do_not_say_which_events_are_the_latest_come_some_that_do(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-1"), change_status("room-1", "confirmed"))
    log_all(database)
    sign_anew(database, connection, None)
    connection.execute("UPDATE projection SET version = 1 WHERE name = 'log'")
    connection.execute("DROP TABLE log_latest")
    record(database, open_booking("room-2"))

    log_all(database)

    assert [kept.parsed().latest is None for kept in checkpoints(connection)] == [
        False,
        True,
        False,
    ]
    signed = newest(connection).parsed().latest
    assert signed is not None
    assert signed.root == latest_root_of_events(connection, 3)


def test_a_checkpoint_has_the_time_at_which_it_was_of_all_that_was_recorded(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = connection.execute("SELECT clock_timestamp()").fetchone()
    monkeypatch.setattr(projector, "BATCH_EVENTS", 4)
    open_many(database, 10)
    log_all(database)
    after = connection.execute("SELECT clock_timestamp()").fetchone()

    signed = {kept.size: kept.parsed().latest for kept in checkpoints(connection)}
    times = {size: latest.as_of for size, latest in signed.items() if latest is not None}
    assert (times[4], times[8]) == (None, None)
    assert times[10] is not None
    assert before is not None
    assert after is not None
    assert before[0] - timedelta(milliseconds=1) < times[10] < after[0]


def test_a_batch_that_failed_leaves_nothing_in_memory(
    database: Database, connection: psycopg.Connection
) -> None:
    log_all(database)
    projecting_log = LogProjector(database, MASTER_KEY, ORIGIN)
    record(database, open_booking("room-1"))
    assert projecting_log.project(connection) == 1
    record(database, change_status("room-1", "confirmed"))
    connection.execute("ALTER TABLE log_key RENAME TO elsewhere")
    with pytest.raises(psycopg.errors.UndefinedTable):
        projecting_log.project(connection)
    connection.execute("ALTER TABLE elsewhere RENAME TO log_key")

    assert projecting_log.project(connection) == 1
    assert_sound(connection)


def test_forged_tiles_are_noticed_before_the_next_checkpoint_is_signed(
    database: Database, connection: psycopg.Connection
) -> None:
    open_many(database, 300)
    log_all(database)
    connection.execute(
        "UPDATE log_tile SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1)"
        " WHERE level = 0 AND number = 1"
    )
    record(database, open_booking("room-1"))

    with pytest.raises(LogInconsistent, match="first 300 events"):
        log_all(database)

    assert newest(connection).size == 300


def test_the_newest_event_gone_is_noticed_while_running(
    database: Database, connection: psycopg.Connection
) -> None:
    open_many(database, 3)
    log_all(database)
    with tampering(database) as superuser:
        superuser.execute("DELETE FROM ledger_events WHERE notification_id = 3")

    with logging_on(database) as running, pytest.raises(LogInconsistent):
        running.result(20)

    assert "for 3 events, the ledger has 2" in str(failure(connection))


def test_a_failing_log_stops_neither_writes_nor_the_read_model_and_recovers(
    database: Database, connection: psycopg.Connection
) -> None:
    connection.execute("ALTER TABLE log_checkpoint RENAME TO elsewhere")
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_projectors, database, MASTER_KEY, ORIGIN, stop)
        record(database, open_booking("room-1"))
        eventually(lambda: failure(connection) is not None, "the failure of the log")
        eventually(
            lambda: connection.execute('SELECT count(*) FROM "Booking"').fetchone() == (1,),
            "the read model",
        )
        assert "log_checkpoint" in str(failure(connection))
        connection.execute("ALTER TABLE elsewhere RENAME TO log_checkpoint")
        eventually(lambda: failure(connection) is None, "the recovery of the log")
        eventually(lambda: newest(connection).size == 1, "a checkpoint")
        stop.set()
        running.result(20)


@pytest.mark.parametrize("table", ["log_checkpoint", "log_cosignature", "log_key"])
def test_what_was_signed_cannot_be_changed(
    database: Database, connection: psycopg.Connection, table: str
) -> None:
    log_all(database)
    checkpoint_table.keep_cosignature(connection, 0, "— witness AAAAAAAA\n")
    connection.execute("SET session_replication_role = replica")
    statements = [f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"]
    if table != "log_key":
        statements.append(f"UPDATE {table} SET created_at = now()")

    for statement in statements:
        with pytest.raises(psycopg.errors.RestrictViolation, match="what was signed stays"):
            connection.execute(statement)


# --- keys -----------------------------------------------------------------------------------


def test_a_new_key_signs_beside_the_old_one_once_and_then_alone(
    database: Database, connection: psycopg.Connection
) -> None:
    log_all(database)
    (old,) = signing_keys.verifiers(connection)
    new = signing_keys.rotate(database, MASTER_KEY, ORIGIN)
    signed = []
    for number in range(2):
        record(database, open_booking(f"room-{number}"))
        log_all(database)
        signed.append(newest(connection).parsed().verify([old, new]))

    assert signed == [[old, new], [new]]
    assert signing_keys.verifiers(connection) == [new, old]
    assert connection.execute(
        "SELECT private_key_sealed IS NULL, retired_at IS NULL FROM log_key ORDER BY id"
    ).fetchall() == [(True, False), (False, True)]
    assert_sound(connection)


def test_another_master_key_is_refused(database: Database) -> None:
    log_all(database)
    other = MasterKey(b"o" * 32)

    for use in USES:
        with pytest.raises(MasterKeyError, match="does not open"):
            use(database, other, ORIGIN)


def test_another_origin_is_refused(database: Database) -> None:
    log_all(database)

    for use in USES:
        with pytest.raises(signing_keys.LogOriginChanged, match="was begun as"):
            use(database, MASTER_KEY, "elsewhere")


USES: list[Callable[[Database, MasterKey, str], object]] = [
    signing_keys.ensure,
    signing_keys.rotate,
    projector.catch_up_log,
]


def test_private_keys_are_not_in_the_database_as_they_are(
    database: Database, connection: psycopg.Connection
) -> None:
    log_all(database)
    (signer,) = signing_keys.signers(connection, MASTER_KEY, ORIGIN)
    row = connection.execute("SELECT private_key_sealed FROM log_key").fetchone()

    assert row is not None
    assert signer._key.private_bytes_raw() not in row[0]


def test_both_projections_run_in_one_process(
    database: Database, connection: psycopg.Connection
) -> None:
    with projecting(database), logging_on(database):
        record(database, open_booking("room-1"))
        eventually(
            lambda: connection.execute("SELECT min(position) FROM projection").fetchone() == (1,),
            "both",
        )
