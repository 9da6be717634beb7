"""The Merkle tree, held against pymerkle, which is not ours, and against forged proofs."""

import random
from collections.abc import Sequence
from functools import cache
from hashlib import sha256

import pytest
from pymerkle import InmemoryTree

from projections.log.merkle import (
    EMPTY_ROOT,
    Frontier,
    Node,
    complete_nodes,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

SIZES = 300
BIG = random.Random(6962).sample(range(SIZES, 20_000), 6)


class Leaves:
    """A tree whose nodes are hashed from its leaves whenever they are asked for."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._levels = [list(leaves)]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            self._levels.append(
                [node_hash(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)]
            )

    def __call__(self, nodes: Sequence[Node]) -> list[bytes]:
        return [self._levels[node.level][node.number] for node in nodes]


def entry(index: int) -> bytes:
    return f"entry {index}".encode()


@pytest.fixture(scope="module", name="theirs")
def _theirs() -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    for index in range(max(BIG)):
        tree.append_entry(entry(index))
    return tree


@pytest.fixture(scope="module", name="ours")
def _ours() -> Leaves:
    return Leaves([leaf_hash(entry(index)) for index in range(max(BIG))])


def without_own(path: Sequence[str]) -> list[bytes]:
    """Their inclusion proofs begin with the leaf itself."""
    return [bytes.fromhex(one) for one in path[1:]]


@pytest.mark.parametrize("size", [*range(1, SIZES + 1), *BIG])
def test_roots_and_proofs_are_those_of_pymerkle(
    ours: Leaves, theirs: InmemoryTree, size: int
) -> None:
    expected = theirs.get_root(size)
    assert root(size, ours) == expected
    some = random.Random(size)
    for index in {0, size - 1, *(some.randrange(size) for _ in range(4))}:
        proof = inclusion_proof(index, size, ours)
        assert proof == without_own(theirs.prove_inclusion(index + 1, size).serialize()["path"])
        assert verify_inclusion(leaf_hash(entry(index)), index, size, proof, expected)
    for old in {1, size, *(some.randrange(size + 1) for _ in range(4))}:
        proof = consistency_proof(old, size, ours)
        assert proof == (subproof(old, 0, size, whole=True) if old else [])
        assert verify_consistency(old, size, theirs.get_root(old), expected, proof)


@cache
def by_definition(first: int, end: int) -> bytes:
    """MTH of RFC 6962, section 2.1."""
    if end - first == 1:
        return leaf_hash(entry(first))
    middle = first + split(end - first)
    return node_hash(by_definition(first, middle), by_definition(middle, end))


def split(size: int) -> int:
    return max(1 << power for power in range(size.bit_length()) if 1 << power < size)


def subproof(old: int, first: int, end: int, *, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, section 2.1.2: pymerkle's proofs of consistency are of another form."""
    if old == end - first:
        return [] if whole else [by_definition(first, end)]
    k = split(end - first)
    if old <= k:
        left = subproof(old, first, first + k, whole=whole)
        return [*left, by_definition(first + k, end)]
    return [*subproof(old - k, first + k, end, whole=False), by_definition(first, first + k)]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 255, 256, 257, 300])
def test_a_frontier_has_the_same_root_in_memory_that_does_not_grow(ours: Leaves, size: int) -> None:
    frontier = Frontier()
    for index in range(size):
        frontier.append(leaf_hash(entry(index)))

    assert frontier.size == size
    assert frontier.root() == root(size, ours)


def test_the_empty_tree_has_the_hash_of_nothing(ours: Leaves) -> None:
    assert root(0, ours) == EMPTY_ROOT == sha256(b"").digest()


def test_complete_nodes_make_up_a_tree() -> None:
    assert list(complete_nodes(0, 7)) == [Node(2, 0), Node(1, 2), Node(0, 6)]


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0)])
def test_there_is_no_proof_of_a_leaf_that_is_not_there(ours: Leaves, index: int, size: int) -> None:
    with pytest.raises(ValueError, match="has no leaf"):
        inclusion_proof(index, size, ours)


def test_there_is_no_proof_that_a_tree_shrank(ours: Leaves) -> None:
    with pytest.raises(ValueError, match="no beginning"):
        consistency_proof(6, 5, ours)


# --- Attacks --------------------------------------------------------------------------------

TREES = [(0, 2), (4, 5), (0, 8), (7, 8), (3, 7), (6, 7), (0, 300), (255, 257), (299, 300)]
PAIRS = [(1, 2), (2, 3), (3, 7), (4, 7), (6, 7), (7, 8), (8, 9), (255, 300), (256, 300)]


def flipped(value: bytes, bit: int = 0) -> bytes:
    at, shift = divmod(bit, 8)
    return value[:at] + bytes([value[at] ^ 1 << shift]) + value[at + 1 :]


def forged(proof: list[bytes]) -> list[list[bytes]]:
    """Every hash flipped at its first and last bit, left out or doubled, two swapped, too long."""
    lists = [[*proof, sha256(b"more").digest()], [sha256(b"more").digest(), *proof]]
    for at, one in enumerate(proof):
        lists += [[*proof[:at], flipped(one, bit), *proof[at + 1 :]] for bit in (0, 255)]
        lists += [[*proof[:at], *proof[at + 1 :]], [*proof[: at + 1], *proof[at:]]]
        lists += [[*proof[:at], one[:-1], *proof[at + 1 :]]]
        lists += [[*proof[:at], one + b"\0", *proof[at + 1 :]]]
    lists += [
        [*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :]] for at in range(len(proof) - 1)
    ]
    return lists


@pytest.mark.parametrize(("index", "size"), TREES)
def test_a_forged_inclusion_proof_is_refused(ours: Leaves, index: int, size: int) -> None:
    leaf, tree = leaf_hash(entry(index)), root(size, ours)
    proof = inclusion_proof(index, size, ours)

    assert verify_inclusion(leaf, index, size, proof, tree)
    for wrong in forged(proof):
        assert not verify_inclusion(leaf, index, size, wrong, tree)
    for other in {-1, size, size + 1, *range(size)} - {index}:
        assert not verify_inclusion(leaf, other, size, proof, tree)
    assert not verify_inclusion(flipped(leaf), index, size, proof, tree)
    assert not verify_inclusion(leaf, index, size, proof, flipped(tree))
    assert not verify_inclusion(leaf_hash(entry(index + 1)), index, size, proof, tree)
    assert not verify_inclusion(leaf, index, size, proof, root(size + 1, ours))
    assert not verify_inclusion(leaf, index, 0, proof, tree)
    assert not verify_inclusion(leaf[:-1], index, size, proof, tree)


def test_a_node_cannot_pass_for_a_leaf(ours: Leaves) -> None:
    """The two kinds of hashes have different prefixes, so a proof cannot be cut short."""
    left, right = ours([Node(0, 0), Node(0, 1)])

    assert leaf_hash(left + right) != node_hash(left, right)
    assert not verify_inclusion(leaf_hash(left + right), 0, 2, ours([Node(1, 1)]), root(4, ours))


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_a_forged_consistency_proof_is_refused(ours: Leaves, old: int, new: int) -> None:
    before, after = root(old, ours), root(new, ours)
    proof = consistency_proof(old, new, ours)

    assert verify_consistency(old, new, before, after, proof)
    for wrong in forged(proof):
        assert not verify_consistency(old, new, before, after, wrong)
    for size in {-1, 0, new, new + 1, *range(1, new)} - {old}:
        assert not verify_consistency(size, new, before, after, proof)
    assert not verify_consistency(new, old, before, after, proof)
    assert not verify_consistency(old, new, after, before, proof)
    assert not verify_consistency(old, new, flipped(before), after, proof)
    assert not verify_consistency(old, new, before, flipped(after), proof)
    assert not verify_consistency(old, new, before, root(new + 1, ours), proof)
    assert not verify_consistency(old, old, before, after, [])
    assert not verify_consistency(old, new, before[:-1], after, proof)


def test_only_the_empty_tree_begins_every_tree(ours: Leaves) -> None:
    assert verify_consistency(0, 5, EMPTY_ROOT, root(5, ours), [])
    assert not verify_consistency(0, 5, root(1, ours), root(5, ours), [])
    assert not verify_consistency(0, 5, EMPTY_ROOT, root(5, ours), [root(1, ours)])
    assert verify_consistency(5, 5, root(5, ours), root(5, ours), [])
    assert not verify_consistency(5, 5, root(5, ours), root(5, ours), [root(1, ours)])
