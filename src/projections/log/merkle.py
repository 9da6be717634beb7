"""The Merkle tree of RFC 6962 with SHA-256: hashes, roots and proofs. Pure.

A node is the hash of a complete subtree: `Node(level, number)` covers the leaves from
`number * 2**level` up to, without, `(number + 1) * 2**level`. Where nodes are kept is the business
of a `ReadNodes`.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


class Node(NamedTuple):
    level: int
    number: int


ReadNodes = Callable[[Sequence[Node]], Sequence[bytes]]
"""Gives the hashes of nodes, in the order in which they are asked for."""

Range = tuple[int, int]


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def root(size: int, read: ReadNodes) -> bytes:
    """The root of the tree of the first `size` leaves."""
    if size == 0:
        return EMPTY_ROOT
    return _hashes([(0, size)], read)[0]


def inclusion_proof(index: int, size: int, read: ReadNodes) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root at `size`, the leaf's sibling first."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    first, end, siblings = 0, size, []
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            siblings.append((middle, end))
            end = middle
        else:
            siblings.append((first, middle))
            first = middle
    return _hashes(siblings[::-1], read)


def consistency_proof(old: int, new: int, read: ReadNodes) -> list[bytes]:
    """The hashes that show the first `old` leaves to be the beginning of the first `new`."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} leaves is no beginning of one of {new}")
    if old in (0, new):
        return []
    first, end, parts = 0, new, []
    while old < end:
        middle = first + _split(end - first)
        if old <= middle:
            parts.append((middle, end))
            end = middle
        else:
            parts.append((first, middle))
            first = middle
    if first > 0:  # else it is the old root, which the verifier has
        parts.append((first, end))
    return _hashes(parts[::-1], read)


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes
) -> bool:
    """Whether the proof leads from this leaf hash at `index` to the root of the tree of `size`."""
    if not 0 <= index < size or not _are_hashes([leaf, expected_root, *proof]):
        return False
    at, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            result = node_hash(sibling, result)
            at, last = _to_left_turn(at, last)
        else:
            result = node_hash(result, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and result == expected_root


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the proof shows the tree of `old` leaves to be the beginning of that of `new`."""
    if not 0 <= old <= new or not _are_hashes([old_root, new_root, *proof]):
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    hashes = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not hashes:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    from_old = from_new = hashes[0]
    for part in hashes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            from_old, from_new = node_hash(part, from_old), node_hash(part, from_new)
            at, last = _to_left_turn(at, last)
        else:
            from_new = node_hash(from_new, part)
        at, last = at >> 1, last >> 1
    return last == 0 and from_old == old_root and from_new == new_root


class Frontier:
    """A tree that only grows: leaf after leaf, in memory that grows with its height alone."""

    def __init__(self) -> None:
        self.size = 0
        self._complete: list[bytes] = []
        """Roots of the complete subtrees that make it up, the largest first."""

    def append(self, leaf: bytes) -> None:
        carried, left = leaf, self.size
        while left & 1:
            carried = node_hash(self._complete.pop(), carried)
            left >>= 1
        self._complete.append(carried)
        self.size += 1

    def copy(self) -> "Frontier":
        other = Frontier()
        other.size, other._complete = self.size, [*self._complete]
        return other

    def root(self) -> bytes:
        return _fold(self._complete) if self._complete else EMPTY_ROOT


def complete_nodes(first: int, end: int) -> Iterator[Node]:
    """The complete subtrees that make up a range of leaves as the tree has it, left to right."""
    while first < end:
        level = (end - first).bit_length() - 1
        yield Node(level, first >> level)
        first += 1 << level


def _hashes(ranges: Sequence[Range], read: ReadNodes) -> list[bytes]:
    """The hashes of ranges, with one call of `read` for them all."""
    nodes = [list(complete_nodes(*one)) for one in ranges]
    hashes = iter(read([node for some in nodes for node in some]))
    return [_fold([next(hashes) for _ in some]) for some in nodes]


def _fold(hashes: Sequence[bytes]) -> bytes:
    result = hashes[-1]
    for one in hashes[-2::-1]:
        result = node_hash(one, result)
    return result


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _to_left_turn(at: int, last: int) -> tuple[int, int]:
    """Past the levels on which the last node of a tree has no sibling."""
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _are_hashes(values: Sequence[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
