"""Open the ledger's database: the embedded one or the one that is named, brought up to date."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from api.settings import Settings
from ledger.database import Database
from ledger.schema import migrate
from ledger.sealing import check_master_key, has_master_key
from projections.runner import ensure


@contextmanager
def open_server(settings: Settings) -> Iterator[Database]:
    """The database as it is, while this context lasts; the embedded one is started or joined."""
    if settings.database_url is not None:
        yield Database(settings.database_url, settings.schema_name, settings.find_master_key())
        return
    from api.embedded import embedded_postgres  # noqa: PLC0415  # only where it is the default

    with embedded_postgres(settings.data_dir) as url:
        yield Database(url, settings.schema_name, settings.find_master_key())


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The same with its schema, its master key and its read model set up.

    Raises MasterKeyError where the key is not the one of the ledger, or not here.
    """
    with open_server(settings) as found:
        migrate(found)
        database = _with_master_key(found, settings)
        ensure(database)
        yield database


def _with_master_key(database: Database, settings: Settings) -> Database:
    with database.connect() as connection:
        if has_master_key(connection):
            database.require_master_key()  # one made now would not be the ledger's
        database = replace(database, master_key=settings.load_master_key())
        check_master_key(connection, database.require_master_key())
    return database
