"""The writer of imports: each row once, true, in order, beside other writers, through failures."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg
import pytest
from cutting_proxy import CuttingProxy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes import (
    ANY_CHANGE,
    NOON,
    ImportedRow,
    append_lock_held,
    change_status,
    histories,
    import_row,
    importing,
    open_booking,
    record,
    rows_of,
    stored_events,
    writing,
)
from tests.support.master_key import MASTER_KEY

from ledger import import_transaction, import_writer
from ledger.booking import Booking
from ledger.commands import DecideOnPersonalData
from ledger.database import Database
from ledger.errors import OutcomeUnknown, StoreUnavailable, UnknownStatus
from ledger.import_transaction import ImportTransaction, Taken
from ledger.import_writer import ImportWriter, PartlyRecorded
from ledger.master_key import NONCE_BYTES
from ledger.personal_data import Decision
from ledger.sealing import BookingKey
from ledger.transcoder import EventMapper
from ledger.workflow import DEFAULT, Workflow
from ledger.writer import Writer
from projections.audit import audit
from projections.catch_up import catch_up
from projections.feed import events_after

ROWS = (
    import_row("room-12", "pending", 1),
    import_row("room-12", "completed", 2, "confirmed"),
    import_row("room-12", "completed", 3),
    import_row("room-12", "pending", 4, "completed"),
)


def fields(taken: Taken) -> tuple[int, ...]:
    return (taken.opened, taken.changed, taken.unchanged, taken.known, taken.disputed)


def said(database: Database) -> list[Any]:
    with database.connect() as connection:
        events = events_after(connection, EventMapper(MASTER_KEY), 0, 1_000)
    return [getattr(one.event, "changed_by", None) for one in events]


# --- what is taken ----------------------------------------------------------------------------


def test_a_row_that_was_imported_is_known_and_recorded_once(
    database: Database, connection: psycopg.Connection
) -> None:
    """By the same writer and by the next; also rows that recorded nothing."""
    with importing(database) as writer:
        first = writer.record(rows_of(*ROWS))
        again = writer.record(rows_of(*ROWS))
    with importing(database) as other:
        more = other.record(rows_of(*ROWS, import_row("room-12", "cancelled", 5)))

    assert fields(first) == (1, 2, 1, 0, 1)
    assert fields(again) == (0, 0, 0, 4, 0)
    assert fields(more) == (0, 1, 0, 4, 0)
    assert (first.position, again.position, more.position) == (3, 3, 4)
    assert histories(connection) == {"room-12": ["pending", "completed", "pending", "cancelled"]}


def test_the_same_row_twice_in_one_call_is_recorded_once(
    database: Database, connection: psycopg.Connection
) -> None:
    with importing(database) as writer:
        taken = writer.record(rows_of(*ROWS, *ROWS))

    assert fields(taken) == (1, 2, 1, 4, 1)
    assert histories(connection)["room-12"] == ["pending", "completed", "pending"]


def test_fingerprints_are_those_of_a_booking(
    database: Database, connection: psycopg.Connection
) -> None:
    """Two bookings may have the same: it is short because it need not tell them apart."""
    rows = (import_row("room-12", "pending", 1), import_row("room-13", "pending", 1))
    with importing(database) as writer:
        taken = writer.record(rows_of(*rows))

    assert fields(taken) == (2, 0, 0, 0, 0)
    assert set(histories(connection)) == {"room-12", "room-13"}


def test_the_past_is_not_held_to_the_transitions(
    database: Database, connection: psycopg.Connection
) -> None:
    steps = ("completed", "pending", "cancelled", "confirmed")
    with importing(database) as writer:
        writer.record(rows_of(*(import_row("A", step, n) for n, step in enumerate(steps))))

    assert histories(connection) == {"A": list(steps)}


def test_a_status_outside_the_workflow_is_refused_and_nothing_is_recorded(
    database: Database, connection: psycopg.Connection
) -> None:
    rows = rows_of(*ROWS, import_row("room-12", "waitlisted", 5))
    with importing(database) as writer, pytest.raises(UnknownStatus):
        writer.record(rows)
    assert stored_events(connection) == []
    wider = Workflow("wider", (*DEFAULT.statuses, "waitlisted"), "pending", None)
    with importing(database, wider) as writer:
        assert fields(writer.record(rows)) == (1, 3, 1, 0, 1)


# --- the very events --------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
STATUSES = st.sampled_from(ANY_CHANGE.statuses)
PERSONAL = st.tuples(
    st.none() | TEXT, st.none() | TEXT, st.none() | st.dictionaries(TEXT, TEXT)
).map(
    lambda said: {
        name: value
        for name, value in zip(("changed_by", "reason", "metadata"), said, strict=True)
        if value is not None
    }
)
ROW = st.tuples(
    st.sampled_from(["room-12", "zimmer ✓"]),
    STATUSES,
    st.none() | STATUSES | TEXT,
    st.datetimes(datetime(1900, 1, 1), datetime(2999, 12, 31)),  # noqa: DTZ001
    PERSONAL,
)

ALL_EVENTS = """
    SELECT originator_id, originator_version, topic, state, notification_id
    FROM ledger_events ORDER BY notification_id
"""


def expected_events(rows: list[Any], source: str) -> list[tuple[Any, ...]]:
    """By the aggregate's own events and their mapper, and the simplest model of a history."""
    mapper, chains, found = EventMapper(MASTER_KEY), {}, []
    for booking_id, to_status, claimed, occurred_at, personal in rows:
        chain = chains.setdefault(booking_id, [None])
        if to_status == chain[-1]:
            continue
        version, before = len(chain), chain[-1]
        facts = {
            "originator_id": booking_id,
            "originator_version": version,
            "timestamp": NOON,
            "from_status": before,
            "to_status": to_status,
            **dict.fromkeys(("changed_by", "reason", "metadata")),
            **personal,
            "occurred_at": occurred_at.replace(tzinfo=UTC),
            "actor": "import",
            "source": source,
            "claimed_from_status": None if claimed == before else claimed,
        }
        event = (
            Booking.Created(**facts, originator_topic="Booking")
            if version == 1
            else Booking.StatusChanged(**facts)
        )
        stored = mapper.to_stored_event(event, BookingKey(bytes(range(32))))
        found.append((booking_id, version, stored.topic, stored.state, len(found) + 1))
        chain.append(to_status)
    return found


@given(rows=st.lists(ROW, max_size=20), source=TEXT)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_imported_events_are_stored_as_the_aggregate_and_its_mapper_store_them(
    database: Database, connection: psycopg.Connection, rows: list[Any], source: str
) -> None:
    """Byte for byte. Every example is rolled back: it must not be in the next one's ledger."""

    def fixed(size: int) -> bytes:
        return (bytes(range(12)) * size)[:size] if size % 12 == 0 else bytes(range(size))

    made = rows_of(
        *(
            import_row(
                booking_id,
                to_status,
                number,
                claimed,
                orjson.dumps(at.replace(tzinfo=UTC), option=orjson.OPT_UTC_Z)[1:-1].decode(),
                **personal,
            )
            for number, (booking_id, to_status, claimed, at, personal) in enumerate(rows)
        )
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ledger.sealing.urandom", fixed)
        patched.setattr("ledger.sealing._nonce", lambda: fixed(NONCE_BYTES))
        patched.setattr("ledger.import_transaction.urandom", fixed)
        transaction = ImportTransaction(database, ANY_CHANGE, source, lambda: NOON)
        decided = transaction.decide_under_lock(connection, made)
        transaction._write(connection.cursor(), decided)
        found = connection.execute(ALL_EVENTS).fetchall()
        connection.execute("ROLLBACK")
        assert found == expected_events(rows, source)


# --- beside other writers ---------------------------------------------------------------------


def test_what_another_writer_recorded_is_seen(
    database: Database, connection: psycopg.Connection
) -> None:
    with importing(database) as one, writing(database) as other:
        one.record(rows_of(import_row("room-12", "pending", 1)))
        other.execute([change_status("room-12", "confirmed")])
        taken = one.record(rows_of(import_row("room-12", "cancelled", 2, "pending")))
        other.execute([open_booking("room-13")])
        known = one.record(rows_of(import_row("room-13", "pending", 3)))

    assert fields(taken) == (0, 1, 0, 0, 1)
    assert fields(known) == (0, 0, 1, 0, 0)
    assert histories(connection)["room-12"] == ["pending", "confirmed", "cancelled"]


def test_two_imports_that_take_turns_leave_one_chain(database: Database) -> None:
    statuses = DEFAULT.statuses
    with importing(database) as one, importing(database) as other:
        for turn in range(20):
            for number, writer in enumerate((one, other)):
                row = import_row("A", statuses[(turn + 2 * number) % 5], turn, changed_by="anna")
                writer.record(rows_of(row, import_row(f"B{turn}", "pending", 1)))
    catch_up(database)

    assert audit(database).sound


def test_what_is_said_after_an_erasure_is_sealed_under_another_key(database: Database) -> None:
    """Though the writer knew the old one: an erasure by somebody else appends."""
    erase = DecideOnPersonalData(
        "A",
        Decision(verdict="erase", reason="asked", decided_by="anna", actor="user", source="desk"),
    )
    with importing(database) as writer:
        writer.record(rows_of(import_row("A", "pending", 1, changed_by="before")))
        record(database, erase)
        writer.record(rows_of(import_row("A", "confirmed", 2, changed_by="after")))
        writer.record(rows_of(import_row("A", "completed", 3, changed_by="later")))

    assert said(database) == [None, None, "after", "later"]
    catch_up(database)
    assert audit(database).sound


def test_bookings_that_fell_out_of_memory_are_read_again(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_transaction, "KNOWN_BOOKINGS_MAX", 1)
    with importing(database) as writer:
        for number, status in enumerate(("pending", "confirmed", "cancelled")):
            rows = (import_row(room, status, number, changed_by="x") for room in ("A", "B", "C"))
            writer.record(rows_of(*rows))

    assert list(histories(connection).values()) == [["pending", "confirmed", "cancelled"]] * 3
    assert said(database) == ["x"] * 9


# --- in parts, where others append too --------------------------------------------------------


@pytest.fixture
def in_parts_of_two(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The bookings of each part that is decided on under the lock."""
    parts: list[list[str]] = []
    decide = ImportTransaction.decide_under_lock

    def noted(self: ImportTransaction, connection: psycopg.Connection, rows: Any) -> Any:
        parts.append(rows.booking_ids)
        return decide(self, connection, rows)

    monkeypatch.setattr(import_writer, "ROWS_UNDER_LOCK", 2)
    monkeypatch.setattr(ImportTransaction, "decide_under_lock", noted)
    return parts


def meet(writer: ImportWriter, other: Writer, first: ImportedRow) -> None:
    """Both record, so the import's writer finds with its next rows that it is not alone."""
    writer.record(rows_of(first))
    other.execute([open_booking("room-13")])


def test_beside_others_rows_are_taken_in_parts_as_they_would_be_at_once(
    database: Database, connection: psycopg.Connection, in_parts_of_two: list[list[str]]
) -> None:
    with importing(database) as writer, writing(database) as other:
        meet(writer, other, import_row("room-12", "confirmed", 0))
        taken = writer.record(rows_of(*ROWS, ROWS[0]))

    assert fields(taken) == (0, 3, 1, 1, 1)
    assert taken.position == 5
    assert in_parts_of_two == [["room-12"] * 2, ["room-12"] * 2, ["room-12"]]
    assert histories(connection)["room-12"] == ["confirmed", "pending", "completed", "pending"]


def test_whoever_appends_between_two_parts_is_seen(
    database: Database,
    connection: psycopg.Connection,
    in_parts_of_two: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the writer does not take itself to be alone, though the last parts were."""
    store = ImportTransaction.store_under_lock

    def then_others(self: ImportTransaction, *given: Any) -> None:
        store(self, *given)
        if len(in_parts_of_two) == 1:
            other.execute([change_status("A", "cancelled")])

    with importing(database) as writer, writing(database) as other:
        meet(writer, other, import_row("A", "pending", 0))
        monkeypatch.setattr(ImportTransaction, "store_under_lock", then_others)
        later = [import_row(room, "confirmed", 1, "pending") for room in ("B", "C", "A", "D", "E")]
        taken = writer.record(rows_of(*later))
        ahead = [writer.decide(rows_of()).decided is not None]
        writer.record(rows_of(import_row("A", "pending", 2)))
        ahead.append(writer.decide(rows_of()).decided is not None)

    assert fields(taken) == (4, 1, 0, 0, 5)
    assert histories(connection)["A"] == ["pending", "cancelled", "confirmed", "pending"]
    assert ahead == [False, True]


def test_nothing_is_recorded_where_a_later_part_is_refused(
    database: Database, connection: psycopg.Connection, in_parts_of_two: list[list[str]]
) -> None:
    with importing(database) as writer, writing(database) as other:
        meet(writer, other, import_row("A", "pending", 0))
        writer.record(rows_of(import_row("A", "confirmed", 1)))
        with pytest.raises(UnknownStatus):
            writer.record(rows_of(*ROWS, import_row("room-12", "waitlisted", 5)))

    assert in_parts_of_two == [["A"]]
    assert set(histories(connection)) == {"A", "room-13"}


@pytest.mark.parametrize("reaches_server", [True, False])
@pytest.mark.parametrize("stay_down", [True, False])
def test_a_part_whose_answer_is_lost(
    database: Database,
    connection: psycopg.Connection,
    in_parts_of_two: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    reaches_server: bool,
    stay_down: bool,
) -> None:
    """It is recorded once all the same; or the caller is told what was recorded before it."""
    store = ImportTransaction.store_under_lock

    def cut_second(self: ImportTransaction, *given: Any) -> None:
        if len(in_parts_of_two) == 2:
            proxy.cut_next_commit(reaches_server=reaches_server, stay_down=stay_down)
        store(self, *given)

    rows = rows_of(*(import_row(room, "pending", 1, changed_by=room) for room in "BCDEF"))
    with (
        CuttingProxy(database) as proxy,
        importing(proxy.database, reconnect_seconds=0.2 if stay_down else 30) as writer,
        writing(database) as other,
    ):
        meet(writer, other, import_row("A", "pending", 0, changed_by="A"))
        monkeypatch.setattr(ImportTransaction, "store_under_lock", cut_second)
        if stay_down:
            with pytest.raises(PartlyRecorded) as partly:
                writer.record(rows)
            assert (partly.value.rows, fields(partly.value.taken)) == (2, (2, 0, 0, 0, 0))
            assert isinstance(partly.value.why, OutcomeUnknown)
        else:
            assert fields(writer.record(rows)) == (5, 0, 0, 0, 0)
        assert proxy.has_cut.is_set()
    expected = ["A", "room-13", *"BCDEF"]
    if stay_down:
        assert set(histories(connection)) == set(expected[: 6 if reaches_server else 4])
        with importing(database) as again:
            assert fields(again.record(rows))[3] == (4 if reaches_server else 2)
    assert set(histories(connection)) == set(expected)
    assert [one for one in said(database) if one is not None] == list("ABCDEF")


# --- deciding while the rows before are stored ------------------------------------------------


def test_rows_are_decided_on_while_those_before_wait_for_the_lock(
    database: Database, connection: psycopg.Connection
) -> None:
    """On what those before will have made of their bookings; and nobody is kept out meanwhile."""
    with importing(database) as writer:
        with append_lock_held(database, connection):
            first = writer.store(
                writer.decide(rows_of(import_row("A", "pending", 1, changed_by="one")))
            )
            again = import_row("A", "pending", 1, changed_by="one")
            second = writer.decide(rows_of(again, import_row("A", "confirmed", 2, "pending")))
            assert second.decided is not None
        assert fields(first.result()) == (1, 0, 0, 0, 0)
        assert fields(writer.store(second).result()) == (0, 1, 0, 1, 0)

    assert histories(connection) == {"A": ["pending", "confirmed"]}
    assert said(database) == ["one", None]


def test_who_is_overtaken_decides_again(database: Database, connection: psycopg.Connection) -> None:
    with importing(database) as writer, writing(database) as other:
        writer.record(rows_of(import_row("A", "pending", 1, changed_by="x")))
        decision = writer.decide(rows_of(import_row("A", "confirmed", 2, "pending")))
        assert decision.decided is not None
        other.execute([change_status("A", "cancelled")])
        taken = writer.store(decision).result()
        assert fields(taken) == (0, 1, 0, 0, 1), "its claim is in dispute now"
        alone = [writer.decide(rows_of()).decided is not None]
        for number, status in enumerate(("pending", "confirmed"), 3):
            writer.record(rows_of(import_row("A", status, number)))
            alone.append(writer.decide(rows_of()).decided is not None)

    assert alone == [False, True, True], "under the lock until it is seen to be alone"
    assert histories(connection)["A"] == [
        *("pending", "cancelled", "confirmed", "pending", "confirmed")
    ]


def test_who_is_overtaken_by_the_same_rows_takes_none_of_them_twice(
    database: Database, connection: psycopg.Connection
) -> None:
    """Rows that change nothing take no position: their fingerprints are what collides."""
    with importing(database) as one, importing(database) as other:
        one.record(rows_of(import_row("A", "pending", 1)))
        same = import_row("A", "pending", 2)
        decision = one.decide(rows_of(same))
        assert fields(other.record(rows_of(same))) == (0, 0, 1, 0, 0)
        assert fields(one.store(decision).result()) == (0, 0, 0, 1, 0)

    assert histories(connection) == {"A": ["pending"]}


@pytest.mark.parametrize("reaches_server", [True, False])
def test_what_was_decided_on_lost_rows_is_decided_again(
    database: Database, connection: psycopg.Connection, reaches_server: bool
) -> None:
    """Their bookings have other keys than those that were made when they were decided on first."""
    with CuttingProxy(database) as proxy, importing(proxy.database) as writer:
        writer.record(rows_of(*many(0)))
        proxy.cut_next_commit(reaches_server=reaches_server)
        lost = writer.store(writer.decide(rows_of(import_row("A", "pending", 1, changed_by="one"))))
        after = writer.decide(rows_of(import_row("A", "confirmed", 2, "pending", reason="two")))
        assert fields(lost.result()) == (1, 0, 0, 0, 0)
        assert proxy.has_cut.is_set()
        assert fields(writer.store(after).result()) == (0, 1, 0, 0, 0)

    assert histories(connection)["A"] == ["pending", "confirmed"]
    catch_up(database)
    assert audit(database).sound
    with database.connect() as own:
        events = events_after(own, EventMapper(MASTER_KEY), 900, 1_000)
    assert [one.event.changed_by or one.event.reason for one in events] == ["one", "two"]


def test_bookings_that_are_being_stored_do_not_fall_out_of_memory(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_transaction, "KNOWN_BOOKINGS_MAX", 1)
    with importing(database) as writer:
        writer.record(rows_of(*many(0)))
        with append_lock_held(database, connection):
            first = writer.store(
                writer.decide(
                    rows_of(*(import_row(room, "pending", 1) for room in ("A", "B", "C")))
                )
            )
            second = writer.decide(rows_of(import_row("A", "confirmed", 2)))
        first.result()
        assert fields(writer.store(second).result()) == (0, 1, 0, 0, 0)

    assert histories(connection)["A"] == ["pending", "confirmed"]


# --- failures ---------------------------------------------------------------------------------


def many(first: int) -> list[ImportedRow]:
    return [import_row(f"B{n}", "pending", n, changed_by="x") for n in range(first, first + 900)]


@pytest.mark.parametrize("reaches_server", [True, False])
def test_a_commit_whose_answer_is_lost_is_found_out_about(
    database: Database, connection: psycopg.Connection, reaches_server: bool
) -> None:
    """Whether it reached the server or not, it is recorded once and counted as usual."""
    with CuttingProxy(database) as proxy, importing(proxy.database) as writer:
        writer.record(rows_of(*many(0)))
        proxy.cut_next_commit(reaches_server=reaches_server)
        taken = writer.record(rows_of(*many(900), import_row("B1", "confirmed", 5_000)))
        assert proxy.has_cut.is_set()
        after = writer.record(rows_of(import_row("B1", "cancelled", 5_001, "confirmed")))

    assert (fields(taken), taken.position) == ((900, 1, 0, 0, 0), 1_801)
    assert fields(after) == (0, 1, 0, 0, 0)
    assert histories(connection)["B1"] == ["pending", "confirmed", "cancelled"]
    assert len(stored_events(connection)) == 1_802
    catch_up(database)
    assert audit(database).sound


def test_what_is_in_doubt_stays_so_while_nobody_can_say(
    database: Database, connection: psycopg.Connection
) -> None:
    """The question may be refused for a reason of its own, as here for want of the lock."""
    name = connection.info.dbname
    connection.execute(f"ALTER DATABASE {name} SET lock_timeout = '50ms'")  # type: ignore[arg-type]
    with (
        CuttingProxy(database) as proxy,
        importing(proxy.database, reconnect_seconds=20) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        writer.record(rows_of(*many(0)))
        proxy.cut_next_commit(reaches_server=True)
        recording = pool.submit(writer.record, rows_of(*many(900)))
        assert proxy.has_cut.wait(20)
        with append_lock_held(database, connection):
            time.sleep(0.5)  # in which the writer asks more than once
        taken = recording.result(20)

    assert (fields(taken), taken.position) == ((900, 0, 0, 0, 0), 1_800)
    assert len(stored_events(connection)) == 1_800


def test_a_commit_whose_answer_is_lost_for_good_is_said_to_be_unknown(
    database: Database, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    rows = rows_of(*many(0))
    with (
        caplog.at_level(logging.CRITICAL),
        CuttingProxy(database) as proxy,
        importing(proxy.database, reconnect_seconds=0.2) as writer,
    ):
        proxy.cut_next_commit(reaches_server=True, stay_down=True)
        with pytest.raises(OutcomeUnknown):
            writer.record(rows)
        with pytest.raises(StoreUnavailable):
            writer.record(rows)
        proxy.come_back()
        taken = writer.record(rows)

    assert fields(taken) == (0, 0, 0, 900, 0)
    assert len(stored_events(connection)) == 900


def test_a_connection_lost_between_two_calls_is_replaced_unnoticed(
    database: Database, connection: psycopg.Connection
) -> None:
    with importing(database) as writer:
        writer.record(rows_of(*many(0)))
        assert writer._connection is not None
        connection.execute(
            "SELECT pg_terminate_backend(%s, 5000)", (writer._connection.info.backend_pid,)
        )
        taken = writer.record(rows_of(*many(900)))

    assert fields(taken) == (900, 0, 0, 0, 0)
    assert len(stored_events(connection)) == 1_800


def test_rows_that_the_database_refuses_leave_nothing_behind(
    database: Database, connection: psycopg.Connection
) -> None:
    """Not even the append lock: others go on while the writer is open."""
    with importing(database, ANY_CHANGE) as writer, writing(database) as other:
        with pytest.raises(psycopg.DataError):
            writer.record(rows_of(*many(0), import_row("nul \0", "pending", 1)))
        other.execute([open_booking("room-12")])
        writer.record(rows_of(import_row("room-12", "completed", 1)))

    assert histories(connection) == {"room-12": ["pending", "completed"]}
