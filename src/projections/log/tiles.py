"""C2SP tlog-tiles: the tree in pieces of 256 hashes, their coordinates and paths. Pure."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from projections.log.merkle import HASH_BYTES, Node, node_hash

TILE_HEIGHT = 8
TILE_HASHES = 1 << TILE_HEIGHT
TILE_BYTES = TILE_HASHES * HASH_BYTES
LEVEL_MAX = 63
NUMBER_MAX = 2**63 - 1

_NUMBER = re.compile(r"((?:x\d{3}/)*)(\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


class Tile(NamedTuple):
    """Place of a tile: hash `i` of it covers 256**level leaves from (number * 256 + i) of them."""

    level: int
    number: int


ReadTiles = Callable[[Sequence[Tile]], dict[Tile, bytes]]
"""Gives the hashes of tiles, each at least as far as the log has come; absent ones are left out."""


class TileMissing(Exception):
    """A tile lacks, or lacks hashes that the tree has."""


@dataclass(frozen=True, slots=True)
class TileNumber:
    """The end of a tile's address: its number, and its width where it is partial."""

    number: int
    width: int


def parse_number(text: str) -> TileNumber | None:
    """Read `x001/x234/067` or `x001/x234/067.p/8`; None unless it is written just so."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    tile_number = int(match[1].replace("x", "").replace("/", "") + match[2])
    width = TILE_HASHES if match[3] is None else int(match[3])
    partial = match[3] is not None
    if tile_number > NUMBER_MAX or (partial and width >= TILE_HASHES):
        return None
    number = TileNumber(tile_number, width)
    return number if number_path(number) == text else None


def number_path(number: TileNumber) -> str:
    groups = f"{number.number:03}"
    groups = groups.zfill(-(-len(groups) // 3) * 3)
    parts = [groups[start : start + 3] for start in range(0, len(groups), 3)]
    path = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return path if number.width == TILE_HASHES else f"{path}.p/{number.width}"


def tile_width(tile: Tile, size: int) -> int:
    """How many hashes a tile has in a tree of `size` leaves; 0 where there is no such tile."""
    hashes = size >> (TILE_HEIGHT * tile.level)
    return max(0, min(TILE_HASHES, hashes - tile.number * TILE_HASHES))


def last_tiles(size: int) -> Iterator[tuple[Tile, int]]:
    """The rightmost tile of each level that a tree of `size` leaves has, and its width."""
    level = 0
    while hashes := size >> (TILE_HEIGHT * level):
        number = (hashes - 1) // TILE_HASHES
        yield Tile(level, number), hashes - number * TILE_HASHES
        level += 1


def tile_root(hashes: bytes) -> bytes:
    """The hash of the subtree over the hashes given, whose number is a power of two."""
    nodes = split_hashes(hashes)
    while len(nodes) > 1:
        nodes = [
            node_hash(left, right) for left, right in zip(nodes[::2], nodes[1::2], strict=True)
        ]
    return nodes[0]


def split_hashes(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


class TileNodes:
    """Reads nodes of a tree out of its tiles; each tile is asked for once, each node made once."""

    def __init__(self, read: ReadTiles) -> None:
        self._read = read
        self._tiles: dict[Tile, bytes] = {}
        self._nodes: dict[Node, bytes] = {}

    def __call__(self, nodes: Sequence[Node]) -> list[bytes]:
        unknown = {node for node in nodes if node not in self._nodes}
        wanted = {_tile_of(node) for node in unknown} - self._tiles.keys()
        if wanted:
            self._tiles |= self._read(sorted(wanted))
        self._nodes.update((node, self._made(node)) for node in unknown)
        return [self._nodes[node] for node in nodes]

    def _made(self, node: Node) -> bytes:
        tile = _tile_of(node)
        height = node.level % TILE_HEIGHT
        first = (node.number << height) % TILE_HASHES * HASH_BYTES
        end = first + (HASH_BYTES << height)
        hashes = self._tiles.get(tile, b"")
        if len(hashes) < end:
            raise TileMissing(
                f"tile {tile.number} of level {tile.level} lacks, or lacks its last hashes"
            )
        return tile_root(hashes[first:end])


def _tile_of(node: Node) -> Tile:
    height = node.level % TILE_HEIGHT
    return Tile(node.level // TILE_HEIGHT, (node.number << height) // TILE_HASHES)
