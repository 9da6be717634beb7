"""What is read to decide: the same as all events would give, and no more where there are more."""

from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from scenes import ANY_CHANGE, ERASE, NOON, change_status, open_booking, record

from ledger.commands import DecideOnPersonalData, Outcome
from ledger.database import Database
from ledger.memory import Memory
from ledger.personal_data import Decision, stream_of
from ledger.plan import Request
from ledger.steps import run
from ledger.transaction import Transaction
from ledger.transcoder import event_mapper

EVENTS = """
    SELECT originator_id, originator_version, topic, state
    FROM ledger_events WHERE originator_id = %s ORDER BY originator_version
"""
BACK = ("confirmed", "pending")
TO_AND_FRO = [change_status("room-12", status) for status in ("confirmed", "pending") * 20]


def a_transaction(database: Database) -> Transaction:
    return Transaction(database, event_mapper(database), ANY_CHANGE, lambda: NOON, Memory(10))


def all_events_of(database: Database, connection: psycopg.Connection, stream: str) -> Any:
    """What comes of a stream, event by event."""
    state, mapper = None, event_mapper(database)
    for row in connection.execute(EVENTS, (stream,)):
        state = mapper.to_domain_event(StoredEvent(*row)).mutate(state)
    return state


@pytest.fixture
def taken_in(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Streams and versions of the events that were read."""
    taken: list[tuple[str, int]] = []
    take_in = Transaction._take_in

    def counted(self: Transaction, plan: Any, stream: Any, number: Any, *others: Any) -> None:
        if stream is not None and others[0] is not None:
            taken.append((stream.decode(), int.from_bytes(number)))
        take_in(self, plan, stream, number, *others)

    monkeypatch.setattr(Transaction, "_take_in", counted)
    return taken


def test_a_long_history_is_not_read(
    database: Database, connection: psycopg.Connection, taken_in: list[tuple[str, int]]
) -> None:
    record(database, open_booking("room-12"), *TO_AND_FRO, workflow=ANY_CHANGE)
    taken_in.clear()
    with database.connect() as own:
        plan = a_transaction(database)._load(["room-12"])
        loaded = run(own, plan).bookings["room-12"]

    assert taken_in == [("room-12", 1), ("room-12", 41)]
    assert vars(loaded) == vars(all_events_of(database, connection, "room-12"))


def test_nor_is_what_others_recorded_meanwhile_but_for_the_newest(
    database: Database, connection: psycopg.Connection, taken_in: list[tuple[str, int]]
) -> None:
    transaction = a_transaction(database)
    with database.connect() as own:
        opening = Request([open_booking("room-12")], None, print)
        assert run(own, transaction.append(run(own, transaction.plan_ahead([opening]))))
        record(database, *TO_AND_FRO, workflow=ANY_CHANGE)
        taken_in.clear()
        change = Request([change_status("room-12", "cancelled")], None, print)
        plan = run(own, transaction.plan_ahead([change], again=True))
        assert taken_in == [("room-12", 41)]
        assert run(own, transaction.append(plan))

    ((answer,),) = plan.replies
    assert (answer.version, answer.position) == (42, 42)
    loaded = transaction._memory.take(["room-12"])[0]["room-12"]
    assert vars(loaded) == vars(all_events_of(database, connection, "room-12"))


def test_bookings_of_every_kind_are_loaded_together(
    database: Database, connection: psycopg.Connection
) -> None:
    transaction = a_transaction(database)
    with database.connect() as own:
        known = [open_booking(one, reason="ill") for one in ("current", "stale")]
        opening = Request(known, None, print)
        assert run(own, transaction.append(run(own, transaction.plan_ahead([opening]))))
        record(database, open_booking("short"), open_booking("long"), workflow=ANY_CHANGE)
        changes = [change_status(one, status) for one in ("stale", "long") for status in BACK]
        record(database, *changes, workflow=ANY_CHANGE)
        asked = ["short", "stale", "absent", "current", "long"]
        loaded = run(own, transaction._load(asked))

    assert sorted(loaded.bookings) == ["current", "long", "short", "stale"]
    for name, found in loaded.bookings.items():
        assert vars(found) == vars(all_events_of(database, connection, name))
    assert (loaded.head, sorted(loaded.keys)) == (8, ["current", "stale"])


def test_a_hold_that_others_released_before_they_erased_is_no_hold(
    database: Database, connection: psycopg.Connection, taken_in: list[tuple[str, int]]
) -> None:
    def decide(transaction: Transaction, own: psycopg.Connection, decision: Decision) -> Any:
        transaction.begin(own)
        command = DecideOnPersonalData("room-12", decision)
        plan = transaction.plan(own, [Request([command], None, print)])
        transaction.commit(own, plan)
        return plan.replies[0][0]

    hold, release = (
        Decision(verdict=one, reason="a case", decided_by=None, actor="api-key", source="tests")
        for one in ("hold", "release")
    )
    record(database, open_booking("room-12", reason="ill"))
    ours, theirs, stream = a_transaction(database), a_transaction(database), stream_of("room-12")
    with database.connect() as own:
        assert isinstance(decide(ours, own, hold), Outcome)
        assert isinstance(decide(theirs, own, release), Outcome)
        assert isinstance(decide(theirs, own, ERASE), Outcome)
        taken_in.clear()
        assert decide(ours, own, hold).kind == "changed"

    assert [one for one in taken_in if one[0] == stream] == [(stream, 3)]
    loaded = ours._memory.take([stream])[0][stream]
    assert vars(loaded) == vars(all_events_of(database, connection, stream))
