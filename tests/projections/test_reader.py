"""Histories straight from events: what is still all of a booking need not be read again."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
import pytest
import uvloop
from cutting_proxy import SHUTDOWN, CuttingProxy
from eventsourcing.persistence import MapperDeserialisationError
from loop_reader import LoopReader, reading
from scenes import change_status, open_booking, record

from ledger.commands import DecideOnPersonalData
from ledger.database import Database
from ledger.errors import BookingNotFound, Busy, StoreUnavailable
from ledger.personal_data import Decision
from ledger.steps import run as run_steps
from projections import opening, recent_changes
from projections import reader as reader_module
from projections.opening import Found, History, Reading
from projections.reader import HistoryReader
from projections.recent_changes import Mark, RecentChanges

PATIENCE_SECONDS = 20

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def reader(database: Database) -> Iterator[LoopReader]:
    with reading(database) as opened:
        yield opened


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """On the loop of the library, and on that of the service."""
    found: Run = request.param
    return found


@asynccontextmanager
async def connected(database: Database) -> AsyncIterator[HistoryReader]:
    """A reader that has been asked for room-12, so that the next question is asked by the loop."""
    opened = HistoryReader(database)
    try:
        await opened.read("room-12", statuses)
        yield opened
    finally:
        await opened.close()


@contextmanager
def nobody_can_read(connection: psycopg.Connection) -> Iterator[None]:
    """Who asks for events waits until the end."""
    with connection.transaction():
        connection.execute("LOCK TABLE ledger_events IN ACCESS EXCLUSIVE MODE")
        yield


def known(reader: LoopReader, booking_id: str) -> Reading[History]:
    """A reading from after which the reader knows what is appended."""
    reader.read(booking_id, Mark(-1, 0))
    return reader.read(booking_id)


def statuses(history: History) -> list[str]:
    return [one.event.to_status for one in history]


def chain_of(error: BaseException) -> Iterator[BaseException]:
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None:
            yield one
            waiting += [one.__cause__, one.__context__]


def found(reading: Reading[History]) -> list[str] | None:
    return None if reading.made is None else statuses(reading.made)


def test_what_was_seen_is_not_read_again_until_something_is_appended(
    database: Database, reader: LoopReader
) -> None:
    record(database, open_booking("room-12"), open_booking("room-13"))
    first = known(reader, "room-12")

    unchanged = reader.read("room-12", first.mark)
    record(database, change_status("room-13", "confirmed"))
    still = reader.read("room-12", unchanged.mark)
    record(database, change_status("room-12", "cancelled"))
    changed = reader.read("room-12", still.mark)

    assert found(first) == ["pending"]
    assert (unchanged.made, still.made) == (None, None)
    assert [one.mark.position for one in (unchanged, still, changed)] == [2, 3, 4]
    assert found(changed) == ["pending", "cancelled"]


def test_an_unknown_booking_is_found_once_it_is_opened(
    database: Database, reader: LoopReader
) -> None:
    with pytest.raises(BookingNotFound) as nobody:
        reader.read("room-12")
    record(database, open_booking("room-12"))

    assert nobody.value.booking_id == "room-12"
    assert found(reader.read("room-12")) == ["pending"]


def test_an_erasure_is_a_change_of_its_booking(database: Database, reader: LoopReader) -> None:
    record(database, open_booking("room-12", reason="in hospital"))
    before = known(reader, "room-12")
    erase = Decision(verdict="erase", reason="asked", decided_by=None, actor="system", source="cli")
    record(database, DecideOnPersonalData("room-12", erase))

    after = reader.read("room-12", before.mark)

    assert before.made is not None
    assert before.made[0].event.reason == "in hospital"
    assert after.made is not None
    assert (after.made[0].erased, after.made[0].event.reason) == (True, None)


def test_what_was_seen_before_the_reader_looked_is_read_again(
    database: Database, reader: LoopReader
) -> None:
    """Another process may have seen it, or this one before its connection was lost."""
    record(database, open_booking("room-12"), open_booking("room-13"))

    assert found(reader.read("room-12", Mark(-1, 2))) == ["pending"]


def test_a_lost_connection_ends_what_is_known(
    database: Database, reader: LoopReader, connection: psycopg.Connection
) -> None:
    """The next server may be a replica that lacks some of it."""
    record(database, open_booking("room-12"))
    first = known(reader, "room-12")
    assert reader.read("room-12", first.mark).made is None
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    assert found(reader.read("room-12", first.mark)) == ["pending"]


def test_more_than_is_worth_remembering_begins_anew(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that was appended is ever missed, whatever was forgotten in between."""
    monkeypatch.setattr(recent_changes, "CHANGES_MAX", 4)
    changes = RecentChanges()
    changes.prepare(connection)
    run_steps(connection, changes.catch_up())
    last: dict[str, int] = {}
    position = 0
    for step in (1, 2, 3, 2, 1, 9, 1, 3, 3, 3):
        names = [f"room-{position + offset}" for offset in range(1, step + 1)]
        record(database, *map(open_booking, names))
        for name in names:
            position += 1
            last[name] = position
        run_steps(connection, changes.catch_up())

        assert changes.head == position
        for name, at in last.items():
            assert changes.since(name, changes.mark._replace(position=at - 1)), (
                "it was appended to after that"
            )
            assert changes.since(name, None)
        assert len(changes._older) + len(changes._newer) <= 2 * 4 + 4
    assert not changes.since(names[-1], changes.mark)
    assert not changes.since("room-none", changes.mark)


def test_what_cannot_be_read_is_told_to_whoever_asks_for_it_and_to_nobody_else(
    database: Database, connection: psycopg.Connection, reader: LoopReader
) -> None:
    """As an event of a newer version of the ledger; and the reader goes on."""
    record(database, open_booking("room-12"), open_booking("room-13"))
    connection.execute(
        "INSERT INTO ledger_events SELECT 'room-14', 1, 'Booking.Moved', state, 3"
        " FROM ledger_events WHERE notification_id = 1"
    )
    reader.read("room-13")  # connected, the next ones are asked for together
    ours, newer = reader.read_together(["room-12", "room-14"])

    assert isinstance(newer, Exception)
    assert not any(isinstance(one, StopIteration) for one in chain_of(newer)), (
        "who logs it would log the rows of others"
    )
    assert isinstance(ours, Reading)
    assert found(ours) == ["pending"]
    assert found(reader.read("room-13")) == ["pending"]


def test_the_loop_goes_on_while_the_database_waits(
    run: Run, database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"))

    async def scene() -> None:
        async with connected(database) as reader:
            with nobody_can_read(connection):
                asked = asyncio.create_task(reader.read("room-12", statuses))
                for _ in range(20):
                    await asyncio.sleep(0.005)
                assert not asked.done()
            answer = await asyncio.wait_for(asked, PATIENCE_SECONDS)
            assert answer.made == ["pending"]

    run(scene())


def test_who_asks_together_for_the_same_gets_what_was_made_once(
    run: Run, database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"), open_booking("room-13"))
    made: list[list[str]] = []

    def make(history: History) -> str:
        made.append(statuses(history))
        return history[0].event.originator_id

    async def scene() -> None:
        async with connected(database) as reader:
            with nobody_can_read(connection):
                blocker = asyncio.create_task(reader.read("room-13", statuses))
                await asyncio.sleep(0)  # who comes now is in the next batch
                asked = [
                    asyncio.create_task(reader.read(one, make))
                    for one in ("room-12", "room-13", "room-12")
                ]
                await asyncio.sleep(0)
            answers = await asyncio.gather(*asked)
            assert [answer.made for answer in answers] == ["room-12", "room-13", "room-12"]
            await blocker

    run(scene())
    assert made == [["pending"]] * 2


def test_a_long_history_is_for_the_thread_and_short_ones_do_not_wait_for_it(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "ENTRIES_AT_ONCE", 2)
    record(database, open_booking("room-12"), open_booking("long"))
    record(database, change_status("long", "confirmed"), change_status("long", "in_progress"))
    go = threading.Event()

    def make(history: History) -> str:
        if len(history) > 2:
            assert go.wait(PATIENCE_SECONDS)
        return threading.current_thread().name

    async def scene() -> list[str | None]:
        async with connected(database) as reader:
            long = asyncio.create_task(reader.read("long", make))
            short = await asyncio.wait_for(reader.read("room-12", make), PATIENCE_SECONDS)
            assert not long.done()
            go.set()
            return [short.made, (await long).made]

    assert run(scene()) == [threading.current_thread().name, "long histories_0"]


def test_others_have_their_turn_between_many_histories(
    run: Run,
    database: Database,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "ENTRIES_AT_ONCE", 2)
    rooms = [f"room-{number}" for number in range(12, 18)]
    record(database, *map(open_booking, rooms))
    turns: list[str] = []

    def make(history: History) -> None:
        turns.append("made")
        asyncio.get_running_loop().call_soon(turns.append, "other")

    async def scene() -> None:
        async with connected(database) as reader:
            with nobody_can_read(connection):
                blocker = asyncio.create_task(reader.read("room-12", statuses))
                await asyncio.sleep(0)  # who comes now is in the next batch
                asked = [asyncio.create_task(reader.read(one, make)) for one in rooms]
                await asyncio.sleep(0)
            await asyncio.gather(blocker, *asked)

    run(scene())
    assert "".join(turn[0] for turn in turns).startswith("mmoommoomm")


@pytest.mark.parametrize("answer", [b"", SHUTDOWN], ids=["without a word", "saying why"])
def test_a_connection_that_is_reset_is_replaced(
    run: Run, database: Database, answer: bytes
) -> None:
    record(database, open_booking("room-12"))

    async def scene() -> None:
        with CuttingProxy(database) as proxy:
            async with connected(proxy.database) as reader:
                proxy.reset_next_request(answer)
                asked = reader.read("room-12", statuses)
                assert (await asyncio.wait_for(asked, PATIENCE_SECONDS)).made == ["pending"]
                assert proxy.has_cut.is_set()

    run(scene())


def test_without_a_database_everybody_is_told_and_it_goes_on_when_it_is_back(
    run: Run, database: Database
) -> None:
    record(database, open_booking("room-12"))

    async def scene() -> None:
        with CuttingProxy(database) as proxy:
            async with connected(proxy.database) as reader:
                proxy.cut_next_commit(reaches_server=False, stay_down=True, commit=b"room-12")
                asked = [reader.read("room-12", statuses) for _ in range(3)]
                answers = await asyncio.gather(*asked, return_exceptions=True)
                assert [type(one) for one in answers] == [StoreUnavailable] * 3
                proxy.come_back()
                assert (await reader.read("room-12", statuses)).made == ["pending"]

    run(scene())


def test_a_statement_that_fails_is_no_end_either(
    run: Run, database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(database, open_booking("room-12"))

    async def scene() -> None:
        async with connected(database) as reader:
            connection.execute("ALTER TABLE ledger_events RENAME TO elsewhere")
            with pytest.raises(StoreUnavailable, match="ledger_events"):
                await reader.read("room-12", statuses)
            connection.execute("ALTER TABLE elsewhere RENAME TO ledger_events")
            assert (await reader.read("room-12", statuses)).made == ["pending"]

    run(scene())


def test_who_gives_up_waiting_stops_nobody(
    run: Run, database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"), open_booking("room-13"))
    in_vain: list[History] = []

    async def scene() -> None:
        async with connected(database) as reader:
            with nobody_can_read(connection):
                alone, gone, other = (
                    asyncio.create_task(reader.read("room-12", statuses)) for _ in range(3)
                )
                nobody = asyncio.create_task(reader.read("room-13", in_vain.append))
                await asyncio.sleep(0.02)  # all but the first are one batch
                for task in (alone, gone, nobody):
                    task.cancel()
            answer = await asyncio.wait_for(other, PATIENCE_SECONDS)
            assert answer.made == ["pending"]
            for task in (alone, gone, nobody):
                with pytest.raises(asyncio.CancelledError):
                    await task

    run(scene())
    assert in_vain == []


def test_close_answers_what_was_asked_and_takes_no_more(
    run: Run, database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"))

    async def scene() -> None:
        async with connected(database) as reader:
            with nobody_can_read(connection):
                asked = [asyncio.create_task(reader.read("room-12", statuses)) for _ in range(5)]
                await asyncio.sleep(0.02)
                closing = asyncio.create_task(reader.close())
                await asyncio.sleep(0.02)
                with pytest.raises(Busy):
                    await reader.read("room-12", statuses)
            await asyncio.wait_for(closing, PATIENCE_SECONDS)
            assert [one.made for one in await asyncio.gather(*asked)] == [["pending"]] * 5

    run(scene())


def test_close_waits_for_what_the_thread_and_later_turns_of_the_loop_make(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "ENTRIES_AT_ONCE", 1)
    rooms = [f"room-{number}" for number in range(12, 18)]
    record(database, *map(open_booking, [*rooms, "long"]))
    record(database, change_status("long", "confirmed"))

    async def scene() -> None:
        async with connected(database) as reader:
            asked = [asyncio.create_task(reader.read(one, statuses)) for one in ("room-12", "long")]
            asked += [asyncio.create_task(reader.read(one, statuses)) for one in rooms]
            await asyncio.sleep(0)
            await reader.close()
            assert all(one.done() for one in asked)
            assert len([one.result() for one in asked]) == 8

    run(scene())


def test_nothing_of_a_history_stays_while_nobody_asks(
    run: Run, database: Database, connection: psycopg.Connection
) -> None:
    """It may be erased meanwhile."""
    record(database, open_booking("room-12", reason="in hospital"))
    connection.execute(
        "INSERT INTO ledger_events SELECT 'room-13', 1, 'Booking.Moved', state, 2"
        " FROM ledger_events"
    )
    kept: list[weakref.ref[Made]] = []

    def make(history: History) -> Made:
        made = Made(history)
        kept.append(weakref.ref(made))
        return made

    async def scene() -> None:
        async with connected(database) as reader:
            for _ in range(2):
                answer = await reader.read("room-12", make)
                assert answer.made is kept[-1]()
                del answer
            with pytest.raises(MapperDeserialisationError):
                await reader.read("room-13", make)
            await asyncio.sleep(0.01)
            gc.collect()
            assert [one() for one in kept] == [None, None]
            assert not any(isinstance(one, Found) for one in gc.get_objects()), "rows are kept"
            assert reader._watch is not None
            assert reader._watch._result is None

    run(scene())


class Made:
    def __init__(self, history: History) -> None:
        self.history = history


def test_more_long_histories_than_memory_is_meant_for_are_refused_and_none_is_opened_in_vain(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "ENTRIES_AT_ONCE", 1)
    monkeypatch.setattr(opening, "LONG_BYTES_MAX", 500)
    rooms = ["room-12", "room-13", "room-14"]
    record(database, *map(open_booking, rooms))
    record(database, *(change_status(one, "confirmed") for one in rooms))
    go = threading.Event()
    made: list[str] = []

    def make(history: History) -> str:
        assert go.wait(PATIENCE_SECONDS)
        made.append(history[0].event.originator_id)
        return made[-1]

    async def scene() -> None:
        async with connected(database) as reader:
            first, second = (asyncio.create_task(reader.read(one, make)) for one in rooms[:2])
            await asyncio.sleep(0)
            with pytest.raises(Busy, match="long histories"):
                await reader.read("room-14", make)
            second.cancel()
            go.set()
            assert (await first).made == "room-12"
            await asyncio.wait([second])
            assert (await reader.read("room-14", make)).made == "room-14"

    run(scene())
    assert made == ["room-12", "room-14"]


def test_many_rows_are_sorted_beside_the_loop(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "ROWS_AT_ONCE", 1)
    record(database, open_booking("room-12"), change_status("room-12", "confirmed"))
    threads: list[str] = []
    sort = reader_module._sorted

    def sorted_(*found: Any) -> Any:
        threads.append(threading.current_thread().name)
        return sort(*found)

    monkeypatch.setattr(reader_module, "_sorted", sorted_)

    async def scene() -> None:
        async with connected(database) as reader:
            for name in ("room-12", "room-12"):
                assert (await reader.read(name, statuses)).made == ["pending", "confirmed"]
            with pytest.raises(BookingNotFound):
                await reader.read("room-13", statuses)

    run(scene())
    assert threads == ["history reader_0"] * 3 + [threading.current_thread().name]
