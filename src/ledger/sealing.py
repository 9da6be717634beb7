"""What is personal in an event, sealed under a key that its booking has to itself.

The log hashes the sealed bytes, so a booking's key can be destroyed, and with it all that was
said of persons, without a hash that changes. docs/record-format.md is the format.
"""

import hmac
import os
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from hashlib import sha256
from os import urandom
from typing import Any

import orjson
import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.errors import LedgerError
from ledger.master_key import KEY_BYTES, NONCE_BYTES, MasterKey

COMMITMENT_BYTES = 32
NONCES_AT_ONCE = 256
CHECK_PURPOSE = b"master key of a ledger"


class SealBroken(LedgerError):
    """The sealed part of an event was changed"""


class BookingKey:
    """Seals and opens the personal parts of one booking's events, each under a key of its own.

    So the key of one event can be shown to somebody, as evidence, and opens no other.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def new(cls, booking_id: str, master_key: MasterKey) -> tuple["BookingKey", bytes]:
        """A new key, and as it is stored: wrapped by the master key."""
        key = urandom(KEY_BYTES)
        return cls(key), master_key.seal(key, _purpose(booking_id))

    @classmethod
    def unwrap(cls, booking_id: str, wrapped: bytes, master_key: MasterKey) -> "BookingKey":
        """Raises MasterKeyError where it is not the master key that wrapped it."""
        return cls(master_key.open(wrapped, _purpose(booking_id)))

    def event_key(self, version: int) -> bytes:
        """The key of one event (32 bytes): HMAC-SHA-256 of its version in decimal."""
        return hmac.digest(self._key, b"%d" % version, "sha256")

    def seal(self, version: int, personal: Mapping[str, Any]) -> str:
        """Base64 of: SHA-256 of the event's key, nonce, AES-256-GCM of the JSON with its tag.

        The cipher alone would let two keys open the same bytes to different texts; the hash
        binds them to one key.
        """
        return self.seal_json(version, orjson.dumps(personal).decode(), _nonce())

    def seal_json(self, version: int, personal: str, nonce: bytes) -> str:
        """The same of what is JSON already. A nonce is random, and never given twice."""
        key = self.event_key(version)
        sealed = AESGCM(key).encrypt(nonce, personal.encode(), None)
        return b2a_base64(_commitment(key) + nonce + sealed, newline=False).decode()

    def open(self, version: int, sealed: str) -> dict[str, Any] | None:
        """What was sealed; None if it was under another key, since destroyed.

        Raises SealBroken where it is under this key, but not as it was sealed.
        """
        return open_sealed(self.event_key(version), sealed)


def open_sealed(event_key: bytes, sealed: str) -> dict[str, Any] | None:
    """The same with the key of the event."""
    try:
        content = a2b_base64(sealed, strict_mode=True)
        begin = COMMITMENT_BYTES + NONCE_BYTES
        nonce = content[COMMITMENT_BYTES:begin]
        personal = orjson.loads(AESGCM(event_key).decrypt(nonce, content[begin:], None))
    except (NotBase64, ValueError, InvalidTag) as error:
        if isinstance(error, InvalidTag) and content[:COMMITMENT_BYTES] != _commitment(event_key):
            return None
        raise SealBroken("What is sealed in the event is not as it was sealed.") from error
    if content[:COMMITMENT_BYTES] != _commitment(event_key) or not isinstance(personal, dict):
        raise SealBroken("What is sealed in the event is not bound to its key.")
    return personal


def check_master_key(connection: psycopg.Connection, master_key: MasterKey) -> None:
    """Raise MasterKeyError unless it is this ledger's; the first one that comes becomes it.

    Without this, whoever has another key could record what nobody else can read.
    """
    connection.execute(
        "INSERT INTO master_key_check (sealed) VALUES (%s) ON CONFLICT DO NOTHING",
        (master_key.seal(b"", CHECK_PURPOSE),),
    )
    require_same_master_key(connection, master_key)


def require_same_master_key(connection: psycopg.Connection, master_key: MasterKey) -> None:
    """Raise MasterKeyError where the ledger has another."""
    row = connection.execute("SELECT sealed FROM master_key_check").fetchone()
    if row is not None:
        master_key.open(row[0], CHECK_PURPOSE)


def has_master_key(connection: psycopg.Connection) -> bool:
    """Whether the ledger has a master key, which must not be made anew then."""
    return connection.execute("SELECT FROM master_key_check").fetchone() is not None


_nonces: list[bytes] = []
os.register_at_fork(after_in_child=_nonces.clear)


def _nonce() -> bytes:
    """A random nonce. Drawn many at a time: each draw is a system call, and lets go of the
    interpreter's lock, which who seals a batch would wait for, event by event."""
    try:
        return _nonces.pop()
    except IndexError:
        drawn = urandom(NONCE_BYTES * NONCES_AT_ONCE)
        _nonces.extend(
            drawn[at : at + NONCE_BYTES] for at in range(NONCE_BYTES, len(drawn), NONCE_BYTES)
        )
        return drawn[:NONCE_BYTES]


def _commitment(event_key: bytes) -> bytes:
    return sha256(event_key).digest()


def _purpose(booking_id: str) -> bytes:
    return b"key of booking " + booking_id.encode()
