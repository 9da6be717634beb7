"""Bring the read model up to date once, where no projector is at it."""

from ledger.database import Database
from projections import tables
from projections.feed import head
from projections.rebuild import Progress, rebuild
from projections.runner import Projector


def catch_up(database: Database, progress: Progress | None = None) -> int:
    """Derive what the read model lacks; the number of events, 0 if a projector is running."""
    projector = Projector(database)
    with database.connect() as connection, database.try_lock(connection, "projector") as alone:
        if not alone:
            return 0
        version, position = connection.execute(
            "SELECT version, position FROM projection WHERE name = %s", (tables.NAME,)
        ).fetchone() or (None, 0)
        if version != tables.VERSION:
            return rebuild(database, progress).events
        connection.execute("SET synchronous_commit = off")
        newest, done = head(connection), 0
        while count := projector.project(connection):
            done += count
            if progress is not None:
                progress(done, max(done, newest - position))
        return done
