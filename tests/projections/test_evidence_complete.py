"""Evidence says up to when its changes are all that there are, and cannot say more."""

import copy
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from evidence_scenes import evidence_of_a_story, flipped
from log_scenes import ORIGIN, log_all, logging_on, open_many
from scenes import ANY_CHANGE, change_status, eventually, open_booking, record, writing

from ledger.commands import DecideOnPersonalData
from ledger.database import Database
from ledger.personal_data import Decision
from ledger.transcoder import event_mapper
from projections.evidence import verify_evidence as program
from projections.evidence.gather import gather_evidence
from projections.evidence.verify_evidence import NotSound, render, verify
from projections.log.notes import Signer, sign_note
from projections.log.reading import LogBehind

HOLD = Decision(
    verdict="hold", reason="dispute", decided_by="anna", actor="api-key", source="tests"
)


@pytest.fixture
def evidence(database: Database, connection: psycopg.Connection) -> dict[str, Any]:
    return evidence_of_a_story(database, connection)


def test_it_says_up_to_when_these_are_all_changes(evidence: dict[str, Any]) -> None:
    found = verify(render(evidence))

    as_of = datetime.fromisoformat(found["checkpoint"]["asOf"])
    recorded = datetime.fromisoformat(found["events"][-1]["data"]["timestamp"])
    assert found["complete"]
    assert as_of > recorded - timedelta(milliseconds=1)
    page, said = render(evidence), program.summary(found)
    extent = (
        "These are all changes of the booking up to position 6 of the ledger, and so all that it "
        f"had recorded at {found['checkpoint']['asOf']} by its own clock."
    )
    assert extent in page
    assert extent in said


def test_it_is_of_the_newest_checkpoint_even_when_nothing_of_the_booking_is_new(
    database: Database, connection: psycopg.Connection, evidence: dict[str, Any]
) -> None:
    record(database, open_booking("later"))
    log_all(database)

    newer = gather_evidence(connection, event_mapper(database), "room-12")

    found = verify(render(newer), evidence["vkey"])
    assert (found["complete"], found["checkpoint"]["size"], len(found["events"])) == (True, 7, 3)


def test_what_was_all_before_the_newest_change_does_not_pass_for_all_after_it(
    database: Database, connection: psycopg.Connection, evidence: dict[str, Any]
) -> None:
    record(database, change_status("room-12", "completed"))
    log_all(database)
    newer = gather_evidence(connection, event_mapper(database), "room-12")
    assert verify(render(newer))["complete"]
    held_back = {**newer, "events": newer["events"][:-1]}

    with pytest.raises(NotSound, match="has a later event"):
        verify(render(held_back))
    with pytest.raises(NotSound, match="not that of the checkpoint"):
        verify(render({**held_back, "latest": evidence["latest"]}))
    with pytest.raises(NotSound):
        verify(render({**held_back, "checkpoint": evidence["checkpoint"]}))
    # The file made before still says what was so then, and up to when.
    assert verify(render(evidence))["checkpoint"]["size"] == 6


def test_it_holds_while_the_booking_goes_on_changing(
    database: Database, connection: psycopg.Connection
) -> None:
    """Events, checkpoint and page are of one moment."""
    record(database, open_booking("room-12"))
    mapper, sizes, seen_enough = event_mapper(database), set(), threading.Event()
    with (
        logging_on(database),
        writing(database, ANY_CHANGE) as writer,
        ThreadPoolExecutor(1) as pool,
    ):

        def work() -> None:
            for status in itertools.cycle(("confirmed", "pending")):
                writer.execute([change_status("room-12", status)])
                if seen_enough.is_set():
                    return

        changing = pool.submit(work)

        def seen() -> bool:
            found = verify(render(gather_evidence(connection, mapper, "room-12")))
            assert found["complete"]
            assert found["checkpoint"]["size"] == len(found["events"])
            sizes.add(len(found["events"]))
            return len(sizes) > 3

        try:
            eventually(seen, "evidence of several checkpoints")
        finally:
            seen_enough.set()
        changing.result(20)


def test_another_booking_with_no_later_change_does_not_help(
    database: Database, connection: psycopg.Connection
) -> None:
    """Each of the two pages is of the same checkpoint; every hash of both paths counts."""
    record(database, open_booking("first"), open_booking("quiet"))
    open_many(database, 20_000)
    record(database, change_status("first", "confirmed"))
    open_many(database, 10, "more")
    log_all(database)
    mapper = event_mapper(database)
    one, other = (gather_evidence(connection, mapper, name) for name in ("first", "quiet"))
    assert verify(render(one))["complete"]
    assert verify(render(other))["complete"]

    with pytest.raises(NotSound, match="has a later event"):
        verify(render({**one, "events": one["events"][:1], "latest": other["latest"]}))
    with pytest.raises(NotSound, match="not that of the checkpoint"):
        verify(render({**one, "latest": other["latest"]}))
    with pytest.raises(NotSound, match="not that of the checkpoint"):
        verify(render({**one, "events": one["events"][:1]}))
    tried = 0
    for made in (one, other):
        for place, hash_ in enumerate(made["latest"]["hashes"]):
            for put in (flipped(hash_), None):
                changed = copy.deepcopy(made)
                changed["latest"]["hashes"][place : place + 1] = [put] if put else []
                with pytest.raises(NotSound, match="not that of the checkpoint"):
                    verify(render(changed))
                tried += 1
    assert tried == 6


def test_a_decision_on_personal_data_is_no_change_of_the_booking(
    database: Database, connection: psycopg.Connection
) -> None:
    record(database, open_booking("room-12", reason="by phone"))
    record(database, DecideOnPersonalData("room-12", HOLD))
    log_all(database)

    found = verify(render(gather_evidence(connection, event_mapper(database), "room-12")))

    assert (found["complete"], found["checkpoint"]["size"], len(found["events"])) == (True, 2, 1)


def _signed_anew(evidence: dict[str, Any], *lines: str) -> dict[str, Any]:
    """The same checkpoint with other lines behind its root, signed by a key of our own."""
    signer = Signer(ORIGIN, b"k" * 32)
    head = evidence["checkpoint"].split("\n")[:3]
    note = sign_note("".join(f"{line}\n" for line in [*head, *lines]), [signer])
    return {**evidence, "checkpoint": str(note), "vkey": signer.verifier.vkey}


def test_a_checkpoint_of_the_time_before_says_nothing_of_later_events(
    evidence: dict[str, Any],
) -> None:
    old = _signed_anew(evidence, "another.example/extension 7")
    del old["latest"]
    old["events"].pop()

    found = verify(render(old))

    assert (found["complete"], found["checkpoint"]["asOf"]) == (False, None)
    assert "There may be later events" in render(old)
    assert "There may be later events" in program.summary(found)


@pytest.mark.parametrize("said", ["{0}\n{0}", "{0} x", "{1}", "{1} AAAA", "{1} ?", "{1}  {0}"])
def test_a_line_of_latest_events_that_is_none_is_refused(
    evidence: dict[str, Any], said: str
) -> None:
    line = evidence["checkpoint"].split("\n")[3]
    assert verify(render(_signed_anew(evidence, line)))["complete"]
    wrong = _signed_anew(evidence, *said.format(line, program.LATEST).split("\n"))

    with pytest.raises(NotSound):
        verify(program.BEGIN + json.dumps(wrong) + program.END)


def test_evidence_waits_while_the_latest_events_are_made_anew(
    database: Database, connection: psycopg.Connection, evidence: dict[str, Any]
) -> None:
    mapper = event_mapper(database)
    for harm in (
        "UPDATE log_latest SET bits = set_byte(bits, 77, 1)",
        "DELETE FROM log_latest",
        "UPDATE projection SET position = 3 WHERE name = 'log'",
    ):
        connection.execute(harm)
        with pytest.raises(LogBehind):
            gather_evidence(connection, mapper, "room-12")
        log_all(database)
        assert gather_evidence(connection, mapper, "room-12") == evidence


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("confirmed", "cancelled"),
        ("What this proves", "What this proves beyond doubt"),
        ("<main>", "<main><p>And the guest agreed.</p>"),
        ("default-src 'none'", "default-src *"),
        ("\n", "\r\n"),
    ],
)
def test_a_page_that_says_something_else_than_its_data_is_found(
    evidence: dict[str, Any], old: str, new: str
) -> None:
    page = render(evidence)
    shown, begin, data = page.partition(program.BEGIN)
    assert old in shown

    with pytest.raises(NotSound, match="does not say"):
        verify(shown.replace(old, new, 1) + begin + data, evidence["vkey"])
