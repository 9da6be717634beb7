"""C2SP signed notes with Ed25519: texts, signature lines and verifier keys. Pure."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.errors import LedgerError

ED25519 = 0x01
COSIGNATURE = 0x04
KEY_BYTES = 32
SIGNATURES_MAX = 64
NOTE_BYTES_MAX = 1_000_000

_SIGNATURE_LINE = re.compile("\u2014 ([^ ]+) ([A-Za-z0-9+/]+=*)")
_KEY_NAME = re.compile(r"[^\s+]+")
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")


class BadNote(LedgerError):
    """A signed note is not as it must be"""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key under a name. `kind` is the type of its signatures."""

    name: str
    public_key: bytes
    kind: int = ED25519

    @property
    def key_id(self) -> bytes:
        named = self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key
        return sha256(named).digest()[:4]

    @property
    def vkey(self) -> str:
        key = base64.b64encode(bytes([self.kind]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    def accepts(self, text: str, signature: bytes) -> bool:
        message, signed = text.encode(), signature
        if self.kind == COSIGNATURE:
            time = int.from_bytes(signature[:8], "big")
            message = f"cosignature/v1\ntime {time}\n".encode() + message
            signed = signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signed, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signature:
    """A line of a note: who signed, with which key, and the rest of the signature."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        return f"\u2014 {self.name} {encode_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """`text` ends in a newline. Nothing of it may be believed before `verify`."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(one.line for one in self.signatures)

    def verify(self, known: Sequence[Verifier], name: str | None = None) -> list[Verifier]:
        """The known keys (of this name, if one is given) that signed it. Signatures of others are
        ignored.

        Raises BadNote where one of a known key is wrong, or where no known key signed.
        """
        by_id = {(key.name, key.key_id): key for key in known if name in (None, key.name)}
        found = []
        for signature in self.signatures:
            verifier = by_id.get((signature.name, signature.key_id))
            if verifier is None:
                continue
            if not verifier.accepts(self.text, signature.signature):
                raise BadNote(f"The signature of {verifier.name} is wrong.")
            found.append(verifier)
        if not found:
            raise BadNote("No known key has signed it.")
        return found


def sign_note(text: str, signers: "Sequence[Signer]") -> Note:
    return Note(text, tuple(signer.sign(text) for signer in signers))


class Signer:
    """A private key under a name."""

    def __init__(self, name: str, private_key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private_key)
        self.verifier = Verifier(require_key_name(name), self._key.public_key().public_bytes_raw())

    def sign(self, text: str) -> Signature:
        return Signature(self.verifier.name, self.verifier.key_id, self._key.sign(text.encode()))


def parse_note(note: str | bytes) -> Note:
    """Take a note apart, and refuse whatever is not written as the format has it."""
    if len(note) > NOTE_BYTES_MAX:
        raise BadNote(f"A note has at most {NOTE_BYTES_MAX} bytes.")
    decoded = _decoded(note)
    if _CONTROL.search(decoded):
        raise BadNote("A note has no control characters.")
    text, empty_line, lines = decoded.rpartition("\n\n")
    if not empty_line or not lines.endswith("\n"):
        raise BadNote("A note ends in an empty line and lines with signatures.")
    # Not splitlines, which takes more for the end of a line than newlines.
    signatures = [parse_signature(line) for line in lines[:-1].split("\n")]
    if len(signatures) > SIGNATURES_MAX:
        raise BadNote(f"A note has at most {SIGNATURES_MAX} signatures.")
    return Note(text + "\n", tuple(signatures))


def parse_signature(line: str) -> Signature:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None or not _KEY_NAME.fullmatch(match[1]):
        raise BadNote("A line of signature is not an em dash, a name and base64.")
    content = decode_base64(match[2])
    if len(content) <= 4:
        raise BadNote("A signature has more than four bytes.")
    return Signature(match[1], content[:4], content[4:])


def parse_vkey(text: str) -> Verifier:
    """Read a verifier key. Raises BadNote unless it is one of Ed25519 whose id is right."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    key = decode_base64(encoded)
    if not _KEY_NAME.fullmatch(name) or len(key) != KEY_BYTES + 1:
        raise BadNote("A verifier key is name+id+key, the key of Ed25519.")
    if key[0] not in (ED25519, COSIGNATURE):
        raise BadNote(f"The verifier key of {name} is not of Ed25519.")
    verifier = Verifier(name, key[1:], key[0])
    if verifier.key_id.hex() != key_id:
        raise BadNote(f"The id in the verifier key of {name} is not that of its key.")
    return verifier


def require_key_name(name: str) -> str:
    """Raises BadNote for a name that a note cannot have."""
    if not _KEY_NAME.fullmatch(name) or _CONTROL.search(name):
        raise BadNote(f"{name!r} cannot name a key: it must have no spaces and no '+'.")
    return name


def encode_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def decode_base64(text: str) -> bytes:
    """Raises BadNote unless the text is base64 as it would be written: one text for one value."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadNote("What should be base64 is not.") from error
    if encode_base64(content) != text:
        raise BadNote("What should be base64 has bits to spare.")
    return content


def _decoded(note: str | bytes) -> str:
    try:
        return note.encode().decode() if isinstance(note, str) else note.decode()
    except UnicodeError as error:
        raise BadNote("A note is UTF-8.") from error
