"""An evidence file holds, and no change to it goes unnoticed."""

import base64
import copy
import itertools
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from log_scenes import ORIGIN, log_all, logging_on, open_many
from scenes import ANY_CHANGE, change_status, eventually, open_booking, record, writing

from ledger.booking import Change
from ledger.commands import DecideOnPersonalData, Outcome, RecordStatus
from ledger.database import Database
from ledger.errors import BookingNotFound
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
HOSTILE = "</script><script>alert(1)</script> & \u202e \u2028 'quoted'"
"""A reason that wants to be more than text."""


def record_story(
    database: Database, booking_id: str, reason: str, metadata: dict[str, Any] | None = None
) -> None:
    """Three changes of a booking, with another's before, between and behind them."""
    with writing(database) as writer:
        for status in ("pending", "confirmed", "in_progress"):
            for one in ("another", booking_id):
                said = Change(
                    status=status,
                    changed_by="anna",
                    reason=reason if one == booking_id and status == "confirmed" else None,
                    metadata=metadata if one == booking_id and status == "confirmed" else None,
                    actor="api-key",
                    source="tests",
                )
                (answer,) = writer.execute([RecordStatus(one, said)])
                assert isinstance(answer, Outcome)


@pytest.fixture
def evidence(database: Database, connection: psycopg.Connection) -> dict[str, Any]:
    record_story(database, "room-12", HOSTILE)
    log_all(database)
    return gather_evidence(connection, event_mapper(database), "room-12")


def test_it_proves_each_event_of_the_booking(evidence: dict[str, Any]) -> None:
    found = verify(render(evidence), evidence["vkey"])

    assert [event["data"]["to_status"] for event in found["events"]] == [
        "pending",
        "confirmed",
        "in_progress",
    ]
    assert [event["version"] for event in found["events"]] == [1, 2, 3]
    assert found["events"][1]["personal"]["reason"] == HOSTILE
    assert found["trusted"]
    assert not verify(render(evidence))["trusted"]


def test_what_others_wrote_is_only_text_on_the_page(evidence: dict[str, Any]) -> None:
    page = render(evidence)

    assert page.count("<script") == 1
    assert page.count("</script>") == 1
    assert "&lt;script&gt;alert(1)" in page


def test_an_event_too_long_for_the_log_is_proven_by_its_hash(
    database: Database, connection: psycopg.Connection
) -> None:
    record_story(database, "room-14", "long", {"text": "x" * 65_400})
    log_all(database)
    made = gather_evidence(connection, event_mapper(database), "room-14")
    assert "data" in made["events"][1]

    assert verify(render(made))["events"][1]["personal"]["metadata"] == {"text": "x" * 65_400}

    state = base64.b64decode(made["events"][1]["data"]).replace(b'"source":"', b'"source":"x', 1)
    made["events"][1]["data"] = base64.b64encode(state).decode()
    with pytest.raises(NotSound, match="not those of its entry"):
        verify(render(made))


def test_there_is_none_of_an_unknown_booking(
    database: Database, connection: psycopg.Connection
) -> None:
    with pytest.raises(BookingNotFound):
        gather_evidence(connection, event_mapper(database), "nobody")


def _flipped(text: str) -> str:
    content = bytearray(base64.b64decode(text))
    content[len(content) // 2] ^= 1
    return base64.b64encode(bytes(content)).decode()


def _entry(one: dict[str, Any], old: bytes, new: bytes) -> None:
    changed = base64.b64decode(one["entry"]).replace(old, new, 1)
    assert changed != base64.b64decode(one["entry"])
    one["entry"] = base64.b64encode(changed).decode()


def _note(evidence: dict[str, Any], line: int, text: str) -> None:
    lines = evidence["checkpoint"].split("\n")
    assert lines[line] != text
    lines[line] = text
    evidence["checkpoint"] = "\n".join(lines)


ATTACKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "status changed": lambda e: _entry(e["events"][1], b'"confirmed"', b'"cancelled"'),
    "time changed": lambda e: _entry(e["events"][2], b"20", b"19"),
    "a bit of an entry": lambda e: e["events"][0].update(entry=_flipped(e["events"][0]["entry"])),
    "index": lambda e: e["events"][1].update(index=e["events"][1]["index"] + 1),
    "index negative": lambda e: e["events"][0].update(index=-1),
    "index a text": lambda e: e["events"][0].update(index="0"),
    "index beyond": lambda e: e["events"][0].update(index=10**9),
    "hash too many": lambda e: e["events"][0]["hashes"].append(e["events"][0]["hashes"][0]),
    "hash too few": lambda e: e["events"][0]["hashes"].pop(),
    "no hashes": lambda e: e["events"][0].update(hashes=[]),
    "hash cut": lambda e: e["events"][0]["hashes"].__setitem__(0, "AAAA"),
    "hash no base64": lambda e: e["events"][0]["hashes"].__setitem__(0, "?"),
    "events swapped": lambda e: e["events"].reverse(),
    "event twice": lambda e: e["events"].append(e["events"][-1]),
    "event in the middle left out": lambda e: e["events"].pop(1),
    "first event left out": lambda e: e["events"].pop(0),
    "no events": lambda e: e.update(events=[]),
    "another's booking": lambda e: e.update(booking="room-13"),
    "format": lambda e: e.update(format="booking-ledger/evidence/1"),
    "last event held back": lambda e: e["events"].pop(),
    "two events held back": lambda e: e.update(events=e["events"][:1]),
    "page not there": lambda e: e.pop("latest"),
    "page null": lambda e: e.update(latest=None),
    "page of zeros": lambda e: e["latest"].update(page=base64.b64encode(bytes(1024)).decode()),
    "page of ones": lambda e: e["latest"].update(page=base64.b64encode(b"\xff" * 1024).decode()),
    "page cut": lambda e: e["latest"].update(page=e["latest"]["page"][:-4]),
    "page with a bit of another event": lambda e: e["latest"].update(
        page=_flipped(e["latest"]["page"])
    ),
    "hash of the page too many": lambda e: e["latest"]["hashes"].append(
        base64.b64encode(b"h" * 32).decode()
    ),
    "line of latest events gone": lambda e: e.update(
        checkpoint=re.sub("\nbooking-ledger/latest.*", "", e["checkpoint"])
    ),
    "line of latest events twice": lambda e: _note(e, 3, e["checkpoint"].split("\n")[3] * 2),
    "root of latest events": lambda e: _note(
        e, 3, f"booking-ledger/latest/1 {base64.b64encode(b'r' * 32).decode()}"
    ),
    "time": lambda e: e.update(checkpoint=re.sub(r" 20\d\d-", " 2099-", e["checkpoint"])),
    "size": lambda e: _note(e, 1, "4"),
    "root": lambda e: _note(e, 2, base64.b64encode(b"r" * 32).decode()),
    "origin": lambda e: _note(e, 0, "log.example/other"),
    "signature gone": lambda e: e.update(checkpoint=e["checkpoint"].partition("\u2014")[0]),
    "key of another log": lambda e: e.update(vkey=e["vkey"].replace("bookings", "others")),
    "key is none": lambda e: e.update(vkey="nonsense"),
    "no key": lambda e: e.pop("vkey"),
    "checkpoint no text": lambda e: e.update(checkpoint=7),
    "no checkpoint": lambda e: e.pop("checkpoint"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_data_that_were_changed_are_found(evidence: dict[str, Any], name: str) -> None:
    changed = copy.deepcopy(evidence)
    ATTACKS[name](changed)
    assert changed != evidence
    try:
        text = render(changed)
    except (KeyError, ValueError, TypeError, AttributeError, NotSound):
        data = json.dumps(changed)  # it cannot even be shown
        text = program.BEGIN + data + program.END

    with pytest.raises(NotSound):
        verify(text, evidence["vkey"] if "vkey" in changed else None)


def test_every_hash_counts(evidence: dict[str, Any]) -> None:
    tried = 0
    for number, event in enumerate(evidence["events"]):
        for place, one in enumerate(event["hashes"]):
            changed = copy.deepcopy(evidence)
            changed["events"][number]["hashes"][place] = _flipped(one)
            with pytest.raises(NotSound, match="not in the tree"):
                verify(render(changed), evidence["vkey"])
            tried += 1
    assert tried >= 6


# --- all changes ----------------------------------------------------------------------------


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
            for put in (_flipped(hash_), None):
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


@pytest.mark.parametrize("text", ["", "<html></html>", program.BEGIN + "{" + program.END])
def test_what_is_no_evidence_is_said_to_be_none(text: str) -> None:
    with pytest.raises(NotSound):
        verify(text)


def test_a_key_that_did_not_sign_is_refused(evidence: dict[str, Any]) -> None:
    other = Signer(ORIGIN, b"k" * 32).verifier.vkey

    with pytest.raises(NotSound, match="not signed"):
        verify(render(evidence), other)


def test_the_program_alone_checks_it_where_nothing_of_us_is(
    evidence: dict[str, Any], tmp_path: Path
) -> None:
    """In a directory of its own, isolated from the project (`-I`), with `cryptography` alone."""
    script = tmp_path / "verify_evidence.py"
    script.write_bytes(Path(program.__file__).read_bytes())
    file = tmp_path / "evidence.html"
    file.write_bytes(render(evidence).encode())
    told = [sys.executable, "-I", str(script), str(file), "--vkey", evidence["vkey"]]

    sound = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert "'in_progress'" in sound.stdout
    assert "'room-12'" in sound.stdout

    file.write_bytes(render(evidence).replace("room-12", "room-13", 1).encode())
    forged = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert forged.returncode == 1
    assert forged.stderr.startswith("NOT SOUND")
