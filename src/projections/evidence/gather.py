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
from projections.log.reading import LogBehind, newest_checkpoint, prove_inclusion

SIGNED_SECONDS_MAX = 5.0
_ASK_SECONDS = 0.05


def gather_evidence(
    connection: psycopg.Connection, mapper: EventMapper, booking_id: str
) -> dict[str, Any]:
    """The events of a booking, each with its proof against one checkpoint that covers them all,
    and the key that opens its personal parts.

    Waits for that checkpoint. Raises BookingNotFound, NotInLog where there is no log at all, or
    LogBehind where no checkpoint covers the newest event in time.
    """
    rows = connection.execute(EVENTS_OF, ([booking_id],), binary=True).fetchall()
    if not rows:
        raise BookingNotFound(booking_id=booking_id)
    size = _signed_size(connection, rows[-1][0])
    proofs = [prove_inclusion(connection, row[0], size) for row in rows]
    checkpoint = proofs[0].checkpoint
    signers = checkpoint.verify(signing_keys.verifiers(connection))
    return {
        "format": FORMAT,
        "booking": booking_id,
        "checkpoint": str(checkpoint.note),
        "vkey": signers[0].vkey,
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


def _signed_size(connection: psycopg.Connection, position: int) -> int:
    deadline = time.monotonic() + SIGNED_SECONDS_MAX
    while True:
        newest = checkpoint_table.newest(connection)
        if newest is not None and newest.size >= position:
            return newest.size
        if time.monotonic() > deadline:
            break
        time.sleep(_ASK_SECONDS)
    size = newest_checkpoint(connection).size
    raise LogBehind(
        f"No checkpoint covers the event at position {position} yet; the newest is of "
        f"{size} events. Try again shortly."
    )


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
