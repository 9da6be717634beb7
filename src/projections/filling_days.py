"""Fill the days of a rebuild while its bookings, keys and indexes are made."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import psycopg

from ledger.database import Database
from projections import flow_days, tables
from projections.filling import FillFailed, set_up


@contextmanager
def days_beside(connection: psycopg.Connection, database: Database) -> Iterator[None]:
    """Fill the days meanwhile, out of a history that is whole, on a connection of their own.

    At the end they are there, and the history is analysed. Should the block fail, they are
    broken off. Raises FillFailed, or what else has stopped them.
    """
    with connection.transaction():
        table = tables.oid(connection, tables.DAYS, tables.REBUILD)
    with database.connect() as beside, ThreadPoolExecutor(1, "days") as thread:
        set_up(beside)
        filling = thread.submit(_fill, beside, table)
        try:
            yield
        except BaseException:
            with suppress(psycopg.Error):  # the database is gone, and their filling with it
                beside.cancel_safe()
            raise
        filling.result()


def _fill(connection: psycopg.Connection, table: int) -> None:
    # First, while the bookings are derived: no index of a table can be made meanwhile.
    connection.execute('ANALYZE "BookingStatusHistory_rebuild"')
    with connection.transaction():
        # As for the history: should the rebuild have died, the name may be another one's.
        if tables.oid(connection, tables.DAYS, tables.REBUILD) != table:
            raise FillFailed("The table was replaced by that of another rebuild.")
        flow_days.fill(connection, tables.REBUILD)
        connection.execute("ANALYZE flow_day_rebuild")
