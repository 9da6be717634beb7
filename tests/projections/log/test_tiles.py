"""Tiles: coordinates, paths, widths, and nodes read out of them."""

import pytest

from projections.log.merkle import Node, leaf_hash, root
from projections.log.tiles import (
    Tile,
    TileMissing,
    TileNodes,
    TileNumber,
    last_tiles,
    number_path,
    parse_number,
    tile_root,
    tile_width,
)

PATHS = {
    "000": TileNumber(0, 256),
    "255": TileNumber(255, 256),
    "x001/000": TileNumber(1_000, 256),
    "x001/x234/067": TileNumber(1_234_067, 256),
    "x001/x234/067.p/8": TileNumber(1_234_067, 8),
    "000.p/1": TileNumber(0, 1),
    "000.p/255": TileNumber(0, 255),
}


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_those_of_the_specification(path: str) -> None:
    assert parse_number(path) == PATHS[path]
    assert number_path(PATHS[path]) == path


@pytest.mark.parametrize(
    "path",
    [
        *("", "0", "00", "0000", "x000/000", "x001", "001/000", "x01/000", "x001/0000"),
        *("000.p/0", "000.p/256", "000.p/999", "000.p/01", "000.p/", "000.p", "000.p/+1"),
        *("000/", "/000", "000 ", "-01", "٠٠٠", "000.p/١", "x999/" * 7 + "999", "000\n"),
    ],
)
def test_what_is_not_written_just_so_is_no_path(path: str) -> None:
    assert parse_number(path) is None


def test_widths_of_the_specifications_example() -> None:
    """A tree of 70,000: 273 full tiles and one of 112, one full and one of 17, one of 1."""
    size = 70_000

    assert list(last_tiles(size)) == [
        (Tile(0, 273), 112),
        (Tile(1, 1), 17),
        (Tile(2, 0), 1),
    ]
    assert [tile_width(Tile(0, number), size) for number in (0, 272, 273, 274)] == [
        256,
        256,
        112,
        0,
    ]
    assert [tile_width(Tile(1, number), size) for number in (0, 1, 2)] == [256, 17, 0]
    assert [tile_width(Tile(level, 0), size) for level in (2, 3, 63)] == [1, 0, 0]


def test_a_tree_of_256_is_a_full_tile_and_one_of_width_one() -> None:
    assert list(last_tiles(256)) == [(Tile(0, 0), 256), (Tile(1, 0), 1)]
    assert list(last_tiles(0)) == []


def test_nodes_are_read_out_of_tiles_each_asked_for_once() -> None:
    leaves = [leaf_hash(bytes([index])) for index in range(3)] + [leaf_hash(b"x")] * 254
    level_0 = {Tile(0, 0): b"".join(leaves[:256]), Tile(0, 1): leaves[256]}
    tiles = {**level_0, Tile(1, 0): tile_root(level_0[Tile(0, 0)])}
    asked: list[Tile] = []

    def read(wanted: object) -> dict[Tile, bytes]:
        asked.extend(wanted)  # type: ignore[call-overload]
        return {tile: tiles[tile] for tile in wanted if tile in tiles}  # type: ignore[attr-defined]

    nodes = TileNodes(read)

    assert nodes([Node(0, 2), Node(0, 256), Node(8, 0)]) == [
        leaves[2],
        leaves[256],
        tiles[Tile(1, 0)],
    ]
    assert nodes([Node(7, 0)]) == [tile_root(b"".join(leaves[:128]))]
    assert root(257, nodes)
    assert sorted(asked) == sorted(tiles)
    with pytest.raises(TileMissing, match="tile 1 of level 0"):
        nodes([Node(0, 257)])
    with pytest.raises(TileMissing, match="tile 9 of level 0"):
        nodes([Node(0, 9 * 256)])
