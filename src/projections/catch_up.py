"""Bring the read model up to date once, where no projector is at it."""

import logging

import psycopg

from ledger.database import Database
from projections import tables
from projections.feed import head
from projections.queries import derived_position
from projections.rebuild import Progress, RebuildRunning, rebuild
from projections.runner import Projector

logger = logging.getLogger(__name__)

MANY_EVENTS = 10_000
NOT_NOW = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    # Views of others, which a rebuild would have to drop.
    psycopg.errors.DependentObjectsStillExist,
)


def catch_up(database: Database, progress: Progress | None = None) -> int:
    """Derive what the read model lacks; the number of events, 0 if a projector is running.

    What others record meanwhile may be left to the next. An event costs a rebuild less than half
    of what it costs the projector. Where most events are missing, as after the first import, the
    read model is rebuilt.
    """
    projector = Projector(database)
    with database.connect() as connection, database.try_lock(connection, "projector") as alone:
        if not alone:
            return 0
        version, position = tables.derived(connection) or (None, 0)
        if version is not None and version > tables.VERSION:
            raise tables.OtherReadModel(version)  # or two releases would rebuild it in turns
        if version != tables.VERSION:
            return rebuild(database, progress).events
        newest = head(connection)
        if newest - position >= max(MANY_EVENTS, position):
            try:
                rebuild(database, progress)
            except RebuildRunning:
                pass  # it may take long: what it will switch to is not waited for
            except NOT_NOW as error:
                logger.info("event by event, as a rebuild is not possible now: %s", error)
                tables.drop(connection, tables.REBUILD)
            else:
                return int(newest - position)
        connection.execute("SET synchronous_commit = off")
        done = 0
        # Asked each time: a rebuild that another runs may have switched.
        while derived_position(connection) < newest and (count := projector.project(connection)):
            done += count
            if progress is not None:
                progress(done, max(done, newest - position))
        return done
