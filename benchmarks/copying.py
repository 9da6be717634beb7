"""COPY of rows that are already bytes in memory: as quick as PostgreSQL takes them."""

from collections.abc import Sequence

import psycopg

BLOCK_BYTES = 256 * 1024


def copied_out(connection: psycopg.Connection, source: str) -> list[bytes]:
    """A table, or a query in brackets, as blocks of COPY's own binary format."""
    blocks: list[bytes] = []
    gathered = bytearray()
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {source} TO STDOUT (FORMAT BINARY)") as out,
    ):
        for part in out:
            gathered += part
            if len(gathered) >= BLOCK_BYTES:
                blocks.append(bytes(gathered))
                gathered.clear()
    return [*blocks, bytes(gathered)]


def copy_in(connection: psycopg.Connection, table: str, blocks: Sequence[bytes]) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy,
    ):
        for block in blocks:
            copy.write(block)


def copy_rows(
    connection: psycopg.Connection,
    table: str,
    types: Sequence[str],
    rows: Sequence[tuple[object, ...]],
) -> None:
    """COPY of Python values, which psycopg must first make into bytes."""
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.set_types(list(types))
        for row in rows:
            copy.write_row(row)
