"""The transparency log of an audit: events, tiles and signed checkpoints against each other."""

from collections.abc import Iterator
from heapq import merge

from ledger.record import EntryTooLarge, entry
from projections.audit_latest import LatestComparison
from projections.audit_log_roots import Comparison
from projections.audit_log_tiles import check_upper_tiles, logged_leaves
from projections.audit_signed import Signed
from projections.audit_snapshot import Snapshot
from projections.log import signing_keys, tile_table
from projections.log.checkpoints import Checkpoint, parse_checkpoint
from projections.log.merkle import leaf_hash
from projections.log.notes import BadNote
from projections.rebuild import Progress

PROGRESS_EVENTS = 5_000

EVENTS = """
    SELECT notification_id, originator_id, originator_version, topic, state
    FROM ledger_events ORDER BY notification_id
"""
CHECKPOINTS = "SELECT size, root, note FROM log_checkpoint ORDER BY size"
POSITION = "SELECT position FROM projection WHERE name = %s"


def check_log(snapshot: Snapshot, progress: Progress | None) -> None:
    """Events, tiles and all checkpoints agree, and the checkpoints are signed by known keys.

    What does not agree is narrowed: to the event itself where the tiles still have what was
    signed, else to the stretch between the last checkpoint that agrees and the first that does
    not. A ledger whose log was never begun has nothing to compare but checkpoints from outside.
    """
    logged = _logged(snapshot)
    comparison = Comparison(
        snapshot.findings,
        logged_leaves(snapshot, logged),
        merge(_kept(snapshot, logged), _outside(snapshot), key=lambda one: one.size),
        LatestComparison(snapshot, logged),
    )
    for position, booking_id, version, topic, state in snapshot.stream("log events", EVENTS):
        if position <= comparison.size:
            continue  # the same position twice, which another check reports
        if not comparison.skip_to(position):
            break
        leaf = _leaf(position, booking_id, version, topic, state)
        if not comparison.add(leaf, booking_id, version):
            break
        if progress is not None and position % PROGRESS_EVENTS == 0:
            progress(position, snapshot.head)
    comparison.end()
    check_upper_tiles(snapshot, logged)


def _logged(snapshot: Snapshot) -> int:
    """The size that the log says it has."""
    row = snapshot.row(POSITION, (tile_table.NAME,))
    return 0 if row is None else int(row[0])


def _leaf(position: int, booking_id: str, version: int, topic: str, state: bytes) -> bytes | None:
    try:
        return leaf_hash(entry(position, booking_id, version, topic, state))
    except EntryTooLarge:
        return None


def _kept(snapshot: Snapshot, logged: int) -> Iterator[Signed]:
    """What the notes of the ledger's own checkpoints say, as far as they can be believed."""
    known = signing_keys.verifiers(snapshot.connection)
    newest = None
    for size, root, note in snapshot.stream("checkpoints", CHECKPOINTS):
        newest = size
        try:
            checkpoint = parse_checkpoint(note)
            checkpoint.verify(known)
        except BadNote as error:
            snapshot.findings.add(
                "bad_signature", f"checkpoint of size {size}: {error}", position=size
            )
            continue
        if (checkpoint.size, checkpoint.root) != (size, root):
            snapshot.findings.add(
                "wrong_checkpoint_root",
                f"the note of the checkpoint of size {size} says size {checkpoint.size} and root "
                f"{checkpoint.root.hex()}, the row beside it {root.hex()}",
                position=size,
            )
        if checkpoint.size == size:
            yield _signed(checkpoint, "the checkpoint", kept=True)
    if (newest or 0) < logged:
        snapshot.findings.add(
            "checkpoint_missing",
            f"the log has come to position {logged}, its newest checkpoint to {newest or 'none'}",
            position=(newest or 0) + 1,
        )


def _outside(snapshot: Snapshot) -> Iterator[Signed]:
    known = snapshot.outside.known or signing_keys.verifiers(snapshot.connection)
    for name, checkpoint in sorted(snapshot.outside.checkpoints, key=lambda one: one[1].size):
        try:
            checkpoint.verify(known)
        except BadNote as error:
            snapshot.findings.add(
                "bad_signature",
                f"{name}, checkpoint of size {checkpoint.size}: {error}",
                position=checkpoint.size,
            )
        else:
            yield _signed(checkpoint, name, kept=False)


def _signed(checkpoint: Checkpoint, title: str, *, kept: bool) -> Signed:
    latest = None if checkpoint.latest is None else checkpoint.latest.root
    return Signed(checkpoint.size, checkpoint.root, latest, title, kept)
