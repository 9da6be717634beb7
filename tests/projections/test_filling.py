"""A rebuild that fills its tables in several processes gives what one gives, or fails loudly."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from scenes import (
    ANY_CHANGE,
    change_status,
    eventually,
    folded_tables,
    live_tables,
    open_booking,
    record,
)

from ledger.commands import DecideOnPersonalData
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.personal_data import Decision
from ledger.transcoder import event_mapper
from projections import filling, tables
from projections import rebuild as rebuilding
from projections.catch_up import catch_up
from projections.filling import FillFailed, fill_chunk
from projections.rebuild import _Build, rebuild

EVENTS = 240
HELPERS = 2


@pytest.fixture(autouse=True)
def _many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the machine had three cores, and the ledger were large."""
    monkeypatch.setattr(filling.os, "cpu_count", lambda: 1 + HELPERS)
    monkeypatch.setattr(filling, "EVENTS_A_PROCESS", 50)
    monkeypatch.setattr(filling, "CHUNK_EVENTS", 7)


@pytest.fixture
def filled(database: Database) -> Database:
    """Bookings whose events lie far apart, so that no chunk has all of one."""
    for status in ("pending", "confirmed", "in_progress", "cancelled"):
        changes = [(f"b{number}", status) for number in range(EVENTS // 4)]
        if status == "pending":
            commands = [open_booking(*one, changed_by="anna", metadata={"n": 1}) for one in changes]
        else:
            commands = [change_status(*one, reason=f"to {status}") for one in changes]
        record(database, *commands, workflow=ANY_CHANGE)
    catch_up(database)
    return database


def erase(booking_id: str) -> DecideOnPersonalData:
    decision = Decision(
        verdict="erase", reason="asked", decided_by=None, actor="system", source="test"
    )
    return DecideOnPersonalData(booking_id, decision)


def helpers() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if "projections.filling_process" in child.cmdline()
    ]


def break_off(*_: int) -> None:
    raise KeyboardInterrupt


def test_g7_several_processes_give_the_same_rows(
    filled: Database, connection: psycopg.Connection
) -> None:
    rows = live_tables(connection)
    seen: list[tuple[int, int]] = []
    at_work: set[int] = set()

    def look(*progress: int) -> None:
        seen.append((progress[0], progress[1]))
        at_work.update(process.pid for process in helpers())

    report = rebuild(filled, look)

    assert report.events == EVENTS
    assert len(at_work) == HELPERS
    assert seen == sorted(seen)
    assert seen[-1] == (EVENTS, EVENTS)
    assert live_tables(connection) == rows == folded_tables(connection)
    assert helpers() == []


def test_the_other_processes_do_really_fill(
    filled: Database, connection: psycopg.Connection
) -> None:
    tables.create(connection, tables.REBUILD)
    ours: list[int] = []

    def leave_the_rest_to_them(*_: int) -> None:
        ours.append(count(connection))
        eventually(lambda: count(connection) == EVENTS, "the others to fill the rest")

    fill_all(filled, connection, leave_the_rest_to_them)

    assert ours[0] < EVENTS == count(connection)


def count(connection: psycopg.Connection) -> int:
    row = connection.execute('SELECT count(*) FROM "BookingStatusHistory_rebuild"').fetchone()
    assert row is not None
    return int(row[0])


def fill_all(
    database: Database, connection: psycopg.Connection, progress: filling.Progress
) -> filling.Filled:
    return filling.fill(connection, database, event_mapper(database), 0, EVENTS, progress)


@pytest.mark.parametrize("at_work", [True, False])
def test_a_small_ledger_is_filled_without_other_processes(
    filled: Database, monkeypatch: pytest.MonkeyPatch, at_work: bool
) -> None:
    monkeypatch.setattr(filling, "EVENTS_A_PROCESS", EVENTS // (2 if at_work else 1))
    seen: set[bool] = set()

    rebuild(filled, lambda *_: seen.add(bool(helpers())))

    assert (True in seen) == at_work


# --- failures ---------------------------------------------------------------------------------


def test_a_process_that_is_killed_fails_the_rebuild_and_the_old_tables_stay(
    filled: Database, connection: psycopg.Connection
) -> None:
    rows = live_tables(connection)
    killed: list[int] = []

    def kill_one(*_: int) -> None:
        if not killed:
            victim = helpers()[0]
            victim.kill()
            killed.append(victim.pid)

    with pytest.raises(FillFailed, match="ended with code -9"):
        rebuild(filled, kill_one)

    assert killed
    assert helpers() == []
    assert live_tables(connection) == rows
    rebuild(filled)
    assert live_tables(connection) == rows


def test_an_event_that_cannot_be_opened_fails_the_rebuild_and_says_so(
    filled: Database, connection: psycopg.Connection
) -> None:
    """Whichever process comes by it."""
    rows = live_tables(connection)
    connection.execute("UPDATE booking_key SET wrapped = 'x' WHERE booking_id IN ('b20', 'b40')")

    with pytest.raises(LedgerError, match="key of booking b"):
        rebuild(filled)

    assert helpers() == []
    assert live_tables(connection) == rows


def test_whoever_breaks_off_a_rebuild_leaves_no_process_behind(
    filled: Database, connection: psycopg.Connection
) -> None:
    rows = live_tables(connection)

    with pytest.raises(KeyboardInterrupt):
        rebuild(filled, break_off)

    assert helpers() == []
    assert live_tables(connection) == rows
    rebuild(filled)
    assert live_tables(connection) == rows


def test_a_chunk_that_does_not_come_back_fails_the_rebuild() -> None:
    """Whatever became of the thread or process that took it."""
    work = filling._Work(0, 14, 0)
    assert work.take() == (0, 7)
    assert work.take() == (7, 14)
    work.add(filling.Filled(7))

    with pytest.raises(FillFailed, match="Not all events"):
        work.finish()

    work.add(filling.Filled(7))
    work.finish()
    assert work.filled == filling.Filled(14)


def test_a_process_whose_parent_is_gone_ends(filled: Database) -> None:
    assert filled.master_key is not None
    setup = {
        "url": filled.url,
        "schema": filled.schema,
        "masterKey": base64.b64encode(filled.master_key.reveal()).decode(),
        "table": 1,
    }
    parent = f"""
import subprocess, sys, os, signal
child = subprocess.Popen(
    [sys.executable, "-P", "-m", "projections.filling_process"], stdin=subprocess.PIPE
)
child.stdin.write({(json.dumps(setup) + chr(10)).encode()!r})
child.stdin.flush()
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, cwd=Path(__file__).parent
    ) as died:
        assert died.stdout is not None
        child = int(died.stdout.readline())

    eventually(lambda: not psutil.pid_exists(child) or is_dead(child), "the process to end")


def is_dead(pid: int) -> bool:
    """Nobody may be there to reap it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_process_left_over_writes_nothing_into_the_tables_of_the_next_rebuild(
    filled: Database, connection: psycopg.Connection
) -> None:
    tables.create(connection, tables.REBUILD)
    with connection.transaction():
        before = tables.oid(connection, tables.HISTORY, tables.REBUILD)
    tables.drop(connection, tables.REBUILD)
    tables.create(connection, tables.REBUILD)

    with pytest.raises(FillFailed, match="another rebuild"):
        fill_chunk(connection, event_mapper(filled), before, 0, EVENTS)

    assert count(connection) == 0


# --- what is more than a row for an event -----------------------------------------------------


def test_what_is_erased_between_two_rounds_is_erased_in_rows_of_the_first(
    filled: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "BATCH_EVENTS", 2)
    tables.create(connection, tables.REBUILD)
    build = _Build(connection, filled)
    erased: list[str] = []

    def erase_two(done: int, _: int) -> None:
        if done == EVENTS and not erased:
            assert personal_rows(connection, "b7") == 4
            erased.extend(["b7", "b8"])
            record(filled, *(erase(one) for one in erased))

    build.fill(erase_two)

    assert build.events == EVENTS + 2
    assert [personal_rows(connection, one) for one in ("b7", "b8", "b9")] == [0, 0, 4]


def personal_rows(connection: psycopg.Connection, booking_id: str) -> int:
    row = connection.execute(
        'SELECT count(*) FROM "BookingStatusHistory_rebuild" WHERE "bookingId" = %s'
        ' AND num_nonnulls("changedBy", reason, metadata) > 0 AND NOT erased',
        (booking_id,),
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_history_without_its_first_event_is_refused(
    filled: Database, connection: psycopg.Connection
) -> None:
    """As the projector refuses it: there is no booking that it could belong to."""
    rows = live_tables(connection)
    connection.execute("ALTER TABLE ledger_events DISABLE TRIGGER ALL")
    connection.execute(
        "DELETE FROM ledger_events WHERE originator_id = 'b3' AND originator_version = 1"
    )

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        rebuild(filled)

    assert live_tables(connection) == rows
