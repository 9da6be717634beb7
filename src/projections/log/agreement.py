"""What must agree with the checkpoints that were signed before another one is."""

from collections.abc import Sequence

import psycopg

from ledger.errors import LedgerError
from projections.feed import head
from projections.log import latest_table, tile_table
from projections.log.checkpoints import Checkpoint
from projections.log.growth import GrowingTree, TilesLost
from projections.log.latest import LatestEvents
from projections.log.merkle import root
from projections.log.tiles import Tile, TileNodes, last_tiles


class LogInconsistent(LedgerError):
    """The events are not those that the log has signed"""


def read_tree(connection: psycopg.Connection, version: int, size: int) -> GrowingTree:
    """Raises TilesLost where it lacks tiles."""
    if version != tile_table.VERSION:
        raise TilesLost(f"The tiles are of version {version}.")
    wanted: list[Tile] = [tile for tile, _ in last_tiles(size)]
    return GrowingTree(size, tile_table.read_tiles(connection, wanted) if wanted else {})


def read_latest(
    connection: psycopg.Connection, size: int, newest: Checkpoint, kept: LatestEvents | None
) -> LatestEvents:
    """Those in memory if they are of this size, else those of the pages.

    Raises TilesLost where they lack, or are not those that were signed.
    """
    if size > newest.size:
        raise TilesLost(f"The newest checkpoint is of {newest.size} events, the tiles of {size}.")
    if size == 0:
        return LatestEvents()
    latest = kept if kept is not None and kept.size == size else latest_table.read(connection, size)
    if newest.size == size and not _agrees(latest, newest):
        raise TilesLost("The pages of latest events are not those that were signed.")
    return latest


def require_root(nodes: TileNodes, kept: Sequence[tuple[int, bytes]]) -> None:
    """Raises LogInconsistent where the tree is another than that of a checkpoint."""
    for size, kept_root in kept:
        if root(size, nodes) != kept_root:
            raise LogInconsistent(
                f"The first {size} events are not those of the checkpoint that was signed for "
                "them. Nothing is signed; 'booking-ledger verify' says more."
            )


def require_latest(latest: LatestEvents, newest: Checkpoint) -> None:
    """Raises LogInconsistent where the newest checkpoint says that others are the latest."""
    if not _agrees(latest, newest):
        raise LogInconsistent(
            f"The latest events of the bookings are not those of the checkpoint of {newest.size} "
            "events. Nothing is signed; 'booking-ledger verify' says more."
        )


def require_events(connection: psycopg.Connection, signed: int) -> None:
    """Raises LogInconsistent where more events were signed than are there."""
    newest_position = head(connection)
    if newest_position < signed:
        raise LogInconsistent(
            f"A checkpoint was signed for {signed} events, the ledger has {newest_position}."
        )


def _agrees(latest: LatestEvents, signed: Checkpoint) -> bool:
    return signed.latest is None or signed.latest.root == latest.root()
