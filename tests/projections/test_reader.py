"""Histories straight from events: what is still all of a booking need not be read again."""

from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial

import psycopg
import pytest
from scenes import change_status, open_booking, record

from ledger.commands import DecideOnPersonalData
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.personal_data import Decision
from projections import recent_changes
from projections.reader import HistoryReader, Question, Reading
from projections.recent_changes import Mark, RecentChanges


@pytest.fixture
def reader(database: Database) -> Iterator[HistoryReader]:
    opened = HistoryReader(database)
    yield opened
    opened.close()


def read(reader: HistoryReader, booking_id: str, seen: Mark | None = None) -> Reading:
    future: Future[Reading | LedgerError] = Future()
    reader.submit(booking_id, future.set_result, seen)
    found = future.result(20)
    assert isinstance(found, Reading)
    return found


def known(reader: HistoryReader, booking_id: str) -> Reading:
    """A reading from after which the reader knows what is appended."""
    read(reader, booking_id, Mark(-1, 0))
    return read(reader, booking_id)


def statuses(reading: Reading) -> list[str] | None:
    if reading.history is None:
        return None
    return [one.event.to_status for one in reading.history]


def test_what_was_seen_is_not_read_again_until_something_is_appended(
    database: Database, reader: HistoryReader
) -> None:
    record(database, open_booking("room-12"), open_booking("room-13"))
    first = known(reader, "room-12")

    unchanged = read(reader, "room-12", first.mark)
    record(database, change_status("room-13", "confirmed"))
    still = read(reader, "room-12", unchanged.mark)
    record(database, change_status("room-12", "cancelled"))
    changed = read(reader, "room-12", still.mark)

    assert statuses(first) == ["pending"]
    assert (unchanged.history, still.history) == (None, None)
    assert [one.mark.position for one in (unchanged, still, changed)] == [2, 3, 4]
    assert statuses(changed) == ["pending", "cancelled"]


def test_an_unknown_booking_has_no_events_and_is_found_once_it_is_opened(
    database: Database, reader: HistoryReader
) -> None:
    nobody = known(reader, "room-12")
    still = read(reader, "room-12", nobody.mark)
    record(database, open_booking("room-12"))

    assert statuses(nobody) == []
    assert still.history is None
    assert statuses(read(reader, "room-12", still.mark)) == ["pending"]


def test_an_erasure_is_a_change_of_its_booking(database: Database, reader: HistoryReader) -> None:
    record(database, open_booking("room-12", reason="in hospital"))
    before = known(reader, "room-12")
    erase = Decision(verdict="erase", reason="asked", decided_by=None, actor="system", source="cli")
    record(database, DecideOnPersonalData("room-12", erase))

    after = read(reader, "room-12", before.mark)

    assert before.history is not None
    assert before.history[0].event.reason == "in hospital"
    assert after.history is not None
    assert (after.history[0].erased, after.history[0].event.reason) == (True, None)


def test_what_was_seen_before_the_reader_looked_is_read_again(
    database: Database, reader: HistoryReader
) -> None:
    """Another process may have seen it, or this one before its connection was lost."""
    record(database, open_booking("room-12"), open_booking("room-13"))

    assert statuses(read(reader, "room-12", Mark(-1, 2))) == ["pending"]


def test_a_lost_connection_ends_what_is_known(
    database: Database, reader: HistoryReader, connection: psycopg.Connection
) -> None:
    """The next server may be a replica that lacks some of it."""
    record(database, open_booking("room-12"))
    first = known(reader, "room-12")
    assert read(reader, "room-12", first.mark).history is None
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    assert statuses(read(reader, "room-12", first.mark)) == ["pending"]


def test_more_than_is_worth_remembering_begins_anew(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that was appended is ever missed, whatever was forgotten in between."""
    monkeypatch.setattr(recent_changes, "CHANGES_MAX", 4)
    changes = RecentChanges()
    changes.catch_up(connection)
    last: dict[str, int] = {}
    position = 0
    for step in (1, 2, 3, 2, 1, 9, 1, 3, 3, 3):
        names = [f"room-{position + offset}" for offset in range(1, step + 1)]
        record(database, *map(open_booking, names))
        for name in names:
            position += 1
            last[name] = position
        changes.catch_up(connection)

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
    database: Database, connection: psycopg.Connection, reader: HistoryReader
) -> None:
    """As an event of a newer version of the ledger; and the reader goes on."""
    record(database, open_booking("room-12"), open_booking("room-13"))
    connection.execute(
        "INSERT INTO ledger_events SELECT 'room-14', 1, 'Booking.Moved', state, 3"
        " FROM ledger_events WHERE notification_id = 1"
    )
    found: dict[str, Reading | Exception] = {}
    asked = [Question(name, partial(found.__setitem__, name)) for name in ("room-12", "room-14")]

    reader._answer(asked)

    assert isinstance(found["room-14"], Exception)
    assert isinstance(found["room-12"], Reading)
    assert statuses(found["room-12"]) == ["pending"]
    assert statuses(read(reader, "room-13")) == ["pending"]
