"""What a row of an import is known by, for ever."""

from collections.abc import Sequence
from hashlib import blake2b
from struct import unpack

FINGERPRINT_BYTES = 8
OCCURRENCES_MAX = 200_000


class Fingerprints:
    """The fingerprints of the rows of one run, in order.

    Made from all that a row says and from how many rows of this run said the same before. So a
    file that is imported again, has grown, or overlaps another writes nothing twice, whatever it
    is called, and a row that really stands in a file twice counts twice.
    """

    def __init__(self, key: bytes) -> None:
        """`key` is what they are made with: they are kept, and made of personal data."""
        self._keyed = blake2b(digest_size=FINGERPRINT_BYTES, key=key)
        # Counted within a window: identical rows are neighbours in any sensible order, and the
        # memory of a run must not grow with its file. The window has two parts; the older one
        # goes when the newer is full.
        self._occurrences: dict[int, int] = {}
        self._older_occurrences: dict[int, int] = {}

    def of(self, content: bytes) -> int:
        """Of the next row. `content` is all that it says, as a JSON array."""
        return self._counted(content, self._hashed(content))

    def of_all(self, contents: Sequence[bytes]) -> list[int]:
        """The same of the next rows."""
        digests = []
        for content in contents:
            digest = self._keyed.copy()
            digest.update(content)
            digests.append(digest.digest())
        firsts = unpack(f">{len(digests)}q", b"".join(digests))
        if not self._are_all_new(firsts):
            return list(map(self._counted, contents, firsts))
        self._occurrences.update(dict.fromkeys(firsts, 1))
        return list(firsts)

    def _are_all_new(self, firsts: Sequence[int]) -> bool:
        return (
            len(self._occurrences) + len(firsts) <= OCCURRENCES_MAX
            and len(set(firsts)) == len(firsts)
            and self._occurrences.keys().isdisjoint(firsts)
            and self._older_occurrences.keys().isdisjoint(firsts)
        )

    def _counted(self, content: bytes, first: int) -> int:
        before = self._occurrences.get(first) or self._older_occurrences.get(first, 0)
        self._occurrences[first] = before + 1
        if len(self._occurrences) > OCCURRENCES_MAX:
            self._older_occurrences, self._occurrences = self._occurrences, {}
        if before == 0:
            return first
        return self._hashed(content + b"%d" % (before + 1))  # unambiguous: it ends with a bracket

    def _hashed(self, content: bytes) -> int:
        digest = self._keyed.copy()
        digest.update(content)
        return int.from_bytes(digest.digest(), "big", signed=True)
