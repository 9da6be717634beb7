"""Erasure and legal hold: what the writer decides and stores."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from scenes import ANY_CHANGE, change_status, open_booking, record, stored_events, writing

from ledger.commands import Answer, DecideOnPersonalData, Outcome
from ledger.database import Database
from ledger.errors import BookingNotFound, PersonalDataHeld
from ledger.personal_data import Decision, Verdict, stream_of
from ledger.plan import Idempotency
from ledger.transcoder import event_mapper
from projections.audit import audit
from projections.catch_up import catch_up
from projections.feed import read_histories

SAID: dict[str, Any] = {
    "changed_by": "Zoë",
    "reason": "the guest is ill",
    "metadata": {"phone": "12345"},
}


def decide(verdict: Verdict, booking_id: str = "room-12") -> DecideOnPersonalData:
    decision = Decision(
        verdict=verdict, reason="request 1", decided_by=None, actor="api-key", source="key:dpo"
    )
    return DecideOnPersonalData(booking_id, decision)


def decided(database: Database, verdict: Verdict, booking_id: str = "room-12") -> Answer:
    with writing(database) as writer:
        return writer.execute([decide(verdict, booking_id)])[0]


def kinds(database: Database, *verdicts: Verdict) -> list[str]:
    answers = [decided(database, verdict) for verdict in verdicts]
    return [one.kind if isinstance(one, Outcome) else type(one).__name__ for one in answers]


def said(database: Database, booking_id: str = "room-12") -> list[tuple[Any, bool]]:
    with database.connect() as connection:
        found = read_histories(connection, event_mapper(database), [booking_id])[booking_id]
    return [(one.event.reason, one.erased) for one in found]


def keys(connection: psycopg.Connection) -> list[str]:
    return [one for (one,) in connection.execute("SELECT booking_id FROM booking_key ORDER BY 1")]


def test_an_erasure_destroys_the_key_and_is_recorded_itself(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12", **SAID), open_booking("room-13", **SAID))
    before = stored_events(connection)

    outcome = decided(database, "erase")

    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.version, outcome.position) == ("changed", 1, 3)
    assert keys(connection) == ["room-13"]
    assert said(database) == [(None, True)]
    assert said(database, "room-13") == [("the guest is ill", False)]
    (*events, (position, stream, version, topic, state)) = stored_events(connection)
    assert events == before
    assert (position, stream, version) == (3, stream_of("room-12"), 1)
    assert topic == "PersonalData.Erased"
    assert (state["reason"], state["source"]) == ("request 1", "key:dpo")


def test_where_nothing_is_left_to_erase_nothing_is_recorded(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12"), open_booking("room-13", **SAID))

    assert kinds(database, "erase") == ["unchanged"]
    assert decided(database, "erase", "room-13").kind == "changed"  # type: ignore[union-attr]
    assert decided(database, "erase", "room-13").kind == "unchanged"  # type: ignore[union-attr]
    assert len(stored_events(connection)) == 3


def test_a_hold_refuses_erasure_until_it_is_released(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12", **SAID))

    found = kinds(database, "hold", "hold", "erase", "release", "release", "erase", "hold")

    assert found == [
        *("changed", "unchanged", "PersonalDataHeld", "changed", "unchanged", "changed", "changed"),
    ]
    assert said(database) == [(None, True)]
    topics = [topic for _, stream, _, topic, _ in stored_events(connection) if "\x1e" in stream]
    assert [topic.removeprefix("PersonalData.") for topic in topics] == [
        *("HoldPlaced", "HoldReleased", "Erased", "HoldPlaced"),
    ]


def test_a_hold_is_known_within_the_transaction_that_places_it(database: Database) -> None:
    record(database, open_booking("room-12", **SAID))
    with writing(database) as writer:
        held, refused = writer.execute([decide("hold"), decide("erase")])

    assert isinstance(held, Outcome)
    assert isinstance(refused, PersonalDataHeld)
    assert said(database) == [("the guest is ill", False)]


@pytest.mark.parametrize("verdict", ["erase", "hold", "release"])
def test_an_unknown_booking_is_not_found(
    database: Database, connection: psycopg.Connection, verdict: Verdict
) -> None:
    assert isinstance(decided(database, verdict, "nobody"), BookingNotFound)
    assert stored_events(connection) == []


def test_what_is_said_after_an_erasure_is_sealed_under_a_new_key(
    database: Database, connection: psycopg.Connection
) -> None:
    later = change_status("room-12", "cancelled", reason="asked again")
    with writing(database) as writer:
        writer.execute([open_booking("room-12", **SAID)])
        writer.execute([change_status("room-12", "confirmed", **SAID), decide("erase"), later])

    assert said(database) == [(None, True), (None, True), ("asked again", False)]
    assert keys(connection) == ["room-12"]
    catch_up(database)
    assert audit(database).findings == ()


def test_in_one_transaction_with_the_first_event_too(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12", **SAID), decide("erase"))

    assert said(database) == [(None, True)]
    assert keys(connection) == []


def test_the_same_idempotency_key_erases_once(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12", **SAID))
    key = Idempotency("dpo", "k", b"same")
    with writing(database) as writer:
        first = writer.execute([decide("erase")], key)
        writer.execute([change_status("room-12", "confirmed", **SAID)])
        again = writer.execute([decide("erase")], key)

    assert first == again
    assert said(database)[1] == ("the guest is ill", False)
    assert len(stored_events(connection)) == 3


def test_two_writers_and_many_callers_leave_nothing_readable_that_was_erased(
    database: Database,
) -> None:
    """Writers keep bookings in memory; a key that another has destroyed must not come back."""
    statuses = ("confirmed", "cancelled", "pending", "in_progress")
    record(database, open_booking("room-12", **SAID))
    with (
        writing(database, ANY_CHANGE) as one,
        writing(database, ANY_CHANGE) as two,
        ThreadPoolExecutor(8) as pool,
    ):

        def work(number: int) -> None:
            for step in range(15):
                writer = (one, two)[(number + step) % 2]
                status = statuses[(number + step) % 4]
                writer.execute([change_status("room-12", status, **SAID)])
                if (number + step) % 5 == 0:
                    writer.execute([decide("erase")])

        list(pool.map(work, range(8)))

    catch_up(database)
    assert audit(database).findings == ()
    readable = [erased for _, erased in said(database)]
    assert readable == sorted(readable, reverse=True)
    assert decided(database, "erase").kind in ("changed", "unchanged")  # type: ignore[union-attr]
    assert all(erased for _, erased in said(database))


def test_a_writer_that_knows_a_key_does_not_use_it_after_another_has_erased(
    database: Database, connection: psycopg.Connection
) -> None:
    with writing(database) as one, writing(database) as two:
        one.execute([open_booking("room-12", **SAID), open_booking("room-13", **SAID)])
        one.execute([change_status("room-12", "confirmed", **SAID)])
        two.execute([decide("erase")])
        one.execute([change_status("room-13", "confirmed", **SAID)])  # it looks at another one
        one.execute([change_status("room-12", "cancelled", reason="new")])
        one.execute([decide("erase")])
        one.execute([change_status("room-13", "cancelled", **SAID)])

    assert said(database) == [(None, True)] * 3
    assert [erased for _, erased in said(database, "room-13")] == [False] * 3
    assert keys(connection) == ["room-13"]
    catch_up(database)
    assert audit(database).findings == ()


def test_on_a_server_that_lacks_the_newest_events_nothing_is_taken_for_known(
    database: Database, connection: psycopg.Connection
) -> None:
    """As after a failover to a replica that was behind, which has caught up by other events."""
    with writing(database) as one:
        one.execute([open_booking("room-12")])
        one.execute([change_status("room-12", "confirmed", **SAID)])
        connection.execute("ALTER TABLE ledger_events DISABLE TRIGGER ALL")
        connection.execute("DELETE FROM ledger_events WHERE originator_version = 2")
        connection.execute("DELETE FROM booking_key")
        connection.execute("ALTER TABLE ledger_events ENABLE TRIGGER ALL")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        record(database, open_booking("room-13"))
        one.execute([change_status("room-12", "cancelled", **SAID)])

    assert said(database) == [(None, False), ("the guest is ill", False)]
    assert keys(connection) == ["room-12"]
    catch_up(database)
    assert audit(database).findings == ()
