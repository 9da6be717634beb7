"""The projector of the log: hashes events into the tree and signs what it has come to."""

import logging
import threading
import time
from collections.abc import Sequence

import psycopg

from ledger.database import Database
from ledger.errors import LedgerError
from ledger.master_key import MasterKey
from ledger.record import entry
from projections.feed import EVENTS_AFTER, head, wait_for_notification
from projections.follower import ADVANCE, POSITION, Follower, ProjectionMissing
from projections.log import checkpoint_table, signing_keys, tile_table
from projections.log.checkpoints import sign_checkpoint
from projections.log.growth import GrowingTree, TilesLost
from projections.log.merkle import EMPTY_ROOT, leaf_hash, root
from projections.log.tiles import Tile, TileNodes, last_tiles

logger = logging.getLogger(__name__)

BATCH_EVENTS = 10_000
WAKE_SECONDS = 5.0
CHECKPOINT_SECONDS = 0.25
"""The least time between two checkpoints under load: each is kept for ever."""


class LogInconsistent(LedgerError):
    """The events are not those that the log has signed"""


class LogProjector(Follower):
    """Keeps the log; one is active at a time. Tiles, checkpoint and position commit together.

    It signs nothing that does not agree with what was signed before: then it fails, and goes
    on failing until the events are again those that were signed.
    """

    name = tile_table.NAME
    lock = "log"

    def __init__(self, database: Database, master_key: MasterKey, origin: str) -> None:
        super().__init__(database)
        self._master_key = master_key
        self._origin = origin

    def follow(self, connection: psycopg.Connection, stop: threading.Event) -> None:
        connection.execute(f"LISTEN {self._database.channel('events')}")
        self.set_up(connection)
        self.project(connection)
        self.recovered(connection)
        while not stop.is_set():
            started = time.monotonic()
            projected = self.project(connection)
            if projected == 0:
                wait_for_notification(connection, stop, WAKE_SECONDS)
            elif projected < BATCH_EVENTS:
                stop.wait(max(0.0, started + CHECKPOINT_SECONDS - time.monotonic()))

    def set_up(self, connection: psycopg.Connection) -> None:
        """Make what a log needs where it lacks: table, key, and the checkpoint of size 0."""
        with connection.transaction():
            key = self._database.lock_key("log setup")
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
            tile_table.ensure(connection, self._database.schema)
        signing_keys.ensure(self._database, self._master_key, self._origin)

    def project(self, connection: psycopg.Connection) -> int:
        """Log one batch; the number of events in it. Tiles that were lost are derived anew."""
        with connection.transaction():
            found = connection.execute(POSITION, (self.name,)).fetchone()
            if found is None:
                raise ProjectionMissing(f"There is no projection {self.name!r}.")
            version, position = found
            try:
                tree = _tree(connection, version, position)
            except TilesLost as lost:
                logger.warning("the tiles of the log are made anew: %s", lost)
                tile_table.start_anew(connection)
                tree = GrowingTree(0, {})
            return self._grow(connection, tree)

    def _grow(self, connection: psycopg.Connection, tree: GrowingTree) -> int:
        before = tree.size
        rows = connection.execute(EVENTS_AFTER, (before, BATCH_EVENTS), binary=True)
        for position, booking_id, version, topic, state in rows:
            if position != tree.size + 1:
                raise LogInconsistent(f"The event at position {tree.size + 1} is missing.")
            tree.append(leaf_hash(entry(position, booking_id, version, topic, state)))
        if tree.size > before:
            tile_table.write_tiles(connection, tree.changed_tiles())
            connection.execute(ADVANCE, (tree.size, self.name))
        self._sign(connection, before, tree.size)
        return tree.size - before

    def _sign(self, connection: psycopg.Connection, before: int, size: int) -> None:
        """Sign the tree if it has grown past the newest checkpoint, and agrees with all."""
        newest = checkpoint_table.newest(connection)
        if newest is None:
            self._keep(connection, 0, EMPTY_ROOT)
            newest = checkpoint_table.newest(connection)
            assert newest is not None
        nodes = TileNodes(lambda wanted: tile_table.read_tiles(connection, wanted))
        if newest.size > before:  # the tiles are being made anew
            _require_agreement(nodes, checkpoint_table.roots_between(connection, before, size))
        if size > newest.size:
            _require_agreement(nodes, [(newest.size, newest.root)])
            self._keep(connection, size, root(size, nodes))
        elif size == before:
            _require_events(connection, newest.size)

    def _keep(self, connection: psycopg.Connection, size: int, root_hash: bytes) -> None:
        signers = signing_keys.signers(connection, self._master_key, self._origin)
        checkpoint = sign_checkpoint(self._origin, size, root_hash, signers)
        checkpoint_table.keep(connection, checkpoint)
        signing_keys.retire_replaced(connection, signers)


def _require_agreement(nodes: TileNodes, kept: Sequence[tuple[int, bytes]]) -> None:
    for size, kept_root in kept:
        if root(size, nodes) != kept_root:
            raise LogInconsistent(
                f"The first {size} events are not those of the checkpoint that was signed for "
                "them. Nothing is signed; 'booking-ledger verify' says more."
            )


def _require_events(connection: psycopg.Connection, signed: int) -> None:
    newest_position = head(connection)
    if newest_position < signed:
        raise LogInconsistent(
            f"A checkpoint was signed for {signed} events, the ledger has {newest_position}."
        )


def catch_up_log(database: Database, master_key: MasterKey, origin: str) -> int:
    """Log what the log lacks; the number of events, 0 where a projector is at it."""
    projector = LogProjector(database, master_key, origin)
    with database.connect() as connection, database.try_lock(connection, "log") as alone:
        if not alone:
            return 0
        projector.set_up(connection)
        done = 0
        while count := projector.project(connection):
            done += count
        return done


def _tree(connection: psycopg.Connection, version: int, size: int) -> GrowingTree:
    if version != tile_table.VERSION:
        raise TilesLost(f"The tiles are of version {version}.")
    wanted: list[Tile] = [tile for tile, _ in last_tiles(size)]
    return GrowingTree(size, tile_table.read_tiles(connection, wanted) if wanted else {})
