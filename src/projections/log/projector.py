"""The projector of the log: hashes events into the tree and signs what it has come to."""

import logging
import threading
import time
from datetime import datetime

import psycopg

from ledger.database import Database
from ledger.master_key import MasterKey
from ledger.record import entry
from projections.feed import EVENTS_AFTER, head, wait_for_notification
from projections.follower import ADVANCE, POSITION, Follower, ProjectionMissing
from projections.log import checkpoint_table, latest_table, signing_keys, tile_table
from projections.log.agreement import (
    LogInconsistent,
    read_latest,
    read_tree,
    require_events,
    require_latest,
    require_root,
)
from projections.log.checkpoints import Checkpoint, LatestRoot, sign_checkpoint
from projections.log.growth import GrowingTree, TilesLost
from projections.log.latest import LatestEvents
from projections.log.merkle import EMPTY_ROOT, leaf_hash, root
from projections.log.tiles import TileNodes
from projections.queries import read_lag

logger = logging.getLogger(__name__)

BATCH_EVENTS = 10_000
WAKE_SECONDS = 5.0
CHECKPOINT_SECONDS = 0.25
"""The least time between two checkpoints under load: each is kept for ever."""


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
        self._latest: LatestEvents | None = None
        """As committed last, so that they need not be read for each batch."""
        self._believed: Checkpoint | None = None
        """The one that we signed last, or found to be signed."""

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
        """Make what a log needs where it lacks: tables, key, and the checkpoint of size 0."""
        with connection.transaction():
            key = self._database.lock_key("log setup")
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
            tile_table.ensure(connection, self._database.schema)
        signing_keys.ensure(self._database, self._master_key, self._origin)

    def project(self, connection: psycopg.Connection) -> int:
        """Log one batch; the number of events in it. What was lost is derived anew."""
        # If we crash or fail in between, the next batch reads them.
        kept, self._latest = self._latest, None
        with connection.transaction():
            found = connection.execute(POSITION, (self.name,)).fetchone()
            if found is None:
                raise ProjectionMissing(f"There is no projection {self.name!r}.")
            version, position = found
            newest = self._newest(connection)
            try:
                tree = read_tree(connection, version, position)
                latest = read_latest(connection, position, newest, kept)
            except TilesLost as lost:
                logger.warning("the tiles of the log are made anew: %s", lost)
                tile_table.start_anew(connection)
                tree, latest = GrowingTree(0, {}), LatestEvents()
            done = self._grow(connection, newest, tree, latest)
        self._latest = latest
        return done

    def _grow(
        self,
        connection: psycopg.Connection,
        newest: Checkpoint,
        tree: GrowingTree,
        latest: LatestEvents,
    ) -> int:
        before = tree.size
        # Made anew, it comes to the newest checkpoint exactly: latest events are compared there.
        limit = min(BATCH_EVENTS, newest.size - before) if before < newest.size else BATCH_EVENTS
        as_of = _now(connection)
        _append(connection, tree, latest, limit)
        if tree.size > before:
            tile_table.write_tiles(connection, tree.changed_tiles())
            latest_table.write(connection, latest.hash_changes())
            connection.execute(ADVANCE, (tree.size, self.name))
        nodes = TileNodes(lambda wanted: tile_table.read_tiles(connection, wanted))
        if newest.size > before:
            require_root(nodes, checkpoint_table.roots_between(connection, before, tree.size))
        if tree.size == before:
            require_events(connection, newest.size)
        elif tree.size >= newest.size:
            require_root(nodes, [(newest.size, newest.root)])
        if tree.size == newest.size:
            require_latest(latest, newest)
        elif tree.size > newest.size:
            is_all = tree.size - before < limit
            signed = LatestRoot(latest.root(), as_of if is_all else None)
            self._sign(connection, tree.size, root(tree.size, nodes), signed)
        return tree.size - before

    def _newest(self, connection: psycopg.Connection) -> Checkpoint:
        """The newest checkpoint; a log that has none begins with one of size 0.

        Raises BadNote unless we signed it: who may write to the table may not say what to trust.
        """
        found = checkpoint_table.newest(connection)
        if found is None:
            return self._sign(connection, 0, EMPTY_ROOT, LatestRoot(EMPTY_ROOT, None))
        checkpoint = found.parsed()
        if checkpoint != self._believed:
            signers = signing_keys.signers(connection, self._master_key, self._origin)
            checkpoint.verify([signer.verifier for signer in signers])
            self._believed = checkpoint
        return checkpoint

    def _sign(
        self, connection: psycopg.Connection, size: int, root_hash: bytes, latest: LatestRoot
    ) -> Checkpoint:
        signers = signing_keys.signers(connection, self._master_key, self._origin)
        checkpoint = sign_checkpoint(self._origin, size, root_hash, signers, latest)
        checkpoint_table.keep(connection, checkpoint)
        signing_keys.retire_replaced(connection, signers)
        self._believed = checkpoint
        return checkpoint


def _append(
    connection: psycopg.Connection, tree: GrowingTree, latest: LatestEvents, limit: int
) -> None:
    """Hash the next events into the tree, and let each supersede the one before of its booking."""
    before = tree.size
    rows = connection.execute(EVENTS_AFTER, (before, limit), binary=True)
    newest_of: dict[str, int] = {}
    superseded: list[int] = []
    opened_before: list[tuple[str, int]] = []
    for position, booking_id, version, topic, state in rows:
        if position != tree.size + 1:
            raise LogInconsistent(f"The event at position {tree.size + 1} is missing.")
        if booking_id in newest_of:
            superseded.append(newest_of[booking_id])
        elif version > 1:
            opened_before.append((booking_id, version))
        newest_of[booking_id] = tree.size
        tree.append(leaf_hash(entry(position, booking_id, version, topic, state)))
    latest.append(tree.size - before)
    for index in superseded:
        latest.supersede(index)
    for index in latest_table.superseded(connection, opened_before, before):
        latest.supersede(index)


def _now(connection: psycopg.Connection) -> datetime:
    """Before the events are read: whatever was committed by then is read."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    now: datetime = row[0]
    return now


def catch_up_log(database: Database, master_key: MasterKey, origin: str) -> int:
    """Log what the log lacks; the number of events, 0 where a projector is at it.

    What others record meanwhile may be left to the next.
    """
    projector = LogProjector(database, master_key, origin)
    with database.connect() as connection, database.try_lock(connection, "log") as alone:
        if not alone:
            return 0
        projector.set_up(connection)
        signed = checkpoint_table.newest(connection)
        # Where events that were signed are gone, it is to go on until that is noticed.
        newest, done = max(head(connection), 0 if signed is None else signed.size), 0
        while count := projector.project(connection):
            done += count
            # A whole batch is none of which is known that it was all there was.
            if count < BATCH_EVENTS and read_lag(connection, projector.name).position >= newest:
                break
        return done
