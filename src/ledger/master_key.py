"""The master key: what everything secret in a ledger's database is sealed under."""

import base64
import binascii
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.disk import flush_directory
from ledger.errors import LedgerError

KEY_BYTES = 32
NONCE_BYTES = 12
FILE_NAME = "master.key"


class MasterKeyError(LedgerError):
    """The master key is not usable"""


class MasterKey:
    """Seals and opens small secrets with AES-256-GCM."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise MasterKeyError(f"A master key has {KEY_BYTES} bytes, this one {len(key)}.")
        self._key = key
        self._cipher = AESGCM(key)

    def derive(self, purpose: bytes) -> bytes:
        """A key of 32 bytes for one purpose (HKDF-SHA-256, RFC 5869): for hashes that nobody
        else can try texts against."""
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(self._key)

    def reveal(self) -> bytes:
        """The key itself: to hand it to a process of our own, through a pipe and nothing else."""
        return self._key

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        """What is sealed for one purpose does not open for another."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, purpose)

    def open(self, sealed: bytes, purpose: bytes) -> bytes:
        """Raises MasterKeyError where it was sealed under another key or is not what it was."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], purpose)
        except (InvalidTag, ValueError) as error:
            raise MasterKeyError(
                f"The master key does not open the {purpose.decode()!r}: it is not the one that "
                "it was sealed with, or the sealed bytes were changed."
            ) from error


def parse_master_key(text: str) -> bytes:
    """32 bytes in base64. Raises ValueError saying what it must be; the text is not repeated."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"must be {KEY_BYTES} bytes in base64")
    return key


def load_or_create(data_dir: Path, given: bytes | None = None) -> MasterKey:
    """The key that is given, else that of the file in the data directory, made where it lacks.

    The file appears whole or not at all, and of several processes that start at once all get
    the same. Raises MasterKeyError where its content is no key.
    """
    if given is not None:
        return MasterKey(given)
    path = data_dir / FILE_NAME
    if not path.exists():
        _create(path)
    try:
        return MasterKey(parse_master_key(path.read_text(encoding="ascii")))
    except (ValueError, UnicodeDecodeError) as error:
        raise MasterKeyError(f"{path}: {error}") from error


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)  # fails where another process was first, and never replaces
        except FileExistsError:
            return
    finally:
        beside.unlink()
    flush_directory(path.parent)
