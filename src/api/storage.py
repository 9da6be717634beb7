"""Open the ledger's database: the embedded one or the one that is named, brought up to date."""

from collections.abc import Iterator
from contextlib import contextmanager

from api.settings import Settings
from ledger.database import Database
from ledger.schema import migrate
from projections.runner import ensure


@contextmanager
def open_server(settings: Settings) -> Iterator[Database]:
    """The database as it is, while this context lasts; the embedded one is started or joined."""
    if settings.database_url is not None:
        yield Database(settings.database_url, settings.schema_name)
        return
    from api.embedded import embedded_postgres  # noqa: PLC0415  # only where it is the default

    with embedded_postgres(settings.data_dir) as url:
        yield Database(url, settings.schema_name)


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The same with its schema and read model set up."""
    with open_server(settings) as database:
        migrate(database)
        ensure(database)
        yield database
