"""An evidence file holds, and no change to it goes unnoticed."""

import base64
import copy
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from evidence_scenes import HOSTILE, evidence_of_a_story, flipped, record_story
from log_scenes import ORIGIN, log_all
from scenes import ANY_CHANGE, change_status, open_booking, writing

from ledger.database import Database
from ledger.errors import BookingNotFound
from ledger.transcoder import event_mapper
from projections.evidence import verify_evidence as program
from projections.evidence.gather import gather_evidence
from projections.evidence.verify_evidence import NotSound, render, verify
from projections.log import tile_table
from projections.log.notes import Signer


@pytest.fixture
def evidence(database: Database, connection: psycopg.Connection) -> dict[str, Any]:
    return evidence_of_a_story(database, connection)


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


def test_proofs_of_a_long_history_share_what_they_read(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(database, ANY_CHANGE) as writer:
        writer.execute([open_booking("room-12", "confirmed")])
        # In three tiles, with other bookings between.
        for number, status in zip(range(100), itertools.cycle(("pending", "confirmed"))):
            others = [open_booking(f"b-{number}-{other}") for other in range(6)]
            writer.execute([*others, change_status("room-12", status)])
    log_all(database)
    asked = 0
    read_tiles = tile_table.read_tiles

    def counted(*given: Any) -> Any:
        nonlocal asked
        asked += 1
        return read_tiles(*given)

    monkeypatch.setattr(tile_table, "read_tiles", counted)
    monkeypatch.setattr("projections.log.reading.PROOFS_AT_ONCE", 40)
    evidence = gather_evidence(connection, event_mapper(database), "room-12")

    found = verify(render(evidence), evidence["vkey"])
    assert len(found["events"]) == 101
    assert asked == 3, "once for each 40 proofs"


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
    "a bit of an entry": lambda e: e["events"][0].update(entry=flipped(e["events"][0]["entry"])),
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
        page=flipped(e["latest"]["page"])
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
            changed["events"][number]["hashes"][place] = flipped(one)
            with pytest.raises(NotSound, match="not in the tree"):
                verify(render(changed), evidence["vkey"])
            tried += 1
    assert tried >= 6


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
