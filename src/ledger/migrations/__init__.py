"""Schema versions of what cannot be rebuilt: events, idempotency keys, access keys, positions.

Read models are not here. They are never altered: a new shape is a new projection version,
rebuilt beside the old one and switched.
"""

from pathlib import Path

from alembic import op


def run_sql(migration: str) -> None:
    """Run the .sql file beside a migration, in the migration's transaction.

    It goes to the driver's connection as it stands: SQLAlchemy would read `:` and `%` in it as
    parameters.
    """
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(Path(migration).with_suffix(".sql").read_text(encoding="utf-8"))
