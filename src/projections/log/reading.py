"""Read the log: its checkpoints, tiles and entries, and proofs made of them.

What is read never goes beyond the newest checkpoint: only what is signed is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from ledger.errors import InvalidField, LedgerError
from ledger.record import entry
from projections.feed import EVENTS_AFTER
from projections.log import checkpoint_table, tile_table
from projections.log.agreement import read_latest
from projections.log.checkpoint_table import KeptCheckpoint
from projections.log.checkpoints import Checkpoint
from projections.log.growth import TilesLost
from projections.log.latest import PAGE_EVENTS
from projections.log.merkle import HASH_BYTES, Node, consistency_proof, inclusion_proof
from projections.log.proofs import InclusionProof
from projections.log.tiles import (
    TILE_HASHES,
    Tile,
    TileMissing,
    TileNodes,
    TileNumber,
    tile_width,
)


class NotInLog(LedgerError):
    """Not in the log"""


class LogBehind(LedgerError):
    """The log is being made anew"""


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That the tree of `old.size` is the beginning of that of `new.size`."""

    old_size: int
    new_size: int
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LatestProof:
    """A page of latest events, and the hashes that lead from it to the root of a checkpoint."""

    page: bytes
    hashes: tuple[bytes, ...]


PROOFS_AT_ONCE = 500
"""What they share is in memory meanwhile: at most a tile of 8 kB for each, and those above."""
LOGGED = "SELECT position FROM projection WHERE name = %s AND version = %s"


def newest_checkpoint(connection: psycopg.Connection) -> KeptCheckpoint:
    """Raises NotInLog while there is none."""
    found = checkpoint_table.newest(connection)
    if found is None:
        raise NotInLog("The log has no checkpoint yet: no projector has begun it.")
    return found


def checkpoint_of(connection: psycopg.Connection, size: int) -> KeptCheckpoint:
    """Raises NotInLog, naming the next size that there is one of."""
    found = checkpoint_table.at_size(connection, size)
    if found is None:
        larger = checkpoint_table.smallest_from(connection, size)
        hint = "it is beyond the newest" if larger is None else f"the next one is of {larger.size}"
        raise NotInLog(f"There is no checkpoint of size {size}; {hint}.")
    return found


def read_tile(connection: psycopg.Connection, level: int, number: TileNumber) -> bytes:
    """The hashes of a tile, full or partial. Raises NotInLog or LogBehind."""
    tile = Tile(level, number.number)
    _require_signed(connection, tile, number.width)
    hashes = tile_table.read_tiles(connection, [tile]).get(tile, b"")
    if len(hashes) < number.width * HASH_BYTES:
        raise LogBehind("The tiles of the log are being made anew from the events.")
    return hashes[: number.width * HASH_BYTES]


def read_entries(connection: psycopg.Connection, number: TileNumber) -> bytes:
    """A bundle of entries, each behind its length in two bytes. Raises NotInLog."""
    _require_signed(connection, Tile(0, number.number), number.width)
    rows = connection.execute(
        EVENTS_AFTER, (number.number * TILE_HASHES, number.width), binary=True
    )
    entries = [entry(*row) for row in rows]
    return b"".join(len(one).to_bytes(2, "big") + one for one in entries)


def read_entry(connection: psycopg.Connection, position: int) -> bytes:
    """The entry of the event at a position. Raises NotInLog."""
    row = connection.execute(EVENTS_AFTER, (position - 1, 1), binary=True).fetchone()
    if row is None or row[0] != position:
        raise NotInLog(f"There is no event at position {position}.")
    return entry(*row)


def prove_inclusion(
    connection: psycopg.Connection, position: int, size: int | None = None
) -> InclusionProof:
    """That an event is in the tree of a checkpoint, the newest where no size is given.

    Raises NotInLog, or LogBehind while tiles lack.
    """
    kept = newest_checkpoint(connection) if size is None else checkpoint_of(connection, size)
    if not 0 < position <= kept.size:
        raise NotInLog(f"The checkpoint of size {kept.size} has no event at position {position}.")
    (proof,) = prove_inclusions(connection, [position], kept.parsed())
    return proof


def prove_inclusions(
    connection: psycopg.Connection, positions: Sequence[int], checkpoint: Checkpoint
) -> list[InclusionProof]:
    """That events are in the tree of a checkpoint of this log; all positions are in it.

    Raises LogBehind while tiles lack.
    """
    size, proofs = checkpoint.size, []
    for first in range(0, len(positions), PROOFS_AT_ONCE):
        some = positions[first : first + PROOFS_AT_ONCE]
        nodes, wanted = _Nodes(connection), _Wanted()
        for position in some:
            inclusion_proof(position - 1, size, wanted)
        nodes(wanted.nodes)  # with one question for all of them
        for position in some:
            hashes = inclusion_proof(position - 1, size, nodes)
            proofs.append(InclusionProof(position - 1, tuple(hashes), checkpoint))
    return proofs


def prove_consistency(
    connection: psycopg.Connection, old_size: int, new_size: int | None = None
) -> ConsistencyProof:
    """Between two sizes, up to the newest checkpoint's, which is the default of the later.

    Raises InvalidField where they are in the wrong order, NotInLog beyond the newest
    checkpoint, LogBehind while tiles lack.
    """
    newest = newest_checkpoint(connection).size
    new_size = newest if new_size is None else new_size
    if new_size > newest:
        raise NotInLog(f"The newest checkpoint is of size {newest}, not yet {new_size}.")
    if old_size > new_size:
        raise InvalidField("from", f"must be at most {new_size}, the later size")
    hashes = consistency_proof(old_size, new_size, _Nodes(connection))
    return ConsistencyProof(old_size, new_size, tuple(hashes))


def prove_latest(
    connection: psycopg.Connection, newest: Checkpoint, position: int
) -> LatestProof | None:
    """What the newest checkpoint says of the event, if it says which are the latest.

    Bits change in place, so that there is a proof for the newest checkpoint alone: read it in the
    snapshot in which this is called. Raises LogBehind while pages lack.
    """
    if newest.latest is None:
        return None
    logged = connection.execute(LOGGED, (tile_table.NAME, tile_table.VERSION)).fetchone()
    if logged != (newest.size,):
        raise LogBehind("Which events are the latest is being derived anew from the events.")
    try:
        latest = read_latest(connection, newest.size, newest, None)
    except TilesLost as lost:
        raise LogBehind(f"{lost} They are made anew with the next event.") from lost
    number = (position - 1) // PAGE_EVENTS
    return LatestProof(latest.page(number), tuple(latest.proof(number)))


class _Wanted:
    """Takes down which nodes are read, and gives hashes that mean nothing."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def __call__(self, nodes: Sequence[Node]) -> list[bytes]:
        self.nodes += nodes
        return [b""] * len(nodes)


class _Nodes:
    def __init__(self, connection: psycopg.Connection) -> None:
        self._read = TileNodes(lambda wanted: tile_table.read_tiles(connection, wanted))

    def __call__(self, nodes: Sequence[Node]) -> list[bytes]:
        try:
            return self._read(nodes)
        except TileMissing as error:
            raise LogBehind(
                f"The tiles of the log are being made anew from the events: {error}."
            ) from error


def _require_signed(connection: psycopg.Connection, tile: Tile, width: int) -> None:
    size = newest_checkpoint(connection).size
    there = tile_width(tile, size)
    if width > there:
        raise NotInLog(
            f"In the log of size {size}, tile {tile.number} of level {tile.level} has {there} "
            f"hashes, not {width}."
        )
