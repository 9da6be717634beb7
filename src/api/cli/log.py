"""`log` and `checkpoint`: what an auditor takes away from the transparency log."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psycopg

from api.cli.existing import existing_ledger
from api.cli.options import json_option, ledger_options, out_option
from api.cli.output import print_json, write_text
from api.settings import read_settings
from api.storage import open_database
from projections.catch_up import catch_up
from projections.certificate import certify
from projections.feed import head
from projections.log import signing_keys
from projections.log.notes import encode_base64
from projections.log.projector import catch_up_log
from projections.log.reading import newest_checkpoint, prove_consistency, prove_inclusion
from projections.queries import wait_until_fresh


@click.group()
def log() -> None:
    """Checkpoints, keys and proofs of the transparency log."""


@log.command()
@out_option
@click.option("--witness", metavar="URL", help="A C2SP witness that is to cosign it.")
@click.option("--witness-key", metavar="VKEY", help="Verifier key of the witness.")
@ledger_options
def checkpoint(
    out: Path | None, witness: str | None, witness_key: str | None, **given: object
) -> None:
    """Write the newest signed checkpoint, to be kept where the operator cannot change it.

    Where no projector runs, the log is brought up to date first. 'verify --checkpoint FILE'
    holds the ledger against it later. With --witness, a witness is asked to cosign it, and what
    it signs is kept with the checkpoint.
    """
    if (witness is None) != (witness_key is None):
        raise click.UsageError("--witness and --witness-key go together.")
    settings = read_settings(**given)
    with open_database(settings) as database:
        catch_up_log(database, database.require_master_key(), settings.origin)
        with database.connect() as connection:
            kept = newest_checkpoint(connection)
            if witness is not None and witness_key is not None:
                from api.witness import Witness
                from projections.log.notes import parse_vkey

                kept = Witness(witness, parse_vkey(witness_key)).cosign(connection)
    write_text(kept.note, out)


@log.command()
@out_option
@ledger_options
def certificate(out: Path | None, **given: object) -> None:
    """Write a signed statement of what the read model says now: its rows and their digest.

    Where no projector runs, it is brought up to date first. 'verify --projection FILE' computes
    it anew from the events.
    """
    settings = read_settings(**given)
    with open_database(settings) as database:
        master_key = database.require_master_key()
        signing_keys.ensure(database, master_key, settings.origin)
        with database.connect() as connection:
            newest = head(connection)
            catch_up(database)  # what others record meanwhile may be left out
            wait_until_fresh(connection, newest=newest)
            signers = signing_keys.signers(connection, master_key, settings.origin)
            made = certify(connection, settings.origin, signers)
    write_text(str(made.note), out)


@log.command()
@click.option("--all", "all_", is_flag=True, help="Those of earlier keys too, newest first.")
@ledger_options
def vkey(all_: bool, **given: object) -> None:
    """Print the key that verifies checkpoints."""
    with _reading(given) as connection:
        newest_checkpoint(connection)
        found = signing_keys.verifiers(connection)
    for one in found if all_ else found[:1]:
        click.echo(one.vkey)


@log.command()
@click.argument("position", type=click.IntRange(min=1))
@click.option("--size", type=click.IntRange(min=1), help="Of this checkpoint, not the newest.")
@out_option
@ledger_options
def proof(position: int, size: int | None, out: Path | None, **given: object) -> None:
    """Prove that the event at POSITION is in the log (C2SP tlog-proof)."""
    with _reading(given) as connection:
        text = str(prove_inclusion(connection, position, size))
    write_text(text, out)


@log.command()
@click.argument("from_", metavar="FROM", type=click.IntRange(min=0))
@click.argument("to", type=click.IntRange(min=0))
@ledger_options
@json_option
def consistency(from_: int, to: int, as_json: bool, **given: object) -> None:
    """Prove that the log of size FROM is the beginning of that of size TO: hashes in base64."""
    with _reading(given) as connection:
        found = prove_consistency(connection, from_, to)
    hashes = [encode_base64(one) for one in found.hashes]
    if as_json:
        print_json({"from": found.old_size, "to": found.new_size, "hashes": hashes})
        return
    for one in hashes:
        click.echo(one)


@log.command("rotate-key")
@ledger_options
def rotate_key(**given: object) -> None:
    """Make a new signing key and print its verifier key.

    The next checkpoint is signed by the old key and the new one, all later ones by the new one
    alone. The old one stays known for verifying what it signed.
    """
    settings = read_settings(**given)
    with open_database(settings) as database:
        made = signing_keys.rotate(database, database.require_master_key(), settings.origin)
    click.echo(made.vkey)


@contextmanager
def _reading(given: dict[str, object]) -> Iterator[psycopg.Connection]:
    with existing_ledger(read_settings(**given)) as database, database.connect() as connection:
        yield connection
