"""C2SP tlog-checkpoint: what a log says of its tree at a size. Pure.

The extension line `booking-ledger/latest/1 ROOT [TIME]` says which of its events are the latest of
their booking: docs/record-format.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

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
LATEST = "booking-ledger/latest/1"
_SIZE = re.compile(r"0|[1-9]\d{0,18}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class LatestRoot:
    """The root over the latest events of all bookings (`LatestEvents`). What was recorded at
    `as_of` is among them; None where more may have been recorded than the checkpoint has."""

    root: bytes
    as_of: datetime | None

    @property
    def line(self) -> str:
        return f"{LATEST} {encode_base64(self.root)}{_written(self.as_of)}\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The root of the tree of `size` leaves of the log called `origin`, by its signed note."""

    origin: str
    size: int
    root: bytes
    note: Note
    latest: LatestRoot | None = None
    """None in checkpoints that were signed before there was such a line."""

    def verify(self, known: Sequence[Verifier]) -> list[Verifier]:
        """The known keys of this log that signed it. Raises BadNote if there is none."""
        return self.note.verify(known, self.origin)


def sign_checkpoint(
    origin: str,
    size: int,
    root: bytes,
    signers: Sequence[Signer],
    latest: LatestRoot | None = None,
) -> Checkpoint:
    text = f"{origin}\n{size}\n{encode_base64(root)}\n{latest.line if latest else ''}"
    return Checkpoint(origin, size, root, sign_note(text, signers), latest)


def parse_checkpoint(note: str | bytes) -> Checkpoint:
    """Take a checkpoint apart. Raises BadNote; that it is signed is not looked at."""
    parsed = parse_note(note)
    lines = parsed.text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise BadNote("A checkpoint has three lines: origin, size and root.")
    origin, size, root = lines[:3]
    if not _SIZE.fullmatch(size) or int(size) > SIZE_MAX:
        raise BadNote("The size of a checkpoint is a decimal number without leading zeroes.")
    return Checkpoint(origin, int(size), _root(root), parsed, _latest(lines[3:]))


def _latest(extensions: Sequence[str]) -> LatestRoot | None:
    found = [words for line in extensions if (words := line.split(" "))[0] == LATEST]
    if not found:
        return None
    if len(found) > 1 or len(found[0]) not in (2, 3):
        raise BadNote(f"A checkpoint has one line {LATEST}, with a root and perhaps a time.")
    _, root, *time = found[0]
    return LatestRoot(_root(root), _read_time(time[0]) if time else None)


def _root(text: str) -> bytes:
    decoded = decode_base64(text)
    if len(decoded) != HASH_BYTES:
        raise BadNote("The root of a checkpoint is a SHA-256 hash.")
    return decoded


def _read_time(text: str) -> datetime:
    if _TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError as error:
            raise BadNote(f"The time {text!r} of a checkpoint is none.") from error
    raise BadNote("The time of a checkpoint is written as 2026-03-01T09:30:00.000Z.")


def _written(time: datetime | None) -> str:
    if time is None:
        return ""
    text = time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    return f" {text}Z"
