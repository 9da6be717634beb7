"""After an erasure: read model, rebuild, audit, log, evidence, and what the database still has."""

import base64
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from loop_reader import reading
from psycopg import sql
from scenes import change_status, folded_tables, live_tables, open_booking, record, writing

from ledger.commands import DecideOnPersonalData
from ledger.database import Database
from ledger.master_key import MasterKey
from ledger.personal_data import Decision
from ledger.plan import Idempotency
from ledger.sealing import SealBroken
from ledger.transcoder import event_mapper
from projections import tables
from projections.audit import audit
from projections.catch_up import catch_up
from projections.evidence.gather import gather_evidence
from projections.evidence.verify_evidence import render, verify
from projections.log.projector import catch_up_log
from projections.log.reading import prove_inclusion, read_entry
from projections.opening import Reading
from projections.rebuild import _Build, rebuild

ORIGIN = "ledger.example/erased"
TELLTALE = ("Zoë Quackenbush", "gallbladder", "0170-5551234")
SAID: dict[str, Any] = {
    "changed_by": TELLTALE[0],
    "reason": f"has to go to hospital: {TELLTALE[1]}",
    "metadata": {"phone": TELLTALE[2]},
}


def erase(booking_id: str) -> DecideOnPersonalData:
    decision = Decision(
        verdict="erase", reason="request 7", decided_by=None, actor="system", source="test"
    )
    return DecideOnPersonalData(booking_id, decision)


def fill(database: Database) -> None:
    record(
        database,
        open_booking("room-12", **SAID),
        open_booking("room-13", changed_by="anna"),
        change_status("room-12", "confirmed"),
        change_status("room-12", "cancelled", **SAID),
    )


def personal(connection: psycopg.Connection, suffix: str = "") -> list[tuple[Any, ...]]:
    return connection.execute(
        'SELECT "bookingId", version, "changedBy", reason, metadata, erased '
        f'FROM "BookingStatusHistory{suffix}" ORDER BY 1, 2'
    ).fetchall()


EXPECTED = [
    ("room-12", 1, None, None, None, True),
    ("room-12", 2, None, None, None, False),
    ("room-12", 3, None, None, None, True),
    ("room-13", 1, "anna", None, None, False),
]


@pytest.mark.parametrize("projected_before", [True, False])
def test_rows_lose_what_was_erased_and_a_rebuild_gives_the_same(
    database: Database, connection: psycopg.Connection, projected_before: bool
) -> None:
    fill(database)
    if projected_before:
        catch_up(database)
        assert personal(connection)[0][2] == TELLTALE[0]
    record(database, erase("room-12"))
    catch_up(database)

    live = live_tables(connection)
    assert personal(connection) == EXPECTED
    assert live == folded_tables(connection)
    rebuild(database)
    assert live_tables(connection) == live


def test_what_is_erased_while_a_rebuild_runs_is_erased_in_it_too(
    database: Database, connection: psycopg.Connection
) -> None:

    fill(database)
    tables.create(connection, tables.REBUILD)
    build = _Build(connection, database)
    build.catch_up()
    assert personal(connection, "_rebuild")[0][2] == TELLTALE[0]
    record(database, erase("room-12"))
    build.catch_up()

    assert personal(connection, "_rebuild") == EXPECTED


@pytest.mark.parametrize("behind", [True, False])
def test_an_erased_ledger_is_sound(database: Database, behind: bool) -> None:
    fill(database)
    catch_up(database)
    catch_up_log(database, MasterKey(b"m" * 32), ORIGIN)
    record(database, erase("room-12"))
    if not behind:
        catch_up(database)
        catch_up_log(database, MasterKey(b"m" * 32), ORIGIN)

    assert audit(database).findings == ()


def _lose_the_key(connection: psycopg.Connection) -> None:
    connection.execute("DELETE FROM booking_key WHERE booking_id = 'room-13'")


def _put_the_key_back(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO booking_key SELECT * FROM kept WHERE booking_id = 'room-12'")


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (_lose_the_key, {("key_missing", "room-13", 1)}),
        (
            _put_the_key_back,
            {
                *(("not_erased", "room-12", 1), ("not_erased", "room-12", 3)),
                *(("different_value", "room-12", 1), ("different_value", "room-12", 3)),
            },
        ),
    ],
)
def test_a_key_that_went_or_came_back_is_found(
    database: Database,
    connection: psycopg.Connection,
    tamper: Callable[[psycopg.Connection], None],
    expected: set[tuple[str, str, int]],
) -> None:
    fill(database)
    connection.execute("CREATE TABLE kept AS TABLE booking_key")
    record(database, erase("room-12"))
    catch_up(database)
    tamper(connection)

    found = {(one.kind, one.booking_id, one.version) for one in audit(database).findings}
    assert found >= expected
    assert {kind for kind, *_ in found} == {kind for kind, *_ in expected}


def test_proofs_and_evidence_hold_as_before_and_new_evidence_names_nobody(
    database: Database, connection: psycopg.Connection
) -> None:
    fill(database)
    master_key, mapper = MasterKey(b"m" * 32), event_mapper(database)
    catch_up_log(database, master_key, ORIGIN)
    before = render(gather_evidence(connection, mapper, "room-12"))
    proof, entry = prove_inclusion(connection, 1, 4), read_entry(connection, 1)
    assert TELLTALE[1] in before

    record(database, erase("room-12"))
    catch_up_log(database, master_key, ORIGIN)
    evidence = gather_evidence(connection, mapper, "room-12")
    after = render(evidence)

    assert verify(before, evidence["vkey"])["events"][0]["personal"]["reason"] == SAID["reason"]
    assert prove_inclusion(connection, 1, 4) == proof
    assert read_entry(connection, 1) == entry
    found = verify(after, evidence["vkey"])
    assert [event["personal"] for event in found["events"]] == [None, {}, None]
    assert [event["data"]["to_status"] for event in found["events"]] == [
        *("pending", "confirmed", "cancelled"),
    ]
    assert "it was erased, or is kept back" in after
    assert not any(word in after for word in TELLTALE)


def test_no_row_of_the_database_says_what_was_erased(
    database: Database, connection: psycopg.Connection
) -> None:
    with writing(database) as writer:
        writer.execute([open_booking("room-12", **SAID)], Idempotency("desk", "k", b"hash"))
    catch_up(database)
    assert set(_traces(connection)) == {"BookingStatusHistory"}

    record(database, erase("room-12"))
    catch_up(database)

    assert _traces(connection) == []


def _traces(connection: psycopg.Connection) -> list[str]:
    """Tables that hold a telltale: as text, in hexadecimal or in base64 at any alignment."""
    words = [form for word in TELLTALE for form in _forms(word)]
    names = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'm') "
        "AND relnamespace = current_schema()::regnamespace"
    ).fetchall()
    assert len(names) > 12
    found = []
    for (name,) in names:
        statement = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name))
        with connection.cursor().copy(statement) as copy:
            content = b"".join(bytes(part) for part in copy)
        if any(word in content for word in words):
            found.append(name)
    return found


def _forms(word: str) -> list[bytes]:
    plain = word.encode()
    encoded = [base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)]
    return [plain, plain.hex().encode(), word.encode("unicode_escape"), *encoded]


def test_who_asks_for_a_booking_beside_an_altered_one_gets_it(
    database: Database, connection: psycopg.Connection
) -> None:
    fill(database)
    connection.execute("ALTER TABLE ledger_events DISABLE TRIGGER ALL")
    connection.execute(
        "UPDATE ledger_events SET state = convert_to(replace(convert_from(state, 'UTF8'), "
        """'"}', 'A"}'), 'UTF8') WHERE originator_id = 'room-12' AND originator_version = 3"""
    )
    with reading(database) as reader:
        reader.read("room-13")  # connected, the next ones are asked for together
        altered, other = reader.read_together(["room-12", "room-13"])

    assert isinstance(altered, SealBroken)
    assert isinstance(other, Reading)
    assert other.made is not None
    assert [one.event.changed_by for one in other.made] == ["anna"]
