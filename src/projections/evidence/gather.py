"""Collect what proves the history of a booking."""

import base64
import time
from typing import Any

import orjson
import psycopg

from ledger.errors import BookingNotFound
from ledger.record import entry
from ledger.transcoder import EventMapper
from projections.evidence.verify_evidence import FORMAT
from projections.feed import EVENTS_OF
from projections.log import checkpoint_table, signing_keys
from projections.log.reading import (
    LatestProof,
    LogBehind,
    newest_checkpoint,
    prove_inclusions,
    prove_latest,
)

SIGNED_SECONDS_MAX = 5.0
_ASK_SECONDS = 0.05

SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
NEWEST_OF = "SELECT max(notification_id) FROM ledger_events WHERE originator_id = %s"


def gather_evidence(
    connection: psycopg.Connection, mapper: EventMapper, booking_id: str
) -> dict[str, Any]:
    """The events of a booking, each with its proof against the newest checkpoint, the proof that
    the last of them is the latest there, and the keys that open their personal parts.

    Waits for a checkpoint that covers all that is there when it is called. Raises
    BookingNotFound, NotInLog where there is no log at all, or LogBehind where none covers it in
    time.
    """
    _wait_until_signed(connection, booking_id)
    # In one snapshot: a change that comes now is neither in the events nor in the checkpoint.
    with connection.transaction():
        connection.execute(SNAPSHOT)
        checkpoint = newest_checkpoint(connection).parsed()
        all_rows = connection.execute(EVENTS_OF, ([booking_id],), binary=True)
        rows = [row for row in all_rows if row[0] <= checkpoint.size]
        proofs = prove_inclusions(connection, [row[0] for row in rows], checkpoint)
        latest = prove_latest(connection, checkpoint, rows[-1][0])
        signers = checkpoint.verify(signing_keys.verifiers(connection))
    return {
        "format": FORMAT,
        "booking": booking_id,
        "checkpoint": str(checkpoint.note),
        "vkey": signers[0].vkey,
        **_latest(latest),
        "events": [
            {
                "index": proof.index,
                "hashes": [_text(one) for one in proof.hashes],
                **_entry(row),
                **_key(mapper, row),
            }
            for proof, row in zip(proofs, rows, strict=True)
        ],
    }


def _wait_until_signed(connection: psycopg.Connection, booking_id: str) -> None:
    row = connection.execute(NEWEST_OF, (booking_id,)).fetchone()
    position = None if row is None else row[0]
    if position is None:
        raise BookingNotFound(booking_id=booking_id)
    deadline = time.monotonic() + SIGNED_SECONDS_MAX
    while True:
        newest = checkpoint_table.newest(connection)
        if newest is not None and newest.size >= position:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(_ASK_SECONDS)
    size = newest_checkpoint(connection).size
    raise LogBehind(
        f"No checkpoint covers the event at position {position} yet; the newest is of "
        f"{size} events. Try again shortly."
    )


def _latest(proof: LatestProof | None) -> dict[str, Any]:
    if proof is None:
        return {}
    page = {"page": _text(proof.page), "hashes": [_text(one) for one in proof.hashes]}
    return {"latest": page}


def _entry(row: tuple[Any, ...]) -> dict[str, str]:
    """The entry, and the data where they are too long to stand in it."""
    made, state = entry(*row[:5]), row[4]
    if made.endswith(state + b"}"):
        return {"entry": _text(made)}
    return {"entry": _text(made), "data": _text(state)}


def _key(mapper: EventMapper, row: tuple[Any, ...]) -> dict[str, str]:
    """The key of this event alone; none where nothing is sealed, or it was erased."""
    _, booking_id, version, _, state, wrapped = row
    sealed = orjson.loads(state).get("sealed")
    if sealed is None or wrapped is None:
        return {}
    key = mapper.unwrap(booking_id, wrapped)
    return {} if key.open(version, sealed) is None else {"key": _text(key.event_key(version))}


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
