"""C2SP tlog-checkpoint: what a log says of its tree at a size. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from projections.log.merkle import HASH_BYTES
from projections.log.notes import (
    BadNote,
    Note,
    Signer,
    Verifier,
    decode_base64,
    encode_base64,
    parse_note,
    sign_note,
)

SIZE_MAX = 2**63 - 1
_SIZE = re.compile(r"0|[1-9]\d{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The root of the tree of `size` leaves of the log called `origin`, by its signed note."""

    origin: str
    size: int
    root: bytes
    note: Note

    def verify(self, known: Sequence[Verifier]) -> list[Verifier]:
        """The known keys of this log that signed it. Raises BadNote if there is none."""
        return self.note.verify(known, self.origin)


def sign_checkpoint(origin: str, size: int, root: bytes, signers: Sequence[Signer]) -> Checkpoint:
    text = f"{origin}\n{size}\n{encode_base64(root)}\n"
    return Checkpoint(origin, size, root, sign_note(text, signers))


def parse_checkpoint(note: str | bytes) -> Checkpoint:
    """Take a checkpoint apart. Raises BadNote; that it is signed is not looked at."""
    parsed = parse_note(note)
    lines = parsed.text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise BadNote("A checkpoint has three lines: origin, size and root.")
    origin, size, root = lines[:3]
    if not _SIZE.fullmatch(size) or int(size) > SIZE_MAX:
        raise BadNote("The size of a checkpoint is a decimal number without leading zeroes.")
    decoded = decode_base64(root)
    if len(decoded) != HASH_BYTES:
        raise BadNote("The root of a checkpoint is a SHA-256 hash.")
    return Checkpoint(origin, int(size), decoded, parsed)
