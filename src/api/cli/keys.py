"""`keys`: who may use the HTTP interface."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import cast

import click
import psycopg

from api import keys as access
from api.cli.options import json_option, ledger_options
from api.cli.output import print_json, print_table, printable
from api.settings import read_settings
from api.storage import open_database


@click.group()
def keys() -> None:
    """Make, list and revoke the access keys of the HTTP interface."""


@keys.command()
@click.option("--name", required=True, help="Who or what uses the key; events show it.")
@click.option("--role", required=True, type=click.Choice(access.ROLES), help="What it may do.")
@ledger_options
@json_option
def create(name: str, role: str, as_json: bool, **given: object) -> None:
    """Make a key and print its secret, which is shown this once and stored nowhere."""
    with _connected(given) as connection:
        key = access.create_key(connection, name, cast("access.Role", role))
    if as_json:
        print_json({"id": key.id, "name": key.name, "role": key.role, "secret": key.secret})
        return
    click.echo(f"id      {key.id}\nname    {key.name}\nrole    {key.role}\nsecret  {key.secret}")
    click.echo("Keep the secret now: it is not shown again.", err=True)


@keys.command("list")
@ledger_options
@json_option
def list_(as_json: bool, **given: object) -> None:
    """List the keys, the revoked ones too. Secrets are not shown: nothing holds them."""
    with _connected(given) as connection:
        found = access.list_keys(connection)
    if as_json:
        print_json({"keys": [_document(key) for key in found]})
        return
    header = ("ID", "NAME", "ROLE", "CREATED", "LAST USED", "REVOKED")
    print_table(
        header,
        [
            (
                key.id,
                printable(key.name),
                key.role,
                _time(key.created_at),
                _time(key.last_used_at),
                _time(key.revoked_at),
            )
            for key in found
        ],
    )


@keys.command()
@click.argument("key_id", metavar="ID")
@ledger_options
@json_option
def revoke(key_id: str, as_json: bool, **given: object) -> None:
    """Revoke a key: from then on it opens nothing."""
    with _connected(given) as connection:
        key = access.revoke_key(connection, key_id)
    if as_json:
        print_json(_document(key))
        return
    click.echo(f"Revoked {key.id} ({printable(key.name)}, {key.role}).")


@contextmanager
def _connected(given: dict[str, object]) -> Iterator[psycopg.Connection]:
    with open_database(read_settings(**given)) as database, database.connect() as connection:
        yield connection


def _document(key: access.KeyInfo) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "createdAt": key.created_at,
        "lastUsedAt": key.last_used_at,
        "revokedAt": key.revoked_at,
    }


def _time(time: datetime | None) -> str:
    return "-" if time is None else time.strftime("%Y-%m-%d %H:%M:%SZ")
