"""Open a ledger to look at it, changing nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from api.settings import Settings
from api.storage import open_server
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.schema import require_current
from ledger.sealing import require_same_master_key


class NoLedger(LedgerError):
    """There is no ledger"""


@contextmanager
def existing_ledger(settings: Settings) -> Iterator[Database]:
    """The database as it stands: neither made nor migrated, and nothing missing is replaced.

    Raises NoLedger or SchemaOutdated. An audit that repaired what it finds would find nothing.
    """
    if settings.database_url is None and not (settings.data_dir / "postgres").exists():
        raise NoLedger(
            f"There is no ledger in {settings.data_dir}. Name its --data-dir or --database-url, "
            "or make one with 'booking-ledger migrate'."
        )
    with open_server(settings) as database:
        require_current(database)
        if database.master_key is not None:
            with database.connect() as connection:
                require_same_master_key(connection, database.master_key)
        yield database
