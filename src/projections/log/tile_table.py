"""The table of tiles, and the row that says how far what is derived of the log has come."""

from collections.abc import Mapping, Sequence
from importlib.resources import files

import psycopg
from psycopg import sql

from ledger.schema import app_role
from projections.log.tiles import Tile

NAME = "log"
VERSION = 2
"""Raised whenever entries, tiles or pages of latest events change. Checkpoints of the other form
then stay valid only if what is derived anew agrees with them, which is checked."""

GRANT = "GRANT SELECT, INSERT, UPDATE, DELETE ON log_tile, log_latest TO {}"
START = """
    INSERT INTO projection (name, version, position) VALUES (%s, %s, 0)
    ON CONFLICT (name) DO UPDATE SET version = excluded.version, position = 0
"""
KEEP = """
    INSERT INTO projection (name, version, position) VALUES (%s, %s, 0)
    ON CONFLICT (name) DO NOTHING
"""
READ = """
    SELECT level, number, hashes FROM log_tile
    JOIN unnest(%b::smallint[], %b::bigint[]) AS asked (level, number) USING (level, number)
"""
WRITE = """
    INSERT INTO log_tile (level, number, hashes)
    SELECT * FROM unnest(%b::smallint[], %b::bigint[], %b::bytea[])
    ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes
"""


def ensure(connection: psycopg.Connection, schema: str) -> None:
    """Set up tables and row where they are missing, nothing derived. Call it in a transaction."""
    if exists(connection) and exists(connection, "log_latest"):
        connection.execute(KEEP, (NAME, VERSION))
        return
    text = files("projections").joinpath("sql", "log.sql").read_text(encoding="utf-8")
    connection.execute(text)
    app = app_role(schema)
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (app,)).fetchone():
        connection.execute(sql.SQL(GRANT).format(sql.Identifier(app)))
    connection.execute(START, (NAME, VERSION))


def exists(connection: psycopg.Connection, table: str = "log_tile") -> bool:
    return connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() != (None,)


def start_anew(connection: psycopg.Connection) -> None:
    """Throw away what is derived, so that the events give it again. Call it in a transaction."""
    connection.execute("DELETE FROM log_tile")
    connection.execute("DELETE FROM log_latest")
    connection.execute(START, (NAME, VERSION))


def read_tiles(connection: psycopg.Connection, wanted: Sequence[Tile]) -> dict[Tile, bytes]:
    """The hashes of tiles; absent ones are left out."""
    rows = connection.execute(
        READ, ([tile.level for tile in wanted], [tile.number for tile in wanted]), binary=True
    )
    return {Tile(level, number): hashes for level, number, hashes in rows}


def write_tiles(connection: psycopg.Connection, tiles: Mapping[Tile, bytes]) -> None:
    connection.execute(
        WRITE,
        (
            [tile.level for tile in tiles],
            [tile.number for tile in tiles],
            list(tiles.values()),
        ),
    )
