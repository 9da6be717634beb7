"""Bring the schema of a ledger up to date, and say whether it is."""

import logging
from importlib.resources import files
from pathlib import Path

import psycopg
from psycopg import sql

from ledger.database import Database
from ledger.errors import SchemaOutdated

HEAD = "0006"
"""The newest schema version; a test holds it against the migrations."""

logger = logging.getLogger(__name__)


def schema_version(connection: psycopg.Connection) -> str | None:
    """The version of the schema, or None where there is no ledger yet."""
    row = connection.execute("SELECT to_regclass('schema_version')").fetchone()
    if row is None or row[0] is None:
        return None
    row = connection.execute("SELECT version_num FROM schema_version").fetchone()
    return row[0] if row else None


def migrate(database: Database) -> bool:
    """Apply the schema versions that are missing; True if there were any.

    Safe when several processes start at once: an advisory lock lets one work and the others
    find it done. Each version is one transaction, so a crash leaves the last whole version.
    Raises SchemaOutdated where the schema is newer than this software.
    """
    with database.connect() as connection:
        if schema_version(connection) == HEAD:
            return False
        connection.execute("SELECT pg_advisory_lock(%s)", (database.lock_key("migrate"),))
        found = schema_version(connection)
        if found == HEAD:
            return False
        _create_schema(connection, database.schema)
        _upgrade(connection, database)
    return True


def require_current(database: Database) -> None:
    """Raise SchemaOutdated unless the schema is of this software's version."""
    with database.connect() as connection:
        found = schema_version(connection)
    if found != HEAD:
        raise SchemaOutdated(
            f"Schema {database.schema!r} is at version {found or 'none'}, this software needs "
            f"{HEAD}: run 'booking-ledger migrate'."
        )


def app_role(schema: str) -> str:
    return f"{schema}_app"


def analyst_role(schema: str) -> str:
    return f"{schema}_analyst"


def _create_schema(connection: psycopg.Connection, schema: str) -> None:
    # Looked for first: a role that owns the schema may still not create one.
    found = connection.execute(
        "SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)
    ).fetchone()
    if found is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))


def _upgrade(connection: psycopg.Connection, database: Database) -> None:
    from alembic import command  # noqa: PLC0415  # a quarter second, needed once a version
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(str(files("ledger"))) / "migrations"))
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database.conninfo)
    )
    try:
        with engine.begin() as bind:
            config.attributes["connection"] = bind
            command.upgrade(config, HEAD)
            driver = bind.connection.driver_connection
            assert driver is not None
            _grant(driver, database.schema)  # in the same transaction: a crash leaves both or none
    except psycopg.errors.FeatureNotSupported as error:  # a migration says what to do
        raise SchemaOutdated(
            f"Schema {database.schema!r}: {error.diag.message_primary}."
        ) from error
    except CommandError as error:
        raise SchemaOutdated(
            f"Schema {database.schema!r} is at version {schema_version(connection)}, which this "
            f"software (up to {HEAD}) does not know. Run a newer version of it."
        ) from error
    finally:
        engine.dispose()


def _grant(connection: psycopg.Connection, schema: str) -> None:
    app, analyst = app_role(schema), analyst_role(schema)
    try:
        with connection.transaction():
            _grant_roles(connection, schema, app, analyst)
    except psycopg.errors.InsufficientPrivilege:
        # The ledger works without them; a managed database may not let its owner make roles.
        logger.warning(
            "The roles %s and %s were not made: this login may not create roles.", app, analyst
        )


def _grant_roles(connection: psycopg.Connection, schema: str, app: str, analyst: str) -> None:
    for role in (app, analyst):
        _create_role(connection, role)
    grants = sql.SQL(files("ledger").joinpath("roles.sql").read_text(encoding="utf-8"))
    connection.execute(
        grants.format(
            schema=sql.Identifier(schema), app=sql.Identifier(app), analyst=sql.Identifier(analyst)
        )
    )


def _create_role(connection: psycopg.Connection, role: str) -> None:
    found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    if found is None:
        try:
            with connection.transaction():
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
        except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
            logger.debug("another database of this server made role %s first", role)
