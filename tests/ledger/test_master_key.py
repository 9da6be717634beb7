"""The master key: made once, whole, for its owner alone; seals that open with nothing else."""

import base64
import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ledger.master_key import MasterKey, MasterKeyError, load_or_create, parse_master_key
from ledger.record import EntryTooLarge, entry

KEY = MasterKey(b"k" * 32)


def test_of_many_that_start_at_once_all_get_the_same_key(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_or_create(directory), range(8)))
    sealed = keys[0].seal(b"secret", b"test")

    assert [key.open(sealed, b"test") for key in keys] == [b"secret"] * 8
    assert [path.name for path in directory.iterdir()] == ["master.key"]
    assert stat.S_IMODE((directory / "master.key").stat().st_mode) == 0o600


def test_a_given_key_makes_no_file(tmp_path: Path) -> None:
    load_or_create(tmp_path, b"k" * 32)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 44, base64.b64encode(b"k" * 31)])
def test_a_file_without_a_key_is_refused_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "master.key").write_bytes(content)

    with pytest.raises(MasterKeyError, match=r"master\.key"):
        load_or_create(tmp_path)
    assert (tmp_path / "master.key").read_bytes() == content


def test_a_key_has_32_bytes_in_base64() -> None:
    assert parse_master_key(base64.b64encode(b"k" * 32).decode() + "\n") == b"k" * 32
    for wrong in ("", "*", base64.b64encode(b"k" * 33).decode()):
        with pytest.raises(ValueError, match="32 bytes in base64"):
            parse_master_key(wrong)
    with pytest.raises(MasterKeyError, match="32 bytes"):
        MasterKey(b"short")


def test_a_seal_opens_with_its_key_and_for_its_purpose_alone() -> None:
    sealed = KEY.seal(b"secret", b"test")

    assert KEY.open(sealed, b"test") == b"secret"
    assert KEY.seal(b"secret", b"test") != sealed
    for key, changed, purpose in (
        (MasterKey(b"o" * 32), sealed, b"test"),
        (KEY, sealed, b"other"),
        (KEY, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"test"),
        (KEY, bytes([sealed[0] ^ 1]) + sealed[1:], b"test"),
        (KEY, sealed[:20], b"test"),
        (KEY, b"", b"test"),
    ):
        with pytest.raises(MasterKeyError, match="does not open"):
            key.open(changed, purpose)


def test_an_entry_is_one_line_of_json_with_the_state_as_it_is_stored() -> None:
    made = entry(12, 'a"b\u00e9', 3, "Booking.StatusChanged", b'{"x":1.50}')

    assert made == (
        b'{"format":1,"position":12,"booking":"a\\"b\xc3\xa9","version":3,'
        b'"type":"Booking.StatusChanged","data":{"x":1.50}}'
    )


def test_an_entry_holds_the_digest_of_a_state_that_is_too_long_for_it() -> None:
    largest = 65_535 - len(entry(1, "a", 1, "t", b""))

    assert len(entry(1, "a", 1, "t", b"x" * largest)) == 65_535
    digest = hashlib.sha256(b"x" * (largest + 1)).hexdigest()
    assert entry(1, "a", 1, "t", b"x" * (largest + 1)) == (
        b'{"format":1,"position":1,"booking":"a","version":1,"type":"t","dataSha256":"%b"}'
        % digest.encode()
    )


def test_an_entry_that_the_log_cannot_hold_is_refused() -> None:
    with pytest.raises(EntryTooLarge, match=r"position 1 makes an entry of 65\d{3} bytes"):
        entry(1, "a", 1, "t" * 65_535, b"{}")
