"""The hotel sample in a ledger, and its figures worked out in the plainest way from its CSV."""

import csv
from collections import defaultdict
from datetime import datetime
from importlib.resources import as_file, files
from typing import NamedTuple

from api.demo import load_demo
from ledger.database import Database
from projections.catch_up import catch_up


class Row(NamedTuple):
    booking_id: str
    from_status: str | None
    to_status: str
    changed_by: str | None
    metadata: str | None
    created_at: datetime


def load_hotel(database: Database) -> None:
    """The sample, with its read model."""
    load_demo(database)
    catch_up(database)


def read_source() -> dict[str, list[Row]]:
    """The rows of each booking, in the order of the file."""
    bookings: dict[str, list[Row]] = defaultdict(list)
    with (
        as_file(files("api.demo").joinpath("hotel.csv")) as path,
        path.open(encoding="utf-8", newline="") as text,
    ):
        for row in csv.DictReader(text):
            bookings[row["bookingId"]].append(
                Row(
                    row["bookingId"],
                    row["fromStatus"] or None,
                    row["toStatus"],
                    row["changedBy"] or None,
                    row["metadata"] or None,
                    datetime.fromisoformat(row["createdAt"]),
                )
            )
    return bookings
