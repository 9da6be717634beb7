"""The transactions of the writer: what is stored, what is out of date, and what is in doubt."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from scenes import (
    ERASE,
    NOON,
    change_status,
    eventually,
    histories,
    open_booking,
    record,
    stored_events,
    writing,
)

from ledger.commands import Command, DecideOnPersonalData
from ledger.database import Database
from ledger.errors import BookingExists
from ledger.memory import Memory
from ledger.plan import Idempotency, Request
from ledger.steps import run
from ledger.transaction import Transaction
from ledger.transcoder import event_mapper
from ledger.workflow import DEFAULT
from projections.feed import read_histories


@pytest.fixture
def transaction(database: Database) -> Transaction:
    return Transaction(database, event_mapper(database), DEFAULT, lambda: NOON, Memory(10))


def a_plan(transaction: Transaction, own: psycopg.Connection, *commands: Command) -> Any:
    transaction.begin(own)
    return transaction.plan(own, [Request(commands, None, print)])


def test_a_committed_plan_is_known_to_be_committed(
    database: Database, connection: psycopg.Connection, transaction: Transaction
) -> None:
    with database.connect() as own:
        plan = a_plan(transaction, own, open_booking("room-12"), open_booking("room-13"))
        transaction.commit(own, plan)

    record(database, open_booking("room-14"))
    transaction.begin(connection)
    assert transaction.is_committed(connection, plan)


def test_a_plan_that_was_not_committed_is_known_not_to_be(
    database: Database, connection: psycopg.Connection, transaction: Transaction
) -> None:
    with database.connect() as own:
        plan = a_plan(transaction, own, open_booking("room-12"))

    transaction.begin(connection)
    assert not transaction.is_committed(connection, plan)
    connection.rollback()
    record(database, open_booking("room-13"))
    assert not transaction.is_committed(connection, plan), "another event is at its position"
    record(database, open_booking("room-12", status="confirmed"))
    assert not transaction.is_committed(connection, plan), "another event is of its version"


def test_a_plan_without_events_is_decided_again(
    database: Database, connection: psycopg.Connection, transaction: Transaction
) -> None:
    with database.connect() as own:
        plan = a_plan(transaction, own, change_status("room-12", "confirmed"))
        transaction.commit(own, plan)

    assert not transaction.is_committed(connection, plan)


def test_a_plan_that_was_committed_behind_others_is_answered_with_its_own_positions(
    database: Database, connection: psycopg.Connection, transaction: Transaction
) -> None:
    with database.connect() as own:
        plan = ahead(transaction, own, open_booking("room-12"), open_booking("room-13"))
        record(database, open_booking("room-14"))
        lost = transaction._appending.behind_others(plan)
        lost.prepared.execute(own, lost.parameters)

        assert transaction.is_committed(connection, plan)

    ((first, second),) = plan.replies
    assert (first.position, second.position) == (2, 3)
    assert [name for _, name, *_ in stored_events(connection)] == ["room-14", "room-12", "room-13"]


def test_whether_a_plan_is_committed_is_asked_after_its_transaction_has_ended(
    database: Database, connection: psycopg.Connection, transaction: Transaction
) -> None:
    """The lost connection's transaction may still be about to commit on the server."""
    with database.connect() as own, ThreadPoolExecutor(1) as pool:
        plan = a_plan(transaction, own, open_booking("room-12"))
        asked = pool.submit(
            lambda: transaction.begin(connection) or transaction.is_committed(connection, plan)  # type: ignore[func-returns-value]
        )
        eventually(lambda: waits_for_lock(own, connection), "the question to wait for the lock")
        assert not asked.done()
        transaction.commit(own, plan)

        assert asked.result(20) is True


def ahead(transaction: Transaction, own: psycopg.Connection, *commands: Command) -> Any:
    return run(own, transaction.plan_ahead([Request(commands, None, print)]))


def appended(transaction: Transaction, own: psycopg.Connection, *commands: Command) -> bool:
    return run(own, transaction.append(ahead(transaction, own, *commands)))


def test_what_is_refused_is_remembered_all_the_same(
    database: Database, transaction: Transaction
) -> None:
    with database.connect() as own:
        assert appended(transaction, own, open_booking("room-12"))
        assert appended(transaction, own, open_booking("room-12"))

        assert transaction._memory.has_all(["room-12"])


def test_one_who_is_alone_records_with_one_statement(
    database: Database, connection: psycopg.Connection, transaction: Transaction
) -> None:
    """No question before it, and no commit after it."""
    with database.connect() as own:
        assert appended(transaction, own, open_booking("room-12"))
        read = connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        plan = ahead(transaction, own, change_status("room-12", "confirmed"))
        own.execute("SELECT")
        assert plan.head == 1
        assert connection.execute("SELECT pg_current_snapshot()::text").fetchone() == read
        assert run(own, transaction.append(plan))
        assert own.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

    assert histories(connection) == {"room-12": ["pending", "confirmed"]}


def test_what_was_decided_before_others_appended_is_recorded_behind_them(
    database: Database, connection: psycopg.Connection, transaction: Transaction
) -> None:
    commands = [
        change_status("room-12", "confirmed"),
        change_status("room-12", "confirmed"),
        open_booking("room-12"),
    ]
    with database.connect() as own:
        assert appended(transaction, own, open_booking("room-12"))
        record(database, open_booking("room-13"))
        assert not appended(transaction, own, *commands), "it takes itself to be alone"
        plan = ahead(transaction, own, *commands)
        record(database, open_booking("room-14"))

        assert run(own, transaction.append(plan))
        ((changed, unchanged, refused),) = plan.replies
        assert (changed.kind, changed.position) == ("changed", 4)
        assert (unchanged.kind, unchanged.position) == ("unchanged", 4)
        assert isinstance(refused, BookingExists)
        assert ahead(transaction, own, change_status("room-12", "in_progress")).head == 4

    assert histories(connection)["room-12"] == ["pending", "confirmed"]


def test_g3_an_answer_is_kept_with_the_positions_that_its_events_have(
    database: Database, transaction: Transaction
) -> None:
    """They are found by the statement that stores both, after the answer was written down."""
    again = Transaction(database, event_mapper(database), DEFAULT, lambda: NOON, Memory(10))
    request = Request(
        [open_booking("room-12"), open_booking("room-13"), open_booking("room-12")],
        Idempotency("front desk", "retry-1", b"sha"),
        print,
    )
    transaction._others_expected_for = 9
    with database.connect() as own:
        plan = run(own, transaction.plan_ahead([request]))
        record(database, open_booking("room-14"))
        assert run(own, transaction.append(plan))
        repeated = run(own, again.plan_ahead([request], again=True))

    ((first, second, refused),) = plan.replies
    assert (first.position, second.position) == (2, 3)
    ((first_again, second_again, refused_again),) = repeated.replies
    assert (first_again, second_again) == (first, second)
    assert refused_again.to_record() == refused.to_record()


def test_who_is_not_alone_tells_the_followers_too(
    database: Database, connection: psycopg.Connection, transaction: Transaction
) -> None:
    connection.execute(f"LISTEN {database.channel('events')}")
    transaction._others_expected_for = 9
    with database.connect() as own:
        assert appended(transaction, own, open_booking("room-12"))
        (told,) = connection.notifies(timeout=20, stop_after=1)
        assert told.channel == database.channel("events")

        assert appended(transaction, own, open_booking("room-12"))
        assert not list(connection.notifies(timeout=0.1)), "nothing was recorded"


@pytest.mark.parametrize("alone", [True, False], ids=["believed to be alone", "not alone"])
@pytest.mark.parametrize(
    "command",
    [
        change_status("room-12", "confirmed"),
        change_status("room-12", "pending"),
        change_status("room-12", "completed"),
        change_status("room-13", "confirmed"),
        open_booking("room-13"),
    ],
    ids=["changed", "unchanged", "refused", "not found", "opened"],
)
def test_what_was_decided_on_an_older_booking_is_not_recorded(
    database: Database,
    connection: psycopg.Connection,
    transaction: Transaction,
    command: Command,
    alone: bool,
) -> None:
    """Nor is what was decided with it about another."""
    with database.connect() as own:
        assert appended(transaction, own, open_booking("room-12"), open_booking("room-14"))
        transaction._others_expected_for = 0 if alone else 9
        plan = ahead(transaction, own, command, change_status("room-14", "confirmed"))
        record(database, change_status("room-12", "cancelled"), open_booking("room-13"))
        before = histories(connection)

        assert not run(own, transaction.append(plan))

        assert histories(connection) == before
        again = run(own, transaction.plan_ahead([Request([command], None, print)], again=True))
        assert again.head == 4, "it is read anew"


def test_what_was_sealed_before_an_erasure_is_not_recorded(
    database: Database, connection: psycopg.Connection, transaction: Transaction
) -> None:
    """The erasure is of another stream than the booking's."""
    with database.connect() as own:
        assert appended(transaction, own, open_booking("room-12", reason="before"))
        transaction._others_expected_for = 9
        plan = ahead(transaction, own, change_status("room-12", "confirmed", reason="after"))
        with writing(database) as other:
            other.execute([DecideOnPersonalData("room-12", ERASE)])

        assert not run(own, transaction.append(plan))

    topics = [topic for _, _, _, topic, _ in stored_events(connection)]
    assert topics == ["Booking.Created", "PersonalData.Erased"]


def test_a_key_that_was_not_used_is_not_taken_for_current(
    database: Database, connection: psycopg.Connection, transaction: Transaction
) -> None:
    """What changes nothing depends on the booking alone, and shows nothing of its key."""
    with database.connect() as own:
        assert appended(transaction, own, open_booking("room-12", reason="before"))
        with writing(database) as other:
            other.execute([DecideOnPersonalData("room-12", ERASE)])
        transaction._others_expected_for = 9
        assert appended(transaction, own, change_status("room-12", "pending"))

        assert appended(transaction, own, change_status("room-12", "confirmed", reason="after"))

    entries = read_histories(connection, event_mapper(database), ["room-12"])["room-12"]
    assert [(one.erased, one.event.reason) for one in entries] == [(True, None), (False, "after")]


def test_a_booking_whose_answer_is_repeated_is_not_taken_for_current(
    database: Database, transaction: Transaction
) -> None:
    """The answer does not depend on what has become of the booking since."""
    key = Idempotency("front desk", "retry-1", b"sha")
    request = Request([open_booking("room-12")], key, print)
    with database.connect() as own:
        assert run(own, transaction.append(run(own, transaction.plan_ahead([request]))))
        record(database, change_status("room-12", "confirmed"))
        transaction._others_expected_for = 9
        assert run(own, transaction.append(run(own, transaction.plan_ahead([request]))))

        plan = ahead(transaction, own, change_status("room-12", "confirmed"))

    (((unchanged,)),) = plan.replies
    assert (unchanged.kind, unchanged.version) == ("unchanged", 2)


@pytest.mark.parametrize("alone", [True, False], ids=["believed to be alone", "not alone"])
def test_a_lost_append_that_arrives_late_records_nothing(
    database: Database, connection: psycopg.Connection, transaction: Transaction, alone: bool
) -> None:
    """Its caller was told that it was recorded, by the transaction that looked for it and took
    its place."""
    with database.connect() as own, database.connect() as late:
        lost = ahead(transaction, late, open_booking("room-12"))
        transaction._others_expected_for = 0 if alone else 9
        transaction.begin(own)
        assert not transaction.is_committed(own, lost)
        with ThreadPoolExecutor(1) as pool:
            arriving = pool.submit(run, late, transaction.append(lost))
            eventually(lambda: waits_for_lock(connection, late), "the late one to wait")
            again = transaction.plan(own, [Request([open_booking("room-12")], None, print)])
            transaction.commit(own, again)

            assert arriving.result(20) is False

    assert histories(connection) == {"room-12": ["pending"]}


def waits_for_lock(asking: psycopg.Connection, waiting: psycopg.Connection) -> bool:
    return asking.execute(
        "SELECT cardinality(pg_blocking_pids(%s)) > 0", (waiting.info.backend_pid,)
    ).fetchone() == (True,)
