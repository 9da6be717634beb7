"""`history`: what happened to one booking."""

from collections.abc import Sequence

import click
import orjson
import psycopg

from api.answers import history_document
from api.cli.existing import existing_ledger
from api.cli.options import json_option, ledger_options
from api.cli.output import print_json, print_table, printable
from api.settings import read_settings
from ledger.errors import BookingNotFound, InvalidField
from ledger.limits import check_booking_id
from ledger.transcoder import EventMapper, event_mapper
from projections.feed import read_histories
from projections.rows import PositionedEvent

METADATA_SHOWN_MAX = 60
ERASED = "(erased)"


@click.command()
@click.argument("booking_id", metavar="ID")
@ledger_options
@json_option
def history(booking_id: str, as_json: bool, **given: object) -> None:
    """Show every status that the booking ID came to have, oldest first.

    It is read from the events themselves, so it is always up to date. --json prints what the
    HTTP interface answers. Exit code 1 if the ledger does not know the booking.
    """
    with existing_ledger(read_settings(**given)) as database, database.connect() as connection:
        events = find_history(connection, event_mapper(database), booking_id)
    if as_json:
        print_json({"bookingId": booking_id, "history": history_document(events)})
    else:
        _print(events)


def find_history(
    connection: psycopg.Connection, mapper: EventMapper, booking_id: str
) -> Sequence[PositionedEvent]:
    """The events of a booking. Raises BookingNotFound."""
    try:
        check_booking_id(booking_id)
    except InvalidField as error:
        # Nothing that could not be an id is one, and PostgreSQL would refuse some as text.
        raise BookingNotFound(booking_id) from error
    events = read_histories(connection, mapper, [booking_id]).get(booking_id)
    if events is None:
        raise BookingNotFound(booking_id)
    return events


def _print(events: Sequence[PositionedEvent]) -> None:
    header = ("VERSION", "OCCURRED AT", "FROM", "TO", "CHANGED BY", "REASON", "METADATA")
    rows = []
    for positioned in events:
        event = positioned.event
        rows.append(
            (
                str(event.originator_version),
                event.occurred_at.strftime("%Y-%m-%d %H:%M:%SZ"),
                printable(event.from_status),
                printable(event.to_status),
                ERASED if positioned.erased else printable(event.changed_by),
                printable(event.reason),
                _shortened(event.metadata),
            )
        )
    print_table(header, rows)


def _shortened(metadata: dict[str, object] | None) -> str:
    if metadata is None:
        return "-"
    text = printable(orjson.dumps(metadata).decode())
    return text if len(text) <= METADATA_SHOWN_MAX else f"{text[: METADATA_SHOWN_MAX - 1]}…"
