"""`evidence` and `verify-evidence`: prove a history to somebody who has none of this."""

import sys
from pathlib import Path

import click

from api.cli.history import find_history
from api.cli.options import json_option, ledger_options, out_option
from api.cli.output import print_json, printable, write_text
from api.settings import read_settings
from api.storage import open_database
from ledger.transcoder import event_mapper
from projections.evidence.gather import gather_evidence
from projections.evidence.verify_evidence import NotSound, render, summary, verify
from projections.log.projector import catch_up_log

EXIT_NOT_SOUND = 1


@click.command()
@click.argument("booking_id", metavar="ID")
@out_option
@ledger_options
def evidence(booking_id: str, out: Path | None, **given: object) -> None:
    """Write one file that proves what happened to the booking ID.

    It is a page to read and print, and holds the proofs that 'verify-evidence' checks offline.
    Where no projector runs, the log is brought up to date first.
    """
    settings = read_settings(**given)
    with open_database(settings) as database:
        mapper = event_mapper(database)
        with database.connect() as connection:
            find_history(connection, mapper, booking_id)
        catch_up_log(database, database.require_master_key(), settings.origin)
        with database.connect() as connection:
            found = gather_evidence(connection, mapper, booking_id)
    write_text(render(found), out)


@click.command("verify-evidence")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--vkey", metavar="VKEY", help="The operator's verifier key, from another source.")
@json_option
def verify_evidence(file: Path, vkey: str | None, as_json: bool) -> None:
    """Check an evidence file, offline and without a ledger.

    Exit code 1 if it does not prove what it says. Without --vkey the key in the file is used,
    which proves nothing about who signed.
    """
    try:
        found = verify(file.read_bytes().decode(), vkey)
    except (NotSound, UnicodeDecodeError) as error:
        if as_json:
            print_json({"sound": False, "finding": str(error)})
        click.echo(f"Not sound: {printable(str(error))}", err=True)
        sys.exit(EXIT_NOT_SOUND)
    if as_json:
        print_json({"sound": True, **found})
    else:
        click.echo(summary(found))
