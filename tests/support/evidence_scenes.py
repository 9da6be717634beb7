"""A booking with evidence of its history."""

import base64
from typing import Any

import psycopg
from log_scenes import log_all
from scenes import writing

from ledger.booking import Change
from ledger.commands import Outcome, RecordStatus
from ledger.database import Database
from ledger.transcoder import event_mapper
from projections.evidence.gather import gather_evidence

HOSTILE = "</script><script>alert(1)</script> & \u202e \u2028 'quoted'"
"""A reason that wants to be more than text."""


def record_story(
    database: Database, booking_id: str, reason: str, metadata: dict[str, Any] | None = None
) -> None:
    """Three changes of a booking, with another's before, between and behind them."""
    with writing(database) as writer:
        for status in ("pending", "confirmed", "in_progress"):
            for one in ("another", booking_id):
                said = Change(
                    status=status,
                    changed_by="anna",
                    reason=reason if one == booking_id and status == "confirmed" else None,
                    metadata=metadata if one == booking_id and status == "confirmed" else None,
                    actor="api-key",
                    source="tests",
                )
                (answer,) = writer.execute([RecordStatus(one, said)])
                assert isinstance(answer, Outcome)


def evidence_of_a_story(database: Database, connection: psycopg.Connection) -> dict[str, Any]:
    record_story(database, "room-12", HOSTILE)
    log_all(database)
    return gather_evidence(connection, event_mapper(database), "room-12")


def flipped(text: str) -> str:
    content = bytearray(base64.b64decode(text))
    content[len(content) // 2] ^= 1
    return base64.b64encode(bytes(content)).decode()
