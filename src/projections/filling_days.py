"""Fill the days of a rebuild while its bookings, keys and indexes are made."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress

import psycopg

from projections import flow_days, tables
from projections.filling import FillFailed

CANCEL_SECONDS = 0.1


@contextmanager
def days_beside(connection: psycopg.Connection, beside: psycopg.Connection) -> Iterator[None]:
    """Fill the days meanwhile, out of a history that is whole, on the connection `beside`.

    At the end they are there, and the history is analysed. Should the block fail, they are
    broken off. Raises FillFailed, or what else has stopped them.
    """
    with connection.transaction():
        table = tables.oid(connection, tables.DAYS, tables.REBUILD)
    with ThreadPoolExecutor(1, "days") as thread:
        filling = thread.submit(_fill, beside, table)
        try:
            yield
            filling.result()
        finally:
            _break_off(beside, filling)


def _break_off(connection: psycopg.Connection, filling: Future[None]) -> None:
    """Whatever is left of it."""
    while not filling.done():  # a request that comes between two statements is lost
        with suppress(psycopg.Error):  # the database is gone, and soon the filling with it
            connection.cancel_safe(timeout=5)
        wait([filling], CANCEL_SECONDS)


def _fill(connection: psycopg.Connection, table: int) -> None:
    # First, while the bookings are derived: no index of a table can be made meanwhile.
    connection.execute('ANALYZE "BookingStatusHistory_rebuild"')
    with connection.transaction():
        # As for the history: should the rebuild have died, the name may be another one's.
        if tables.oid(connection, tables.DAYS, tables.REBUILD) != table:
            raise FillFailed("The table was replaced by that of another rebuild.")
        flow_days.fill(connection, tables.REBUILD)
        connection.execute("ANALYZE flow_day_rebuild")
