"""`erase`, `hold` and `release`: what becomes of what is personal in a booking."""

from contextlib import closing
from typing import Any

import click

from api.cli.options import Command, json_option, ledger_options
from api.cli.output import print_json, printable
from api.settings import read_settings
from api.storage import open_database
from ledger.commands import DecideOnPersonalData
from ledger.errors import BookingNotFound, InvalidField, Refusal
from ledger.limits import check_booking_id, check_reason
from ledger.personal_data import Decision, Verdict
from ledger.writer import Writer
from projections.catch_up import catch_up
from projections.queries import wait_until_fresh

SOURCE = "command line"


def decision(command: Command) -> click.Command:
    """A command about the booking ID, with a reason."""
    options = (
        click.argument("booking_id", metavar="ID"),
        click.option(
            "--reason", required=True, help="Why; kept for ever, so name no person in it."
        ),
        ledger_options,
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return click.command()(command)


@decision
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
def erase(booking_id: str, yes: bool, **given: Any) -> None:
    """Erase who, why and metadata of all changes of the booking ID, for ever.

    Statuses, times and proofs stay. Backups keep what was there when they were made. Exit code 1
    under a legal hold, or if the ledger does not know the booking.
    """
    if not yes:
        click.confirm(f"Erase what is personal in {printable(booking_id)}, for ever?", abort=True)
    _decide("erase", booking_id, **given)


@decision
def hold(**given: Any) -> None:
    """Place a legal hold on the booking ID: 'erase' refuses until it is released."""
    _decide("hold", **given)


@decision
def release(**given: Any) -> None:
    """Release the legal hold on the booking ID."""
    _decide("release", **given)


def _decide(verdict: Verdict, booking_id: str, reason: str, as_json: bool, **given: object) -> None:
    if not reason:
        raise click.UsageError("--reason must not be empty.")
    try:
        check_reason(reason, "--reason")
        check_booking_id(booking_id)
    except InvalidField as error:
        if error.field == "--reason":
            raise click.UsageError(str(error)) from error
        raise BookingNotFound(booking_id) from error
    settings = read_settings(**given)
    decision = Decision(
        verdict=verdict, reason=reason, decided_by=None, actor="system", source=SOURCE
    )
    with open_database(settings) as database:
        with closing(Writer(database, settings.read_workflow())) as writer:
            (answer,) = writer.execute([DecideOnPersonalData(booking_id, decision)])
        if isinstance(answer, Refusal):
            raise answer
        catch_up(database)
        with database.connect() as connection:
            wait_until_fresh(connection, newest=answer.position)
    changed = answer.kind == "changed"
    if as_json:
        print_json({"bookingId": booking_id, "changed": changed})
    else:
        click.echo("Done." if changed else "Nothing to do: it is so already.")
