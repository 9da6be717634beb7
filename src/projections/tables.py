"""The tables of the read model: made, written, and switched with tables filled beside them."""

from collections.abc import Iterable
from importlib.resources import files

import psycopg
from psycopg import sql

from ledger.errors import LedgerError
from ledger.schema import analyst_role, app_role
from projections.rows import BookingRow, HistoryRow

NAME = "status_history"
VERSION = 5
"""Raised whenever the rows that events give, or the views, change: every ledger is then rebuilt."""


class OtherReadModel(LedgerError):
    """The read model is of another version"""

    def __init__(self, version: int) -> None:
        if version < VERSION:
            made, then = "an older", "'booking-ledger rebuild' makes it anew."
        else:
            made, then = "a newer", "Use that one; 'rebuild' would go back to this one's rows."
        super().__init__(
            f"The read model is of version {version}, made by {made} release; this one derives "
            f"version {VERSION}. {then}"
        )


DERIVED = "SELECT version, position FROM projection WHERE name = %s"
ANALYTICS_VIEWS = (
    *("booking_time_in_status", "booking_status_visit", "booking_transition_by_day"),
    *("booking_transition_by_actor", "booking_transition", "booking_path", "booking_funnel"),
    *("booking_reopened", "booking_skipped_step"),
)
"""They are built on the two views of views.sql."""

HISTORY = "BookingStatusHistory"
DAYS = "flow_day"

LIVE = ""
REBUILD = "_rebuild"
SETUP = "_setup"

LOCK_TIMEOUT = "150ms"

# Columns are named: a table that somebody has altered is refused, not filled wrongly.
COPY_BOOKINGS = 'COPY "Booking{s}" ({columns}) FROM STDIN (FORMAT BINARY)'.replace(
    "{columns}", ", ".join(f'"{name}"' for name in BookingRow._fields)
)
COPY_HISTORY = 'COPY "BookingStatusHistory{s}" ({columns}) FROM STDIN (FORMAT BINARY)'.replace(
    "{columns}", ", ".join(f'"{name}"' for name in HistoryRow._fields)
)
# The events are read without what was erased, so this finds only what was projected before.
ERASE = """
    UPDATE "BookingStatusHistory{s}" AS entry
    SET "changedBy" = NULL, reason = NULL, metadata = NULL, erased = true
    FROM unnest(%b::text[], %b::bigint[]) AS erasure (id, position)
    WHERE entry."bookingId" = erasure.id AND entry.position < erasure.position
        AND num_nonnulls("changedBy", reason, metadata) > 0
"""
BOOKING_TYPES = ["text", "text", "int4", "timestamp", "timestamp", "int8"]
HISTORY_TYPES = [
    *("text", "text", "text", "text", "text", "text", "text", "timestamp"),
    *("int4", "int8", "timestamp", "text", "text", "text", "bool"),
]


def create(connection: psycopg.Connection, suffix: str) -> None:
    """Create the tables without keys and indexes."""
    connection.execute(_sql("tables", suffix))


def create_indexes(connection: psycopg.Connection, suffix: str) -> None:
    connection.execute(_sql("indexes", suffix))


def create_views(connection: psycopg.Connection, suffix: str, schema: str) -> None:
    """Put the analysts' views onto the tables with this suffix, and grant what the roles need."""
    connection.execute(_sql("views", suffix))
    connection.execute(_sql("analytics", suffix))
    app, analyst = app_role(schema), analyst_role(schema)
    found = connection.execute(
        "SELECT count(*) FROM pg_roles WHERE rolname IN (%s, %s)", (app, analyst)
    ).fetchone()
    if found == (2,):
        grants = sql.SQL(_sql("grants", suffix))
        connection.execute(grants.format(app=sql.Identifier(app), analyst=sql.Identifier(analyst)))


def drop(connection: psycopg.Connection, suffix: str) -> None:
    """Drop the tables. Fails, naming them, where objects of others depend on them."""
    # In the order in which whoever fills the days of a rebuild that has died locks them.
    names = f'flow_day{suffix}, "BookingStatusHistory{suffix}", "Booking{suffix}"'
    connection.execute(f"DROP TABLE IF EXISTS {names}")


def lock_live(connection: psycopg.Connection, attempt: int) -> None:
    """Keep everybody out of the live tables and views until the transaction ends.

    Readers may hold one of them and wait for another that we hold. PostgreSQL ends such a
    deadlock after a second, and not always at our cost, so all our waits together are shorter.
    Views come before their tables, as in any query. In which order people read the two pairs
    nobody knows: it changes with each attempt.
    """
    tables = [name for name in ('"Booking"', '"BookingStatusHistory"') if _exists(connection, name)]
    if tables:  # readers do not mind; a vacuum is sent away, which takes it a second
        connection.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE UPDATE EXCLUSIVE MODE")
    connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    for name in ANALYTICS_VIEWS:  # before what they are built on, as in any query
        if _exists(connection, name):
            connection.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
    pairs = [("booking_status_history", '"BookingStatusHistory"'), ("booking", '"Booking"')]
    for pair in pairs[:: 1 if attempt % 2 else -1]:
        for name in pair:
            if _exists(connection, name):
                connection.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")


def _exists(connection: psycopg.Connection, name: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s)", (name,)).fetchone()
    return row != (None,)


def exist(connection: psycopg.Connection) -> bool:
    names = ('"Booking"', '"BookingStatusHistory"', "flow_day")
    return all(_exists(connection, name) for name in names)


def derived(connection: psycopg.Connection) -> tuple[int, int] | None:
    """Of which version the live tables are, and up to which position they are derived; None where
    they were never set up."""
    return connection.execute(DERIVED, (NAME,)).fetchone()


def oid(connection: psycopg.Connection, table: str, suffix: str) -> int:
    """Which table it is that has this name now, kept from being dropped until the transaction
    ends."""
    name = f'"{table}{suffix}"'
    connection.execute(f"LOCK TABLE {name} IN ROW EXCLUSIVE MODE")
    row = connection.execute("SELECT %s::regclass::oid", (name,)).fetchone()
    assert row is not None
    return int(row[0])


def write_history(connection: psycopg.Connection, rows: Iterable[HistoryRow], suffix: str) -> None:
    _copy(connection, COPY_HISTORY, suffix, HISTORY_TYPES, rows)


def write_bookings(connection: psycopg.Connection, rows: Iterable[BookingRow], suffix: str) -> None:
    """Those that are new."""
    _copy(connection, COPY_BOOKINGS, suffix, BOOKING_TYPES, rows)


def derive_bookings(connection: psycopg.Connection, suffix: str) -> None:
    """Fill the empty table of bookings from the history, which is that of a whole ledger."""
    connection.execute(_sql("bookings", suffix))


def erase(connection: psycopg.Connection, erased: dict[str, int], suffix: str) -> None:
    """Empty the personal parts of rows before the erasure of their booking."""
    if erased:
        parameters = (list(erased), list(erased.values()))
        connection.execute(ERASE.replace("{s}", suffix), parameters)


def rename(connection: psycopg.Connection, suffix: str) -> None:
    """Give tables with a suffix the live names, and their indexes and constraints too."""
    renames = connection.execute(
        """
        SELECT format('ALTER TABLE %%s RENAME CONSTRAINT %%I TO %%I',
            conrelid::regclass, conname, replace(conname, %(suffix)s, ''))
        FROM pg_constraint
        WHERE conrelid = ANY (%(tables)s::regclass[]) AND strpos(conname, %(suffix)s) > 0
        UNION ALL
        SELECT format('ALTER INDEX %%s RENAME TO %%I',
            indexrelid::regclass, replace(relname, %(suffix)s, ''))
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indrelid = ANY (%(tables)s::regclass[])
            AND NOT EXISTS (
                SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype <> 'f'
            )
        UNION ALL
        SELECT format('ALTER TABLE %%s RENAME TO %%I',
            oid::regclass, replace(relname, %(suffix)s, ''))
        FROM pg_class WHERE oid = ANY (%(tables)s::regclass[])
        """,
        {
            "suffix": suffix,
            "tables": [
                *(f'"Booking{suffix}"', f'"BookingStatusHistory{suffix}"', f"flow_day{suffix}")
            ],
        },
    ).fetchall()
    # The statements name tables that they rename: constraints and indexes go first.
    for (statement,) in renames:
        connection.execute(statement)


def _copy(
    connection: psycopg.Connection,
    statement: str,
    suffix: str,
    types: list[str],
    rows: Iterable[BookingRow] | Iterable[HistoryRow],
) -> None:
    with connection.cursor() as cursor, cursor.copy(statement.replace("{s}", suffix)) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def _sql(name: str, suffix: str) -> str:
    text = files("projections").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    return text.replace("{s}", suffix)
