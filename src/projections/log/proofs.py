"""C2SP tlog-proof: that an entry is in a log, in one text that can be checked offline. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from projections.log.checkpoints import SIZE_MAX, Checkpoint, parse_checkpoint
from projections.log.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from projections.log.notes import BadNote, Verifier, decode_base64, encode_base64

HEADER = "c2sp.org/tlog-proof@v1"
HASHES_MAX = 63
_INDEX = re.compile(r"index (0|[1-9]\d{0,18})", re.ASCII)


class BadProof(BadNote):
    """A proof does not hold"""


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """Leaf `index` is in the tree of the checkpoint, if the hashes lead to its root."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint

    def __str__(self) -> str:
        hashes = "".join(f"{encode_base64(one)}\n" for one in self.hashes)
        return f"{HEADER}\nindex {self.index}\n{hashes}\n{self.checkpoint.note}"

    def verify(self, entry: bytes, known: Sequence[Verifier]) -> None:
        """Raises BadNote where no known key signed the checkpoint, BadProof where the entry is
        not what the checkpoint has at this index."""
        self.checkpoint.verify(known)
        if not verify_inclusion(
            leaf_hash(entry), self.index, self.checkpoint.size, self.hashes, self.checkpoint.root
        ):
            raise BadProof(
                f"The entry is not at index {self.index} of the log of {self.checkpoint.size}."
            )


def parse_proof(text: str) -> InclusionProof:
    """Take a proof apart, and refuse whatever is not written as the format has it."""
    head, empty_line, note = text.partition("\n\n")
    lines = head.split("\n")
    if not empty_line or lines[0] != HEADER:
        raise BadProof(f"A proof begins with the line {HEADER}.")
    rest = lines[1:]
    if rest and rest[0].startswith("extra "):
        decode_base64(rest.pop(0).removeprefix("extra "))
    index = _INDEX.fullmatch(rest[0]) if rest else None
    if index is None or int(index[1]) > SIZE_MAX:
        raise BadProof("A proof has a line with the index of its entry.")
    hashes = tuple(decode_base64(line) for line in rest[1:])
    if len(hashes) > HASHES_MAX or any(len(one) != HASH_BYTES for one in hashes):
        raise BadProof("A proof has at most 63 lines with a SHA-256 hash each.")
    return InclusionProof(int(index[1]), hashes, parse_checkpoint(note))
