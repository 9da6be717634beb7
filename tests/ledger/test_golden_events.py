"""Stored bytes are for ever: what was written once is read, and would be written again the same.

A file in golden/ is the state of one stored event, byte for byte, and its name begins with the
topic. Files are added, never edited: each stands for events that some ledger holds. They are the
test vectors of docs/record-format.md: sealed under the key 00 01 … 1f with the nonce 00 01 … 0b.
"""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.persistence import MapperDeserialisationError, StoredEvent
from eventsourcing.utils import get_topic
from tests.support.master_key import MASTER_KEY

from ledger.booking import Booking, BookingEvent
from ledger.master_key import NONCE_BYTES, MasterKeyError
from ledger.sealing import BookingKey
from ledger.transcoder import PERSONAL, EventMapper, UnwrappedKeys

KEY = bytes(range(32))
WRAPPED = MASTER_KEY.seal(KEY, "key of booking room-12 ✓".encode())
MAPPER = EventMapper(MASTER_KEY)
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))


def topic_of(path: Path) -> str:
    return ".".join(path.name.split(".")[:2])


def stored(path: Path) -> StoredEvent:
    return StoredEvent("room-12 ✓", 7, topic_of(path), path.read_bytes())


def read(name: str) -> dict[str, object]:
    path = Path(__file__).parent / "golden" / f"{name}.json"
    return dict(vars(MAPPER.read(stored(path), WRAPPED)[0]))


def event_types(kind: type) -> set[type]:
    """Every kind of event that can be stored; the abstract ones above them cannot."""
    below = {one for child in kind.__subclasses__() for one in event_types(child)}
    return below | (set() if kind in (BookingEvent, Booking.Event) else {kind})


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_stored_bytes_give_an_event_that_gives_the_same_bytes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.sealing._nonce", lambda: bytes(range(NONCE_BYTES)))
    event, erased = MAPPER.read(stored(path), WRAPPED)

    assert not erased
    assert MAPPER.to_stored_event(event, BookingKey(KEY)) == stored(path)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_without_its_key_the_event_says_nothing_of_persons(path: Path) -> None:
    event, erased = MAPPER.read(stored(path), None)

    assert erased == path.stem.endswith(".full")
    assert {getattr(event, name) for name in PERSONAL} == {None}
    assert "Zoë" not in path.read_text()


def test_the_topics_are_exactly_these() -> None:
    """A new kind of event, or a new name of one, is a decision about stored data."""
    assert {get_topic(kind) for kind in event_types(BookingEvent)} == {
        "Booking.Created",
        "Booking.StatusChanged",
    }


def test_every_kind_of_event_has_golden_files_with_and_without_its_optional_fields() -> None:
    expected = {
        f"{get_topic(kind)}.{filling}"
        for kind in event_types(BookingEvent)
        for filling in ("least", "full")
    }

    assert expected <= {path.stem for path in GOLDEN}
    assert {topic_of(path) for path in GOLDEN} == {
        get_topic(kind) for kind in event_types(BookingEvent)
    }


def test_golden_fields_mean_what_they_say() -> None:
    assert read("Booking.StatusChanged.full") == {
        "originator_id": "room-12 ✓",
        "originator_version": 7,
        "timestamp": datetime(2026, 5, 4, 12, tzinfo=UTC),
        "from_status": "bestätigt",
        "to_status": "abgesagt",
        "changed_by": "Zoë 王",
        "reason": "",
        "metadata": {},
        "occurred_at": datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "actor": "user",
        "source": "https://login.example",
        "claimed_from_status": "angefragt",
    }
    assert read("Booking.Created.least") == {
        "originator_id": "room-12 ✓",
        "originator_version": 7,
        "timestamp": datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC),
        "from_status": None,
        "to_status": "pending",
        "changed_by": None,
        "reason": None,
        "metadata": None,
        "occurred_at": datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC),
        "actor": "system",
        "source": "front desk",
        "claimed_from_status": None,
        "originator_topic": "Booking",
    }


def test_metadata_keeps_its_order_of_keys_and_stays_text_where_it_looks_like_a_time() -> None:
    metadata = read("Booking.Created.full")["metadata"]

    assert metadata == {
        "z": 1,
        "Tür": {"a": [1, 2.5, None, True, "€"]},
        "zeit": "2026-05-04T12:00:00Z",
    }
    assert list(metadata) == ["z", "Tür", "zeit"]  # type: ignore[call-overload]


def test_the_worked_example_of_the_document_holds() -> None:
    """Computed here in its terms, without our code, and looked for in its text."""
    state = (Path(__file__).parent / "golden" / "Booking.StatusChanged.full.json").read_bytes()
    event_key = hmac.digest(KEY, b"7", "sha256")
    content = base64.b64decode(json.loads(state)["sealed"])
    said = AESGCM(event_key).decrypt(content[32:44], content[44:], None)
    entry = (
        '{"format":1,"position":9,"booking":"room-12 ✓","version":7,'
        '"type":"Booking.StatusChanged","data":'
    ).encode() + (state + b"}")
    document = Path("docs/record-format.md").read_text(encoding="utf-8").replace(" ", "")
    written = document.replace("\n", "")

    assert json.loads(said) == {"changed_by": "Zoë 王", "reason": "", "metadata": {}}
    assert content[:32] == hashlib.sha256(event_key).digest()
    for value in (event_key, content[:32], said, content[44:]):
        assert value.hex() in written
    assert hashlib.sha256(b"\0" + entry).hexdigest() in written


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_events_are_read_as_the_engine_reads_them(path: Path) -> None:
    """We read them without its mapper, and nobody must be able to tell."""
    event, _ = MAPPER.read(stored(path), WRAPPED)
    engines = super(EventMapper, MAPPER).to_domain_event(stored(path))

    assert type(event) is type(engines)
    assert {**vars(event), "sealed": None} == {
        **vars(engines),
        **{name: getattr(event, name) for name in PERSONAL},
        "sealed": None,
    }


def test_decisions_are_read_as_the_engine_reads_them() -> None:
    state = b"""{"timestamp":"2026-05-04T12:00:00Z","reason":"asked","decided_by":null,"""
    state += b""""actor":"system","source":"test"}"""
    for topic in ("PersonalData.Erased", "PersonalData.HoldPlaced", "PersonalData.HoldReleased"):
        given = StoredEvent("room-12\x1epersonal-data", 2, topic, state)
        event, erased = MAPPER.read(given, None)
        engines = super(EventMapper, MAPPER).to_domain_event(given)

        assert not erased
        assert (type(event), vars(event)) == (type(engines), vars(engines))


def test_a_key_that_was_put_beside_another_booking_does_not_open_there() -> None:
    """Not even when its own booking was read just before, with what was unwrapped kept."""
    path = Path(__file__).parent / "golden" / "Booking.StatusChanged.full.json"
    row = (7, "Booking.StatusChanged", path.read_bytes(), WRAPPED)
    keys: UnwrappedKeys = {}
    assert MAPPER.read_row(("room-12 ✓", *row), keys)[0].changed_by == "Zoë 王"
    assert MAPPER.read_row(("room-12 ✓", *row), keys)[0].changed_by == "Zoë 王"
    assert len(keys) == 1

    with pytest.raises(MasterKeyError):
        MAPPER.read_row(("room-13", *row), keys)


@pytest.mark.parametrize(
    ("topic", "state"),
    [
        ("Booking.Moved", b"{}"),
        ("Booking.StatusChanged", b"{"),
        ("Booking.StatusChanged", b"7"),
        ("Booking.StatusChanged", b'{"timestamp":"yesterday"}'),
    ],
)
def test_bytes_that_are_no_event_are_refused(topic: str, state: bytes) -> None:
    with pytest.raises(MapperDeserialisationError, match="version 3 of 'room-12'"):
        MAPPER.read(StoredEvent("room-12", 3, topic, state), None)
