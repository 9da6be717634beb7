"""What is particular to the writer of an event loop: the loop never waits for the database.

What it has in common with the other writer is in test_writer.py.
"""

import asyncio
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import uvloop
from cutting_proxy import SHUTDOWN, CuttingProxy
from scenes import (
    ERASE,
    append_lock_held,
    change_status,
    histories,
    no_garbage_collector,
    open_booking,
    record,
)

from ledger.async_writer import AsyncWriter
from ledger.commands import DecideOnPersonalData, Outcome
from ledger.database import Database
from ledger.errors import Busy, IdempotencyKeyReused
from ledger.limits import METADATA_BYTES_MAX
from ledger.plan import Idempotency
from ledger.workflow import DEFAULT

PATIENCE_SECONDS = 20
KEY = Idempotency("front desk", "key-1", b"a request")


Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """On the loop of the library, and on that of the service."""
    found: Run = request.param
    return found


@asynccontextmanager
async def writing(database: Database) -> AsyncIterator[AsyncWriter]:
    """A writer that is connected, so that the next request goes ahead of the lock."""
    writer = AsyncWriter(database, DEFAULT)
    try:
        await writer.record([open_booking("room-12")])
        yield writer
    finally:
        await writer.close()


def test_the_loop_goes_on_while_the_database_waits(
    run: Run, database: Database, connection: psycopg.Connection
) -> None:
    async def scene() -> Any:
        async with writing(database) as writer:
            with append_lock_held(database, connection):
                changing = asyncio.create_task(
                    writer.record([change_status("room-12", "confirmed")])
                )
                for _ in range(20):
                    await asyncio.sleep(0.005)
                assert not changing.done()
            return await asyncio.wait_for(changing, PATIENCE_SECONDS)

    (changed,) = run(scene())
    assert changed.position == 2


def test_who_is_alone_uses_no_thread(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with writing(database) as writer:
            monkeypatch.setattr(writer._recorder, "record", None)  # what the thread calls
            await writer.record([change_status("room-12", "confirmed")])
            await writer.record([open_booking("room-13")])
            monkeypatch.undo()

    run(scene())


def test_what_does_not_fit_into_the_socket_is_sent_as_there_is_room(
    run: Run,
    database: Database,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metadata = {"note": "x" * (METADATA_BYTES_MAX - 20)}
    rooms = [f"room-1{number:02}" for number in range(90)]

    async def scene() -> list[Any]:
        async with writing(database) as writer:
            watch, waited = writer._watch, []
            assert watch is not None
            writable = watch._writable

            def counted() -> None:
                waited.append(True)
                writable()

            monkeypatch.setattr(watch, "_writable", counted)
            answers = await writer.record([open_booking(room, metadata=metadata) for room in rooms])
            assert waited, "nothing was sent later: this is too small"
            return answers

    answers = run(scene())
    assert [answer.position for answer in answers] == list(range(2, 92))
    assert set(histories(connection)) == {"room-12", *rooms}


def test_a_connection_that_ends_while_nobody_asks_is_let_go_of_at_once(
    run: Run, database: Database, connection: psycopg.Connection
) -> None:
    async def scene() -> None:
        async with writing(database) as writer:
            own = writer._recorder.connection
            assert own is not None
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", (own.info.backend_pid,))
            await until(lambda: own.closed)
            (changed,) = await writer.record([change_status("room-12", "confirmed")])
            assert isinstance(changed, Outcome)

    run(scene())
    assert histories(connection) == {"room-12": ["pending", "confirmed"]}


def test_a_writer_that_has_nothing_to_record_forgets_keys_that_others_may_have_destroyed(
    run: Run, database: Database
) -> None:
    async def scene() -> None:
        async with writing(database) as writer:
            kept = writer._recorder._transaction._memory
            await writer.record([change_status("room-12", "confirmed", reason="paid")])
            erasing = DecideOnPersonalData("room-12", ERASE)
            await asyncio.to_thread(record, database, erasing)
            writer.forget_keys(idle_seconds=60)
            assert kept.has_all(["room-12"]), "it is not idle yet"
            writer.forget_keys(idle_seconds=0)
            assert not kept.has_all(["room-12"])
            (entered,) = await writer.record([change_status("room-12", "in_progress", reason="in")])
            assert isinstance(entered, Outcome)
            assert (entered.version, entered.position) == (3, 4)
            assert kept.has_all(["room-12"])

    run(scene())


def test_what_was_recorded_does_not_stay_with_the_writer(run: Run, database: Database) -> None:
    many = [open_booking(f"room-1{number:03}", reason="paid") for number in range(150)]

    async def scene() -> None:
        async with writing(database) as writer:
            await writer.record(many)  # by the thread, under the lock
            assert writer._recorder._under_way is None
            await writer.record([change_status("room-12", "confirmed", reason="paid")])
            assert writer._recorder._under_way is None

    run(scene())


def test_an_error_leaves_nothing_in_memory_that_only_a_collector_would_find(
    run: Run, database: Database
) -> None:
    async def scene() -> "weakref.ref[Exception]":
        async with writing(database) as writer:
            await writer.record([change_status("room-12", "confirmed")], KEY)
            other = replace(KEY, request_hmac=b"another request")
            with pytest.raises(IdempotencyKeyReused) as caught:
                await writer.record([change_status("room-12", "cancelled")], other)
            error = weakref.ref(caught.value)
            del caught
            return error

    with no_garbage_collector():
        assert run(scene())() is None


def test_a_connection_that_is_lost_leaves_nothing_either(
    run: Run, database: Database, connection: psycopg.Connection
) -> None:
    class Told(str):
        """A text that can be referred to weakly."""

    async def scene() -> "weakref.ref[Told]":
        told = Told("the guest is ill")
        async with writing(database) as writer:
            with append_lock_held(database, connection):
                asked = asyncio.create_task(
                    writer.record([change_status("room-12", "confirmed", reason=told)])
                )
                await asyncio.sleep(0.05)
                assert writer._recorder.connection is not None
                pid = writer._recorder.connection.info.backend_pid
                connection.execute("SELECT pg_terminate_backend(%s, 1000)", (pid,))
                await asyncio.sleep(0.05)
            await asyncio.wait_for(asked, PATIENCE_SECONDS)
            return weakref.ref(told)

    with no_garbage_collector():
        assert run(scene())() is None


def test_a_writer_that_is_at_it_keeps_the_keys_that_it_works_with(
    run: Run, database: Database, connection: psycopg.Connection
) -> None:
    async def scene() -> None:
        async with writing(database) as writer:
            kept = writer._recorder._transaction._memory
            with append_lock_held(database, connection):
                changing = asyncio.create_task(
                    writer.record([change_status("room-12", "confirmed")])
                )
                await asyncio.sleep(0)
                writer.forget_keys(idle_seconds=0)
                assert kept.has_all(["room-12"])
            await changing

    run(scene())


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("answer", [b"", SHUTDOWN], ids=["without a word", "saying why"])
def test_a_connection_that_is_reset_is_replaced(
    run: Run, database: Database, connection: psycopg.Connection, busy: bool, answer: bytes
) -> None:
    """While the loop does something else, the last words and the reset come together."""

    async def scene() -> None:
        with CuttingProxy(database) as proxy:
            async with writing(proxy.database) as writer:
                proxy.reset_next_request(answer)
                asked = asyncio.create_task(writer.record([change_status("room-12", "confirmed")]))
                await asyncio.sleep(0)
                if busy:
                    time.sleep(0.05)  # noqa: ASYNC251  # as when it decides, or looks for garbage
                (changed,) = await asyncio.wait_for(asked, PATIENCE_SECONDS)
                assert isinstance(changed, Outcome)
                assert proxy.has_cut.is_set()

    run(scene())
    assert histories(connection) == {"room-12": ["pending", "confirmed"]}


def test_who_gives_up_waiting_takes_nothing_back_and_stops_nobody(
    run: Run, database: Database, connection: psycopg.Connection
) -> None:
    async def scene() -> None:
        async with writing(database) as writer:
            with append_lock_held(database, connection):
                first = asyncio.create_task(writer.record([change_status("room-12", "confirmed")]))
                second = asyncio.create_task(writer.record([open_booking("room-13")]))
                await asyncio.sleep(0.02)
                first.cancel()
            await asyncio.wait_for(second, PATIENCE_SECONDS)
            with pytest.raises(asyncio.CancelledError):
                await first

    run(scene())
    assert histories(connection) == {"room-12": ["pending", "confirmed"], "room-13": ["pending"]}


def test_close_records_what_waits_and_takes_no_more(
    run: Run, database: Database, connection: psycopg.Connection
) -> None:
    async def scene() -> None:
        async with writing(database) as writer:
            with append_lock_held(database, connection):
                asked: list[Awaitable[Any]] = [
                    asyncio.create_task(writer.record([open_booking(f"room-2{number}")]))
                    for number in range(5)
                ]
                await asyncio.sleep(0.02)
                closing = asyncio.create_task(writer.close())
                await asyncio.sleep(0.02)
                with pytest.raises(Busy):
                    await writer.record([open_booking("room-13")])
            await asyncio.wait_for(closing, PATIENCE_SECONDS)
            assert len(await asyncio.gather(*asked)) == 5

    run(scene())
    assert len(histories(connection)) == 6


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.002)
