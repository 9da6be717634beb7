"""A tree that grows by leaves, as the tiles that this changes. Pure."""

from collections.abc import Mapping

from projections.log.merkle import HASH_BYTES
from projections.log.tiles import TILE_BYTES, Tile, last_tiles, tile_root


class TilesLost(Exception):
    """The rightmost tiles are not those of a tree of the size that the log has."""


class GrowingTree:
    """Continues a tree of `size` leaves, given the rightmost tile of each of its levels.

    Raises TilesLost where one of them lacks or has another width.
    """

    def __init__(self, size: int, edge: Mapping[Tile, bytes]) -> None:
        self.size = size
        self._open: list[bytearray] = []
        """The tile of each level that is being filled; empty where the last one is full."""
        self._numbers: list[int] = []
        self._full: dict[Tile, bytes] = {}
        for tile, width in last_tiles(size):
            hashes = edge.get(tile, b"")
            if len(hashes) != width * HASH_BYTES:
                raise TilesLost(
                    f"Tile {tile.number} of level {tile.level} has {len(hashes) // HASH_BYTES} "
                    f"hashes, a log of {size} has {width} there."
                )
            full = len(hashes) == TILE_BYTES
            self._open.append(bytearray() if full else bytearray(hashes))
            self._numbers.append(tile.number + full)

    def append(self, leaf: bytes) -> None:
        self._add(0, leaf)
        self.size += 1

    def changed_tiles(self) -> dict[Tile, bytes]:
        """All that were filled, and the open ones as they are now."""
        return self._full | {
            Tile(level, self._numbers[level]): bytes(hashes)
            for level, hashes in enumerate(self._open)
            if hashes
        }

    def _add(self, level: int, one: bytes) -> None:
        if level == len(self._open):
            self._open.append(bytearray())
            self._numbers.append(0)
        self._open[level] += one
        if len(self._open[level]) == TILE_BYTES:
            full = bytes(self._open[level])
            self._full[Tile(level, self._numbers[level])] = full
            self._open[level].clear()
            self._numbers[level] += 1
            self._add(level + 1, tile_root(full))
