"""Which events are the latest of their booking, and the Merkle tree over that. Pure.

A bit for each event: 1 while no later event has the same booking in its entry. Bits are in pages;
a page is a leaf of a tree as RFC 6962 has it, so that its root and proofs are those of `merkle`.
"""

from collections.abc import Iterable

from projections.log.merkle import EMPTY_ROOT, leaf_hash, node_hash

PAGE_EVENTS = 8_192
PAGE_BYTES = PAGE_EVENTS // 8


class LatestEvents:
    """The bits of the first `size` events, in memory: a bit an event.

    An event is the latest when it is appended, and never again after it was superseded. To append
    events and supersede them a second time, in their order, therefore changes nothing.
    """

    def __init__(self, size: int = 0, pages: Iterable[bytes] = ()) -> None:
        self.size = size
        self._pages = [bytearray(page) for page in pages]
        self._levels: list[list[bytes]] = [[]]
        """Hashes of the pages, then of each two neighbours; a last one alone goes up as it is."""
        self._unhashed = set(range(len(self._pages)))

    def append(self, count: int) -> None:
        end = self.size + count
        for number in range(self.size // PAGE_EVENTS, page_count(end)):
            if number == len(self._pages):
                self._pages.append(bytearray(PAGE_BYTES))
            start = number * PAGE_EVENTS
            first, last = max(self.size - start, 0), min(end - start, PAGE_EVENTS)
            bits = int.from_bytes(self._pages[number], "little") | (1 << last) - (1 << first)
            self._pages[number][:] = bits.to_bytes(PAGE_BYTES, "little")
            self._unhashed.add(number)
        self.size = end

    def supersede(self, index: int) -> None:
        """A later event has the booking of the event at this leaf."""
        number, bit = divmod(index, PAGE_EVENTS)
        self._pages[number][bit >> 3] &= ~(1 << (bit & 7))
        self._unhashed.add(number)

    def hash_changes(self) -> dict[int, bytes]:
        """Bring the tree up to the bits; the pages that had changed."""
        changed = {number: bytes(self._pages[number]) for number in sorted(self._unhashed)}
        self._unhashed.clear()
        for number, page in changed.items():
            _put(self._levels[0], number, leaf_hash(page))
        self._hash_above(list(changed))
        return changed

    def root(self) -> bytes:
        self.hash_changes()
        return self._levels[-1][0] if self._pages else EMPTY_ROOT

    def page(self, number: int) -> bytes:
        return bytes(self._pages[number])

    def proof(self, number: int) -> list[bytes]:
        """The hashes that lead from a page to the root, its neighbour's first."""
        self.hash_changes()
        siblings = []
        for hashes in self._levels[:-1]:
            if (number ^ 1) < len(hashes):
                siblings.append(hashes[number ^ 1])
            number >>= 1
        return siblings

    def _hash_above(self, numbers: list[int]) -> None:
        level = 0
        while len(below := self._levels[level]) > 1:
            level += 1
            if level == len(self._levels):
                self._levels.append([])
            numbers = sorted({number >> 1 for number in numbers})
            for number in numbers:
                pair = below[2 * number : 2 * number + 2]
                one = node_hash(*pair) if len(pair) == 2 else pair[0]
                _put(self._levels[level], number, one)


def page_count(size: int) -> int:
    return -(-size // PAGE_EVENTS)


def is_latest(page: bytes, index: int) -> bool:
    """What the page that has the event at leaf `index` says of it."""
    bit = index % PAGE_EVENTS
    return bool(page[bit >> 3] >> (bit & 7) & 1)


def _put(hashes: list[bytes], number: int, one: bytes) -> None:
    if number == len(hashes):
        hashes.append(one)
    else:
        hashes[number] = one
