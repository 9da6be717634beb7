"""The tiles of an audit: are they there, of the right width, and one the root of the other?"""

from collections.abc import Iterator

from projections.audit_snapshot import Snapshot
from projections.log.merkle import HASH_BYTES
from projections.log.tile_table import exists
from projections.log.tiles import (
    TILE_BYTES,
    TILE_HASHES,
    TILE_HEIGHT,
    Tile,
    split_hashes,
    tile_root,
    tile_width,
)

TILES = "SELECT number, hashes FROM log_tile WHERE level = {} ORDER BY number"


def logged_leaves(snapshot: Snapshot, logged: int) -> Iterator[bytes | None]:
    """The leaf hashes that the tiles have, None for each that lacks."""
    for number, hashes in _tiles(snapshot, 0, logged, "leaf tiles"):
        width = tile_width(Tile(0, number), logged)
        found: list[bytes | None] = [*split_hashes(hashes)[:width]]
        if found and len(found[-1] or b"") < HASH_BYTES:
            found.pop()
        yield from found
        yield from [None] * (width - len(found))


def check_upper_tiles(snapshot: Snapshot, logged: int) -> None:
    """Each hash of an upper tile is the root of the full tile below it."""
    level = 1
    while logged >> (TILE_HEIGHT * level):
        below = _tiles(snapshot, level - 1, logged, f"tiles below {level}", report=False)
        for number, hashes in _tiles(snapshot, level, logged, f"tiles of {level}"):
            for at, one in enumerate(split_hashes(hashes)):
                _, full = next(below, (0, b""))
                if len(full) == TILE_BYTES and tile_root(full) != one:
                    first = (number * TILE_HASHES + at) << (TILE_HEIGHT * level)
                    snapshot.findings.add(
                        "wrong_tile",
                        f"hash {at} of tile {number} of level {level} is not the root of the "
                        "tile below it",
                        position=first + 1,
                    )
        level += 1


def _tiles(
    snapshot: Snapshot, level: int, logged: int, name: str, *, report: bool = True
) -> Iterator[tuple[int, bytes]]:
    """Every tile that a log of this size has on a level; empty where it is missing."""
    rows = _rows(snapshot, level, logged, name)
    row = next(rows, None)
    hashes_there = logged >> (TILE_HEIGHT * level)
    for number in range(-(-hashes_there // TILE_HASHES)):
        while row is not None and row[0] < number:
            row = next(rows, None)
        hashes = row[1] if row is not None and row[0] == number else b""
        width = tile_width(Tile(level, number), logged)
        if report and len(hashes) != width * HASH_BYTES:
            snapshot.findings.add(
                "wrong_tile",
                f"tile {number} of level {level} has {len(hashes)} bytes, not {width * HASH_BYTES}",
                position=(number * TILE_HASHES << (TILE_HEIGHT * level)) + 1,
            )
        yield number, hashes


def _rows(snapshot: Snapshot, level: int, logged: int, name: str) -> Iterator[tuple[int, bytes]]:
    if logged and exists(snapshot.connection):
        yield from snapshot.stream(name, TILES.format(level))
