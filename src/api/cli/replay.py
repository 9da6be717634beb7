"""`replay`: event by event, what was done to a booking."""

from collections.abc import Iterator
from typing import Any

import click
import psycopg

from api.answers import event_document, rfc3339
from api.cli.existing import existing_ledger
from api.cli.history import find_history
from api.cli.options import json_option, ledger_options
from api.cli.output import print_json, printable
from api.settings import read_settings
from ledger.transcoder import EventMapper, event_mapper
from projections.replay import State, Step, replay_all, replay_booking
from projections.rows import milliseconds


@click.command()
@click.argument("booking_id", metavar="[ID]", required=False)
@ledger_options
@json_option
def replay(booking_id: str | None, as_json: bool, **given: object) -> None:
    """Replay the events of the booking ID, or of all bookings in the order of positions.

    Each event is shown with the booking before and after it; --json prints one object a line.
    """
    show = _print_json if as_json else _print
    with existing_ledger(read_settings(**given)) as database, database.connect() as connection:
        for step in _steps(connection, event_mapper(database), booking_id):
            show(step)


def _steps(
    connection: psycopg.Connection, mapper: EventMapper, booking_id: str | None
) -> Iterator[Step]:
    if booking_id is None:
        return replay_all(connection, mapper)
    return replay_booking(find_history(connection, mapper, booking_id))


def _print_json(step: Step) -> None:
    document = event_document(step.positioned)
    document["before"] = _document(step.before)
    document["after"] = _document(step.after)
    print_json(document)


def _document(state: State | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        "status": state.status,
        "version": state.version,
        "createdAt": rfc3339(milliseconds(state.opened_at)),
        "updatedAt": rfc3339(milliseconds(state.changed_at)),
    }


def _print(step: Step) -> None:
    event = step.positioned.event
    before = "(nothing)" if step.before is None else printable(step.before.status)
    click.echo(
        f"{step.positioned.position}  {event.timestamp:%Y-%m-%d %H:%M:%SZ}  "
        f"{printable(event.originator_id)} v{event.originator_version}  "
        f"{type(event).__name__}: {before} → {printable(step.after.status)}"
    )
    said = [f"by {printable(event.changed_by)}" if event.changed_by else "by nobody named"]
    if event.reason:
        said.append(f"because: {printable(event.reason)}")
    if event.claimed_from_status is not None:
        said.append(f"the import claimed it came from {printable(event.claimed_from_status)}")
    click.echo(f"    {', '.join(said)} ({event.actor}, {printable(event.source)})")
    opened, changed = step.after.opened_at, step.after.changed_at
    click.echo(
        f"    now: {printable(step.after.status)}, version {step.after.version}, "
        f"opened {opened:%Y-%m-%d %H:%M:%SZ}, changed {changed:%Y-%m-%d %H:%M:%SZ}"
    )
