"""`migrate` and `rebuild`: the tables of a ledger."""

import click

from api.cli.options import json_option, ledger_options
from api.cli.output import print_json, progress_bar
from api.settings import read_settings
from api.storage import open_database, open_server
from ledger import schema
from ledger.database import Database
from projections import tables
from projections.rebuild import rebuild as rebuild_read_model
from projections.runner import ensure


@click.command()
@ledger_options
@json_option
def migrate(as_json: bool, **given: object) -> None:
    """Set up the database of a ledger, or bring it up to date. Safe to repeat."""
    with open_server(read_settings(**given)) as database:
        migrated = schema.migrate(database)
        missing = not _has_read_model(database)
        ensure(database)
    if as_json:
        print_json(
            {
                "schema": database.schema,
                "schemaVersion": schema.HEAD,
                "migrated": migrated,
                "readModelVersion": tables.VERSION,
                "readModelCreated": missing,
            }
        )
        return
    did = "brought to" if migrated else "is at"
    click.echo(f"Schema {database.schema!r} {did} version {schema.HEAD}.")
    click.echo(f"The read model {'was set up' if missing else 'is in place'}.")


@click.command()
@ledger_options
@json_option
def rebuild(as_json: bool, **given: object) -> None:
    """Derive every row of the read model anew from the events, and switch to the new tables.

    The service goes on answering meanwhile.
    """
    with (
        open_database(read_settings(**given)) as database,
        progress_bar("rebuild", "events") as progress,
    ):
        report = rebuild_read_model(database, progress)
    rate = report.events / report.seconds if report.seconds else 0.0
    if as_json:
        print_json(
            {
                "events": report.events,
                "seconds": round(report.seconds, 3),
                "eventsPerSecond": round(rate),
            }
        )
        return
    click.echo(f"Rebuilt from {report.events:,} events in {report.seconds:.1f} s ({rate:,.0f}/s).")


def _has_read_model(database: Database) -> bool:
    with database.connect() as connection:
        return tables.exist(connection)
