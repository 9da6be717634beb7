"""The table of all checkpoints ever signed, with what witnesses signed of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from projections.log.checkpoints import Checkpoint, parse_checkpoint

SELECT = """
    SELECT size, root, note || coalesce(
            (SELECT string_agg(line, '' ORDER BY created_at, line) FROM log_cosignature
             WHERE log_cosignature.size = log_checkpoint.size), ''
        ), created_at
    FROM log_checkpoint
"""
INSERT = "INSERT INTO log_checkpoint (size, root, note) VALUES (%s, %s, %s)"
COSIGNED = "INSERT INTO log_cosignature (size, line) VALUES (%s, %s) ON CONFLICT DO NOTHING"


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """`note` has the cosignatures too. Size and root are what the table says beside it."""

    size: int
    root: bytes
    note: str
    created_at: datetime

    def parsed(self) -> Checkpoint:
        return parse_checkpoint(self.note)


def newest(connection: psycopg.Connection) -> KeptCheckpoint | None:
    return _first(connection.execute(f"{SELECT} ORDER BY size DESC LIMIT 1"))


def at_size(connection: psycopg.Connection, size: int) -> KeptCheckpoint | None:
    return _first(connection.execute(f"{SELECT} WHERE size = %s", (size,)))


def smallest_from(connection: psycopg.Connection, size: int) -> KeptCheckpoint | None:
    """The smallest checkpoint of at least this size."""
    return _first(connection.execute(f"{SELECT} WHERE size >= %s ORDER BY size LIMIT 1", (size,)))


def after(connection: psycopg.Connection, size: int, limit: int) -> Sequence[KeptCheckpoint]:
    rows = connection.execute(f"{SELECT} WHERE size > %s ORDER BY size LIMIT %s", (size, limit))
    return [KeptCheckpoint(*row) for row in rows]


def roots_between(
    connection: psycopg.Connection, above: int, up_to: int
) -> Sequence[tuple[int, bytes]]:
    """Size and root of the checkpoints of a stretch of the log."""
    rows = connection.execute(
        "SELECT size, root FROM log_checkpoint WHERE size > %s AND size <= %s ORDER BY size",
        (above, up_to),
    )
    return [(size, root) for size, root in rows]


def keep(connection: psycopg.Connection, checkpoint: Checkpoint) -> None:
    connection.execute(INSERT, (checkpoint.size, checkpoint.root, str(checkpoint.note)))


def keep_cosignature(connection: psycopg.Connection, size: int, line: str) -> None:
    """Keep a signature line of a witness with a checkpoint; one that is kept already stays."""
    connection.execute(COSIGNED, (size, line))


def cosignatures(connection: psycopg.Connection) -> Iterator[tuple[int, str]]:
    """Size and line of all that witnesses signed, the largest size first."""
    yield from connection.execute("SELECT size, line FROM log_cosignature ORDER BY size DESC")


def _first(cursor: psycopg.Cursor[tuple[object, ...]]) -> KeptCheckpoint | None:
    row = cursor.fetchone()
    return None if row is None else KeptCheckpoint(*row)  # type: ignore[arg-type]
