"""The one door in: answers, group commit, idempotency, refusals and lost connections."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
import scenes
from cutting_proxy import CuttingProxy
from loop_writer import LoopWriter
from psycopg import sql
from scenes import (
    ANY_CHANGE,
    ERASE,
    NOON,
    append_lock_held,
    change_status,
    eventually,
    histories,
    open_booking,
    record,
    stored_events,
    writing,
)
from tests.support.master_key import MASTER_KEY

from ledger.append_connection import connect_to_append
from ledger.commands import Command, DecideOnPersonalData, Outcome, RecordStatus
from ledger.database import Database
from ledger.errors import (
    BookingExists,
    BookingNotFound,
    Busy,
    IdempotencyKeyReused,
    OutcomeUnknown,
    Refusal,
    StoreUnavailable,
    TransitionNotAllowed,
    UnknownStatus,
    VersionMismatch,
)
from ledger.memory import Memory
from ledger.personal_data import booking_of_stream
from ledger.plan import Idempotency, Request
from ledger.prepared import Prepared
from ledger.steps import Steps, run
from ledger.transaction import Transaction
from ledger.transcoder import event_mapper
from ledger.workflow import DEFAULT
from ledger.writer import Writer
from projections.feed import read_histories

pytestmark = pytest.mark.usefixtures("kind")

LATER = NOON + timedelta(hours=1)
ERASED = "PersonalData.Erased"
AHEAD = b"Booking.StatusChanged"
"""In the one message that appends such an event ahead of the lock."""


class HeldClock:
    """Keeps the writer inside its first transaction until it is let go."""

    def __init__(self) -> None:
        self.is_held = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> datetime:
        self.is_held.set()
        assert self.go.wait(20)
        return NOON


@pytest.fixture(params=[Writer, LoopWriter], ids=["threads", "loop"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is said here of writers is true of both."""
    monkeypatch.setattr(scenes, "Writer", request.param)


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    with writing(database, clock=lambda: NOON) as opened:
        yield opened


def submitted(
    writer: Writer, commands: Sequence[Command], idempotency: Idempotency | None = None
) -> Future[Any]:
    """The future has the answers, or the exception that was given in their place."""
    future: Future[Any] = Future()
    writer.submit(commands, future.set_result, idempotency)
    return future


@contextmanager
def held_writer(database: Database, **options: Any) -> Iterator[tuple[Writer, HeldClock]]:
    """A writer whose thread is busy: what is submitted before `go` is taken as one batch."""
    clock = HeldClock()
    with writing(database, clock=clock, **options) as writer:
        try:
            submitted(writer, [open_booking("busy")])
            assert clock.is_held.wait(20)
            yield writer, clock
        finally:
            clock.go.set()


def in_one_batch(
    database: Database, *requests: tuple[Sequence[Command], Idempotency | None]
) -> list[Any]:
    with held_writer(database) as (writer, clock):
        answers = [submitted(writer, commands, key) for commands, key in requests]
        clock.go.set()
        return [answer.result(20) for answer in answers]


def records(answers: Sequence[Outcome | Refusal]) -> list[dict[str, Any]]:
    """Answers by value: two refusals of the same thing are different objects."""
    return [answer.to_record() for answer in answers]


def a_key(key: str = "retry-1", request: bytes = b"sha", scope: str = "front desk") -> Idempotency:
    return Idempotency(scope, key, request)


# --- answers ----------------------------------------------------------------------------------


def test_opening_and_changing_answer_with_the_booking_and_the_position(writer: Writer) -> None:
    (opened,) = writer.execute([open_booking("room-12", occurred_at=NOON - timedelta(days=1))])
    (changed,) = writer.execute([change_status("room-12", "confirmed")])

    yesterday = NOON - timedelta(days=1)
    assert opened == Outcome("opened", "room-12", "pending", 1, yesterday, yesterday, 1)
    assert changed == Outcome("changed", "room-12", "confirmed", 2, yesterday, NOON, 2)


def test_a_change_to_the_same_status_answers_and_records_nothing(
    writer: Writer, connection: psycopg.Connection
) -> None:
    writer.execute([open_booking("room-12"), open_booking("room-13")])

    (unchanged,) = writer.execute([change_status("room-12", "pending")])

    assert unchanged == Outcome("unchanged", "room-12", "pending", 1, NOON, NOON, 2)
    assert histories(connection) == {"room-12": ["pending"], "room-13": ["pending"]}


def test_where_nothing_is_recorded_the_position_is_the_newest_of_the_ledger(
    writer: Writer,
) -> None:
    """Events of the same request count: whoever follows positions must find them."""
    opened, unchanged = writer.execute(
        [open_booking("room-12"), change_status("room-12", "pending")]
    )

    assert (opened.position, unchanged.position) == (1, 1)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (open_booking("room-12"), BookingExists),
        (open_booking("room-13", "waitlisted"), UnknownStatus),
        (change_status("room-13", "confirmed"), BookingNotFound),
        (change_status("room-12", "completed"), TransitionNotAllowed),
        (change_status("room-12", "confirmed", frozenset({2})), VersionMismatch),
    ],
)
def test_a_refusal_is_an_answer_and_records_nothing(
    writer: Writer, connection: psycopg.Connection, command: Command, kind: type[Refusal]
) -> None:
    writer.execute([open_booking("room-12")])

    (refused,) = writer.execute([command])

    assert type(refused) is kind
    assert histories(connection) == {"room-12": ["pending"]}


def test_commands_of_one_request_see_each_other_in_order(
    writer: Writer, connection: psycopg.Connection
) -> None:
    answers = writer.execute(
        [
            RecordStatus("room-12", open_booking("", "pending").change),
            RecordStatus("room-12", open_booking("", "confirmed").change),
            change_status("room-12", "pending"),
            change_status("room-12", "in_progress", frozenset({2})),
            open_booking("room-13"),
            change_status("room-12", "completed"),
        ]
    )

    assert [getattr(answer, "kind", type(answer)) for answer in answers] == [
        "opened",
        "changed",
        TransitionNotAllowed,
        "changed",
        "opened",
        "changed",
    ]
    assert [getattr(answer, "position", None) for answer in answers] == [1, 2, None, 3, 4, 5]
    assert histories(connection) == {
        "room-12": ["pending", "confirmed", "in_progress", "completed"],
        "room-13": ["pending"],
    }


def test_an_empty_request_is_answered(writer: Writer) -> None:
    assert writer.execute([]) == []


@pytest.mark.parametrize("count", [99, 100, 2_500])
def test_many_commands_in_one_request_are_recorded_in_order(
    writer: Writer, connection: psycopg.Connection, count: int
) -> None:
    """On both sides of where storing changes from INSERT to COPY, and beyond one batch."""
    answers = writer.execute([open_booking(f"room-{n}") for n in range(count)])

    assert [answer.position for answer in answers] == list(range(1, count + 1))  # type: ignore[union-attr]
    assert [booking_id for _, booking_id, *_ in stored_events(connection)] == [
        f"room-{n}" for n in range(count)
    ]


def test_what_was_said_is_stored_word_for_word(
    writer: Writer, database: Database, connection: psycopg.Connection
) -> None:
    said: dict[str, Any] = {
        "changed_by": "Zoë 王",
        "reason": 'line 1\nline 2 \\ "quoted" 🛏',
        "metadata": {"b": [1, 2.5, None, {"ä": "€"}], "a": False},
    }

    writer.execute([open_booking("Zimmer 12 ✓", **said)])

    ((position, booking_id, version, topic, state),) = stored_events(connection)
    assert (position, booking_id, version, topic) == (1, "Zimmer 12 ✓", 1, "Booking.Created")
    assert state["sealed"] is not None
    assert not said.keys() & state.keys()
    (event,) = read_histories(connection, event_mapper(database), [booking_id])[booking_id]
    assert {name: getattr(event.event, name) for name in said} == said
    assert state["timestamp"] == state["occurred_at"] == "2026-05-04T12:00:00.123456Z"


@pytest.mark.parametrize(
    ("preferred", "used"), [("off", "on"), ("on", "on"), ("remote_write", "remote_write")]
)
def test_changes_are_on_disk_whatever_the_database_prefers(
    database: Database, connection: psycopg.Connection, preferred: str, used: str
) -> None:
    name = sql.Identifier(connection.info.dbname)
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET synchronous_commit = {}").format(name, preferred)
    )
    with connect_to_append(database) as appending:
        source = "SELECT setting, source FROM pg_settings WHERE name = 'synchronous_commit'"
        # Set by the session itself, so that no reload of the configuration changes it.
        assert appending.execute(source).fetchone() == (used, "session")


# --- many callers -----------------------------------------------------------------------------


def test_what_queues_is_committed_in_one_transaction(
    database: Database, connection: psycopg.Connection
) -> None:
    """Group commit: 50 callers, one commit."""
    answers = in_one_batch(database, *(([open_booking(f"room-{n}")], None) for n in range(50)))

    assert [answer.position for (answer,) in answers] == list(range(2, 52))
    transactions = connection.execute(
        "SELECT count(DISTINCT xmin::text) FROM ledger_events WHERE notification_id > 1"
    ).fetchone()
    assert transactions == (1,)


def test_g2_chains_are_unbroken_whatever_races(
    database: Database, connection: psycopg.Connection
) -> None:
    """Two writers, 8 threads, 10 bookings that all of them change."""
    rooms = [f"room-{n}" for n in range(10)]
    with writing(database, ANY_CHANGE) as one, writing(database, ANY_CHANGE) as other:
        one.execute([open_booking(room) for room in rooms])

        def work(number: int) -> list[Outcome]:
            writer = (one, other)[number % 2]
            return [
                writer.execute([change_status(rooms[step % 10], status)])[0]  # type: ignore[misc]
                for step in range(30)
                for status in (DEFAULT.statuses[(number + step) % 5],)
            ]

        with ThreadPoolExecutor(8) as pool:
            answers = [answer for found in pool.map(work, range(8)) for answer in found]

    found = histories(connection)
    changed = {
        answer.position: (answer.booking_id, answer.version, answer.status)
        for answer in answers
        if answer.kind == "changed"
    }
    assert len(answers) == 240
    assert changed == {
        position: (booking_id, version, state["to_status"])
        for position, booking_id, version, _, state in stored_events(connection)
        if version > 1
    }
    for statuses in found.values():
        assert all(a != b for a, b in itertools.pairwise(statuses))


def test_a_hot_booking_holds_up_nobody_else(database: Database) -> None:
    """31 callers change one booking all the time; who changes another has its turn as often."""
    lone_changes, hot_changes = 100, [0] * 31
    ended = threading.Event()
    with writing(database, ANY_CHANGE) as writer, ThreadPoolExecutor(len(hot_changes)) as pool:
        writer.execute([open_booking("hot"), open_booking("lone")])

        def change(booking_id: str, step: int) -> None:
            status = DEFAULT.statuses[step % 5]
            (answer,) = writer.execute([change_status(booking_id, status)])
            assert isinstance(answer, Outcome)

        def hammer(number: int) -> None:
            while not ended.is_set():
                change("hot", number + hot_changes[number])
                hot_changes[number] += 1

        hammering = [pool.submit(hammer, number) for number in range(len(hot_changes))]
        try:
            eventually(lambda: all(hot_changes), "everybody hammers")
            hot_changes[:] = [0] * len(hot_changes)
            for step in range(lone_changes):
                change("lone", step)
        finally:
            ended.set()
        for one in hammering:
            one.result(20)
    assert sum(hot_changes) / len(hot_changes) < 2 * lone_changes


def test_a_ledger_is_right_also_where_the_database_prefers_another_isolation(
    database: Database, connection: psycopg.Connection
) -> None:
    """A snapshot from before the append lock would decide on what is long out of date."""
    connection.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation "
        'TO "repeatable read"\', current_database()); END $$'
    )
    with writing(database, ANY_CHANGE) as one, writing(database, ANY_CHANGE) as other:
        one.execute([open_booking("room-12")])

        def work(number: int) -> int:
            writer = (one, other)[number % 2]
            return sum(
                isinstance(writer.execute([change_status("room-12", status)])[0], Outcome)
                for status in DEFAULT.statuses * 5
            )

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4))) == [25] * 4
    histories(connection)


def test_one_callers_refusal_never_fails_another(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"))

    refused, mismatched, recorded, reused, also = in_one_batch(
        database,
        ([change_status("room-12", "completed")], a_key("k")),
        ([change_status("room-12", "confirmed", versions=frozenset({7}))], None),
        ([change_status("room-12", "confirmed")], None),
        ([change_status("room-12", "cancelled")], a_key("k", b"another")),
        ([open_booking("room-13")], None),
    )

    assert isinstance(refused[0], TransitionNotAllowed)
    assert isinstance(mismatched[0], VersionMismatch)
    assert recorded[0].kind == "changed"
    assert isinstance(reused, IdempotencyKeyReused)
    assert also[0].kind == "opened"
    assert histories(connection)["room-12"] == ["pending", "confirmed"]


@pytest.mark.parametrize(
    "poison",
    [
        open_booking("room\x0013"),
        open_booking("room-13", metadata={"too large": 2**70}),
        open_booking("room-\ud800"),
        open_booking("r" * 1_000_000),
    ],
    ids=["NUL", "number beyond JSON", "lone surrogate", "beyond the index"],
)
def test_a_request_that_cannot_be_stored_fails_alone(
    database: Database, connection: psycopg.Connection, poison: Command
) -> None:
    before, poisoned, after = in_one_batch(
        database,
        ([open_booking("room-12")], a_key("before")),
        ([open_booking("room-14"), poison], a_key("poison")),
        ([change_status("room-12", "confirmed")], None),
    )

    assert before[0].kind == "opened"
    assert isinstance(poisoned, Exception)
    assert not isinstance(poisoned, Refusal | OutcomeUnknown | StoreUnavailable)
    assert after[0].kind == "changed"
    assert histories(connection) == {"busy": ["pending"], "room-12": ["pending", "confirmed"]}


# --- bounds and the end -----------------------------------------------------------------------


def test_a_full_queue_is_refused_at_once_and_serves_what_it_has(database: Database) -> None:
    with held_writer(database, queue_commands_max=3) as (writer, clock):
        waiting = submitted(writer, [open_booking("room-1"), open_booking("room-2")])
        last = submitted(writer, [open_booking("room-3")])
        assert writer.queued_commands == 3

        with pytest.raises(Busy):
            submitted(writer, [open_booking("room-4")])

        clock.go.set()
        assert [answer.kind for answer in waiting.result(20) + last.result(20)] == ["opened"] * 3
        assert writer.execute([open_booking("room-4")])[0].kind == "opened"  # type: ignore[union-attr]
        assert writer.queued_commands == 0


def test_close_records_what_was_submitted_and_takes_no_more(
    database: Database, connection: psycopg.Connection
) -> None:
    def is_closed() -> bool:
        try:
            submitted(writer, [])
        except Busy:
            return True
        return False

    with held_writer(database) as (writer, clock):
        answers = [submitted(writer, [open_booking(f"room-{n}")]) for n in range(50)]
        closing = threading.Thread(target=writer.close)
        closing.start()
        eventually(is_closed, "the writer to be closing")
        clock.go.set()
        closing.join(20)

    assert [answer.result(0)[0].kind for answer in answers] == ["opened"] * 50
    assert len(histories(connection)) == 51


def test_nothing_is_left_connected_after_close(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"))

    eventually(lambda: backends(connection) == [], "the writer's connection to end")


# --- idempotency (G3) -------------------------------------------------------------------------


def test_g3_the_same_key_and_request_record_one_event_and_answer_alike(
    writer: Writer, connection: psycopg.Connection
) -> None:
    commands = [open_booking("room-12"), change_status("room-12", "confirmed")]

    first = writer.execute(commands, a_key())
    writer.execute([change_status("room-12", "cancelled")])
    again = writer.execute(commands, a_key())

    assert again == first
    assert histories(connection) == {"room-12": ["pending", "confirmed", "cancelled"]}


def test_g3_answers_outlive_the_writer(database: Database, connection: psycopg.Connection) -> None:
    commands = [open_booking("room-12"), change_status("room-12", "completed")]
    with writing(database) as writer:
        first = writer.execute(commands, a_key())

    with writing(database) as writer:
        again = writer.execute(commands, a_key())

    assert records(again) == records(first)
    assert [type(answer) for answer in again] == [Outcome, TransitionNotAllowed]
    assert str(again[1]) == str(first[1])
    assert histories(connection) == {"room-12": ["pending"]}


def test_g3_holds_within_one_batch(database: Database, connection: psycopg.Connection) -> None:
    request = ([open_booking("room-12"), change_status("room-12", "completed")], a_key())

    first, second, third = in_one_batch(database, request, request, request)

    assert records(first) == records(second) == records(third)
    assert histories(connection)["room-12"] == ["pending"]


def test_g3_holds_between_two_writers_at_once(
    database: Database, connection: psycopg.Connection
) -> None:
    with writing(database) as one, writing(database) as other:
        start = threading.Barrier(8)

        def send(number: int) -> list[list[dict[str, Any]]]:
            writer = (one, other)[number % 2]
            start.wait(20)
            return [
                records(writer.execute([open_booking(f"room-{n}")], a_key(f"open {n}")))
                for n in range(25)
            ]

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(send, range(8)))

    assert all(found == answers[0] for found in answers)
    assert [answer["kind"] for (answer,) in answers[0]] == ["opened"] * 25
    assert len(stored_events(connection)) == 25


def test_g3_a_refusal_is_given_again_though_the_change_would_be_allowed_by_now(
    writer: Writer, connection: psycopg.Connection
) -> None:
    writer.execute([open_booking("room-12")])
    (refused,) = writer.execute([change_status("room-12", "in_progress")], a_key())
    writer.execute([change_status("room-12", "confirmed")])

    (again,) = writer.execute([change_status("room-12", "in_progress")], a_key())

    assert records([again]) == records([refused])
    assert histories(connection) == {"room-12": ["pending", "confirmed"]}


def test_g3_another_request_with_the_same_key_is_refused(
    writer: Writer, connection: psycopg.Connection
) -> None:
    writer.execute([open_booking("room-12")], a_key(request=b"one"))

    with pytest.raises(IdempotencyKeyReused) as refused:
        writer.execute([open_booking("room-13")], a_key(request=b"other"))

    assert refused.value.key == "retry-1"
    assert histories(connection) == {"room-12": ["pending"]}


COUNT_TRIES = """
    CREATE SEQUENCE tries;
    CREATE FUNCTION count_try() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM nextval(''tries''); RETURN NEW; END';
    CREATE TRIGGER count_try BEFORE INSERT ON idempotency
        FOR EACH ROW EXECUTE FUNCTION count_try()
"""


def test_g3_a_key_that_is_known_to_be_answered_costs_no_statement_that_fails(
    database: Database, writer: Writer, connection: psycopg.Connection
) -> None:
    """The database would log each of them. A sequence counts those too that are rolled back."""
    connection.execute(COUNT_TRIES)

    def tries() -> int:
        row = connection.execute("SELECT last_value FROM tries WHERE is_called").fetchone()
        return 0 if row is None else int(row[0])

    rooms = itertools.count(1)

    def execute(key: str) -> None:
        """What would append, were the key new."""
        writer.execute([open_booking(f"room-{next(rooms)}")], a_key(key))

    with writing(database) as other:
        other.execute([open_booking("room-0")], a_key("of another"))
    assert tries() == 1
    execute("our own")
    execute("our own")
    assert tries() == 2
    execute("of another")
    once_known = tries()
    execute("of another")

    assert tries() == once_known
    assert list(histories(connection)) == ["room-0", "room-1"]


def test_g3_a_key_belongs_to_its_scope(writer: Writer, connection: psycopg.Connection) -> None:
    writer.execute([open_booking("room-12")], a_key(request=b"one", scope="front desk"))
    writer.execute([open_booking("room-13")], a_key(request=b"other", scope="phone"))

    assert histories(connection) == {"room-12": ["pending"], "room-13": ["pending"]}


# --- several writers --------------------------------------------------------------------------


def test_what_another_writer_recorded_is_seen(
    database: Database, connection: psycopg.Connection
) -> None:
    """The bookings that a writer remembers are brought up to date before each decision."""
    with writing(database) as one, writing(database) as other:
        one.execute([open_booking("room-12")])
        other.execute([change_status("room-12", "confirmed")])
        (changed,) = one.execute([change_status("room-12", "in_progress")])
        (refused,) = other.execute([change_status("room-12", "cancelled", frozenset({2}))])

    assert changed.version == 3  # type: ignore[union-attr]
    assert isinstance(refused, VersionMismatch)
    assert histories(connection) == {"room-12": ["pending", "confirmed", "in_progress"]}


def test_a_booking_that_fell_out_of_memory_is_read_again(database: Database) -> None:
    transaction = Transaction(database, event_mapper(database), DEFAULT, lambda: NOON, Memory(1))
    with database.connect() as own:
        for commands in (
            [open_booking("room-12"), open_booking("room-13")],
            [change_status("room-12", "confirmed"), change_status("room-13", "cancelled")],
            [change_status("room-12", "cancelled")],
        ):
            transaction.begin(own)
            plan = transaction.plan(own, [Request(commands, None, print)])
            transaction.commit(own, plan)

    with database.connect() as connection:
        assert histories(connection) == {
            "room-12": ["pending", "confirmed", "cancelled"],
            "room-13": ["pending", "cancelled"],
        }


# --- lost connections -------------------------------------------------------------------------


def backends(connection: psycopg.Connection) -> list[int]:
    """The other connections of the ledger to this database."""
    rows = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name = 'booking-ledger'"
    )
    return [pid for (pid,) in rows]


def terminate(connection: psycopg.Connection) -> int:
    ended = connection.execute(
        "SELECT count(*) FROM unnest(%s::int[]) AS pid WHERE pg_terminate_backend(pid, 5000)",
        (backends(connection),),
    ).fetchone()
    assert ended is not None
    return int(ended[0])


def test_a_connection_lost_while_idle_is_replaced_unnoticed(
    writer: Writer, connection: psycopg.Connection
) -> None:
    writer.execute([open_booking("room-12")])
    assert terminate(connection) == 1

    (changed,) = writer.execute([change_status("room-12", "confirmed")])

    assert changed.kind == "changed"  # type: ignore[union-attr]
    assert histories(connection) == {"room-12": ["pending", "confirmed"]}


def test_a_connection_lost_within_a_transaction_is_replaced_and_the_batch_decided_again(
    database: Database, connection: psycopg.Connection
) -> None:
    with held_writer(database) as (writer, clock):
        answers = [submitted(writer, [open_booking(f"room-{n}")]) for n in range(5)]
        assert terminate(connection) == 1
        clock.go.set()

        assert [answer.result(20)[0].kind for answer in answers] == ["opened"] * 5
    assert len(histories(connection)) == 6


def test_a_writer_that_was_suspended_within_a_transaction_decides_again(
    database: Database, connection: psycopg.Connection
) -> None:
    """The server ends a transaction that stands still, so that others can append; no caller
    is told of it."""

    def clock() -> datetime:
        if not suspended:
            suspended.append(True)
            (victim,) = backends(connection)
            assert writer._recorder.connection is not None
            writer._recorder.connection.execute("SET idle_in_transaction_session_timeout = '20ms'")
            eventually(lambda: victim not in backends(connection), "the server to end it")
        return NOON

    suspended: list[bool] = []
    with writing(database, clock=clock) as writer:
        # So many are recorded under the lock.
        answers = writer.execute([open_booking(f"room-{number}") for number in range(100)])

    assert {answer.kind for answer in answers} == {"opened"}  # type: ignore[union-attr]
    assert len(histories(connection)) == 100


def test_g1_g2_connections_lost_in_the_middle_of_traffic_lose_nothing_and_double_nothing(
    database: Database, connection: psycopg.Connection
) -> None:
    steps = ("confirmed", "in_progress", "completed")
    lived: list[str] = []
    killed = threading.Event()
    with writing(database, reconnect_seconds=20) as writer:

        def live(booking_id: str) -> list[Outcome]:
            commands = [open_booking(booking_id), *(change_status(booking_id, s) for s in steps)]
            answers = [writer.execute([command])[0] for command in commands]
            lived.append(booking_id)
            return answers  # type: ignore[return-value]

        def live_until_enough_were_killed(floor: int) -> list[Outcome]:
            answers: list[Outcome] = []
            for number in itertools.count():
                if killed.is_set():
                    break
                answers += live(f"room-{floor}-{number}")
            return answers

        with ThreadPoolExecutor(8) as pool:
            floors = [pool.submit(live_until_enough_were_killed, floor) for floor in range(8)]
            try:
                victims = 0
                while victims < 8:
                    seen = len(lived)
                    eventually(lambda: len(lived) > seen + 8, "traffic")  # noqa: B023
                    victims += terminate(connection)
            finally:
                killed.set()
            answers = [answer for floor in floors for answer in floor.result()]

    assert histories(connection) == {room: ["pending", *steps] for room in lived}
    assert {(a.position, a.booking_id, a.version) for a in answers} == {
        (position, booking_id, version)
        for position, booking_id, version, *_ in stored_events(connection)
    }


@pytest.mark.parametrize("reaches_server", [True, False])
@pytest.mark.parametrize(
    ("count", "commit", "others"),
    [(1, AHEAD, False), (1, AHEAD, True), (150, b"COMMIT\x00", False)],
    ids=["alone", "behind others", "under the lock"],
)
def test_a_commit_whose_answer_is_lost_is_found_out_about(
    database: Database,
    connection: psycopg.Connection,
    reaches_server: bool,
    count: int,
    commit: bytes,
    others: bool,
) -> None:
    """Whether it reached the server or not, it is recorded once and answered as usual."""
    with CuttingProxy(database) as proxy, writing(proxy.database, clock=lambda: NOON) as writer:
        writer.execute([open_booking("room-12")])
        if others:
            # It has to move its plan behind this: what it remembers is older.
            writer._recorder._transaction._others_expected_for = 9
            record(database, open_booking("room-13"))
        proxy.cut_next_commit(reaches_server=reaches_server, commit=commit)

        answers = writer.execute(
            [change_status("room-12", "confirmed"), *(open_booking(f"r{n}") for n in range(count))]
        )

        assert proxy.has_cut.is_set()
    last = len(stored_events(connection))
    assert last == count + 2 + others
    assert [answer.position for answer in answers] == list(range(last - count, last + 1))  # type: ignore[union-attr]
    assert histories(connection)["room-12"] == ["pending", "confirmed"]


def test_a_commit_whose_answer_is_lost_for_good_is_said_to_be_unknown(
    database: Database, connection: psycopg.Connection
) -> None:
    """And the writer goes on when the database is back; the key gives the answer then."""
    with CuttingProxy(database) as proxy, writing(proxy.database, reconnect_seconds=0.2) as writer:
        writer.execute([open_booking("room-12")])
        proxy.cut_next_commit(reaches_server=True, stay_down=True, commit=AHEAD)

        with pytest.raises(OutcomeUnknown):
            writer.execute([change_status("room-12", "confirmed")], a_key())
        with pytest.raises(StoreUnavailable):
            writer.execute([change_status("room-12", "cancelled")])
        proxy.come_back()
        (changed,) = writer.execute([change_status("room-12", "confirmed")], a_key())

    assert (changed.kind, changed.position) == ("changed", 2)  # type: ignore[union-attr]
    assert histories(connection) == {"room-12": ["pending", "confirmed"]}


def test_what_is_in_doubt_stays_so_while_nobody_can_say(
    database: Database, connection: psycopg.Connection
) -> None:
    """The question may be refused for a reason of its own, as here for want of the lock."""
    name = connection.info.dbname
    connection.execute(f"ALTER DATABASE {name} SET lock_timeout = '50ms'")  # type: ignore[arg-type]
    with CuttingProxy(database) as proxy, writing(proxy.database, reconnect_seconds=20) as writer:
        writer.execute([open_booking("room-12")])
        proxy.cut_next_commit(reaches_server=True, commit=AHEAD)
        changed = submitted(writer, [change_status("room-12", "confirmed")])
        assert proxy.has_cut.wait(20)
        with append_lock_held(database, connection):
            time.sleep(0.5)  # in which the writer asks more than once

        assert [(one.kind, one.position) for one in changed.result(20)] == [("changed", 2)]
    assert histories(connection) == {"room-12": ["pending", "confirmed"]}


def test_after_two_losses_in_a_row_both_are_asked_for(
    database: Database, connection: psycopg.Connection
) -> None:
    """The first may arrive when the second let go of the lock."""
    commit = Transaction.commit
    losses = [True]
    with CuttingProxy(database) as proxy, writing(proxy.database, reconnect_seconds=20) as writer:
        writer.execute([open_booking("room-12")])
        late = Transaction(database, event_mapper(database), DEFAULT, lambda: NOON, Memory(10))
        with pytest.MonkeyPatch.context() as patching:
            sent: list[Any] = []
            append = Transaction.append

            def lost(self: Transaction, plan: Any) -> Steps[bool]:
                if self is late:
                    return (yield from append(self, plan))
                sent.append(plan)
                assert writer._recorder.connection is not None
                writer._recorder.connection.close()
                raise psycopg.OperationalError("cut off before it arrived")

            def losing_then_arriving(self: Transaction, own: psycopg.Connection, plan: Any) -> None:
                if losses:
                    losses.pop()
                    own.close()
                    # What was cut off first arrives now that the lock is free.
                    with database.connect() as other:
                        assert run(other, late.append(sent[0]))
                commit(self, own, plan)

            patching.setattr(Transaction, "append", lost)
            patching.setattr(Transaction, "commit", losing_then_arriving)
            (changed,) = writer.execute([change_status("room-12", "confirmed")])

    assert (changed.kind, changed.position) == ("changed", 2)  # type: ignore[union-attr]
    assert histories(connection) == {"room-12": ["pending", "confirmed"]}


def test_a_database_that_takes_no_writes_is_unavailable(
    database: Database, connection: psycopg.Connection
) -> None:
    """As after a failover to a standby, until that is promoted."""
    name = connection.info.dbname
    connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")  # type: ignore[arg-type]
    with writing(database, reconnect_seconds=0.3) as writer:
        with pytest.raises(StoreUnavailable, match="Nothing was recorded"):
            writer.execute([open_booking("room-12")])
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")  # type: ignore[arg-type]
        (opened,) = writer.execute([open_booking("room-12")])

    assert opened.kind == "opened"  # type: ignore[union-attr]


def test_a_database_that_is_away_is_told_within_the_time_given(database: Database) -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/nowhere", database.schema, MASTER_KEY)
    with writing(away, reconnect_seconds=0.3) as writer:
        started = time.monotonic()
        answers = [submitted(writer, [open_booking(f"room-{n}")]) for n in range(3)]

        assert all(isinstance(answer.result(20), StoreUnavailable) for answer in answers)
        assert 0.3 <= time.monotonic() - started < 3


# --- answers of the database ----------------------------------------------------------------


def test_an_error_whose_code_nobody_knows_is_an_error_of_the_driver(
    connection: psycopg.Connection,
) -> None:
    """Poolers and other databases have codes of their own."""
    connection.execute("""
        CREATE FUNCTION odd() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'odd' USING ERRCODE = 'ZZ999'; END $$
    """)

    with pytest.raises(psycopg.Error, match="odd"):
        Prepared("SELECT odd()").execute(connection, ())


def test_writers_in_turns_need_no_lock_before_they_decide(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each about bookings of its own, and both about one, as long as they are not at once."""
    monkeypatch.setattr(Transaction, "begin", None)
    with writing(database) as one, writing(database) as other:
        one.execute([open_booking("of one")])
        other.execute([open_booking("of other")])
        one.execute([open_booking("of both")])
        for status in ("confirmed", "in_progress", "completed"):
            one.execute([change_status("of one", status)])
            other.execute([change_status("of other", status), change_status("of both", status)])
            one.execute([change_status("of both", status)])

    whole = ["pending", "confirmed", "in_progress", "completed"]
    assert histories(connection) == dict.fromkeys(("of one", "of other", "of both"), whole)


def test_nothing_is_answered_from_memory_alone(
    database: Database, connection: psycopg.Connection
) -> None:
    """Where nothing is appended, nothing shows that the memory is right: it is read anew."""
    with writing(database) as one, writing(database) as other:
        one.execute([open_booking("room-12")])
        one.execute([change_status("room-12", "confirmed")])
        other.execute([change_status("room-12", "in_progress")])

        (refused,) = one.execute([change_status("room-12", "confirmed")])
        (unchanged,) = one.execute([change_status("room-12", "in_progress")])

    assert isinstance(refused, TransitionNotAllowed)
    assert refused.from_status == "in_progress"
    assert unchanged.kind == "unchanged"  # type: ignore[union-attr]
    assert histories(connection) == {"room-12": ["pending", "confirmed", "in_progress"]}


def test_nothing_is_sealed_under_a_key_that_is_destroyed_meanwhile(
    database: Database, connection: psycopg.Connection
) -> None:
    """Three who change, each by a writer of its own, and one who erases, all at once."""
    rooms = [f"room-{number}" for number in range(3)]

    def change(writer: Writer, number: int) -> None:
        for step in range(60):
            status = DEFAULT.statuses[(step + number) % 5]
            writer.execute([change_status(rooms[step % 3], status, reason="who knows")])

    def erase(writer: Writer) -> None:
        for step in range(30):
            writer.execute([DecideOnPersonalData(rooms[step % 3], ERASE)])

    with (
        writing(database, ANY_CHANGE) as one,
        writing(database, ANY_CHANGE) as other,
        writing(database, ANY_CHANGE) as third,
        ThreadPoolExecutor(4) as pool,
    ):
        one.execute([open_booking(room, reason="who knows") for room in rooms])
        writers = enumerate((one, other, third))
        working = [pool.submit(change, writer, number) for number, writer in writers]
        working.append(pool.submit(erase, other))
        for work in working:
            work.result(60)

    erased = {
        booking_of_stream(name): position
        for position, name, _, topic, _ in stored_events(connection)
        if topic == ERASED
    }
    assert set(erased) == set(rooms)
    for room, entries in read_histories(connection, event_mapper(database), rooms).items():
        assert [entry.erased for entry in entries] == [
            entry.position < erased[room] for entry in entries
        ]


def test_a_key_that_another_destroyed_seals_nothing_more(
    database: Database, connection: psycopg.Connection
) -> None:
    """The writer remembers the key; the erasure took a position, so it is told."""
    said = open_booking("room-12", reason="before").change
    with writing(database, ANY_CHANGE) as one, writing(database, ANY_CHANGE) as other:
        one.execute([RecordStatus("room-12", said)])
        other.execute([DecideOnPersonalData("room-12", ERASE)])
        one.execute([change_status("room-12", "confirmed", reason="after")])

    events = read_histories(connection, event_mapper(database), ["room-12"])["room-12"]
    assert [(one.erased, one.event.reason) for one in events] == [(True, None), (False, "after")]


def test_a_commit_that_is_refused_at_its_end_is_not_answered_as_recorded(
    database: Database, connection: psycopg.Connection
) -> None:
    """The database says first that it has inserted the event, and then that it does not commit."""
    connection.execute("""
        CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'never at night' USING ERRCODE = 'check_violation'; END $$;
        CREATE CONSTRAINT TRIGGER never AFTER INSERT ON ledger_events
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
            WHEN (NEW.originator_id = 'room-13') EXECUTE FUNCTION never();
    """)
    with writing(database) as writer:
        writer.execute([open_booking("room-12")])
        with pytest.raises(psycopg.errors.CheckViolation, match="never at night"):
            writer.execute([open_booking("room-13")])
        (answer,) = writer.execute([change_status("room-12", "confirmed")])

    assert answer.position == 2  # type: ignore[union-attr]
    assert histories(connection) == {"room-12": ["pending", "confirmed"]}


def test_a_database_that_refuses_for_want_of_space_has_recorded_nothing_and_says_so(
    database: Database, connection: psycopg.Connection
) -> None:
    """The server's own word is no doubt: as soon as there is space, the same is recorded."""
    connection.execute("""
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'no space left on device' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON ledger_events EXECUTE FUNCTION full_disk();
    """)
    with writing(database, reconnect_seconds=0.3) as writer:
        with pytest.raises(StoreUnavailable, match="Nothing was recorded"):
            writer.execute([open_booking("room-12")])
        connection.execute("DROP TRIGGER full_disk ON ledger_events")
        (answer,) = writer.execute([open_booking("room-12")])

    assert isinstance(answer, Outcome)
    assert (answer.kind, answer.position) == ("opened", 1)
