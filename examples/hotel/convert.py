"""Turn the Hotel booking demand data into status history for `booking-ledger import`.

    python examples/hotel/convert.py hotel_bookings.csv.gz > hotel.csv

The source holds one line a booking, with its last status only. What it does not say is settled so:

* Id: the source has none, and exact duplicates. `H1-000001` is the first line of the data; H1 is
  the resort hotel, H2 the city hotel, and the number counts through the whole file.
* Booked is arrival minus lead time, Check-In is the arrival date (only of bookings that end in
  Check-Out), the last status has its own date.
* Hours: the source has dates only. Booked gets 12:00 UTC, Check-In 13:00, the last status 14:00,
  so that time agrees with sequence even if all fall on one day, and the date stays right in any
  zone from UTC-12 to UTC+9.
* changedBy: who acted is not recorded. The nearest is who brought the booking, on its first row:
  `agent:9`, else `company:40`, else `channel:Direct`. On later rows it is empty.
* metadata: on the first row only. The source keeps one value a field, the last one, which may
  differ from what was known on the day of booking.
"""

import argparse
import csv
import gzip
import hashlib
import heapq
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

COLUMNS = ("bookingId", "fromStatus", "toStatus", "changedBy", "reason", "metadata", "createdAt")
HOTELS = {"Resort Hotel": "H1", "City Hotel": "H2"}
# Not calendar.month_name, which follows the locale.
MONTHS = {
    "January": 1,
    "February": 2,
    "March": 3,
    "April": 4,
    "May": 5,
    "June": 6,
    "July": 7,
    "August": 8,
    "September": 9,
    "October": 10,
    "November": 11,
    "December": 12,
}
FINAL = {"Check-Out", "Canceled", "No-Show"}
MISSING = {"", "NULL", "Undefined"}
BOOKED_AT, CHECK_IN_AT, FINAL_AT = "T12:00:00Z", "T13:00:00Z", "T14:00:00Z"
to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Row(NamedTuple):
    booking_id: str
    from_status: str | None
    to_status: str
    changed_by: str | None
    reason: str | None
    metadata: str | None
    created_at: str


def booking(number: int, source: dict[str, str]) -> list[Row]:
    """The history of the booking on line `number` of the data, oldest row first."""
    arrival = _arrival(source)
    booked = arrival - timedelta(days=int(source["lead_time"]))
    final = source["reservation_status"]
    if final not in FINAL:
        raise ValueError(f"unknown reservation_status {final!r}")

    steps = [("Booked", f"{booked}{BOOKED_AT}")]
    if final == "Check-Out":
        steps.append(("Check-In", f"{arrival}{CHECK_IN_AT}"))
    steps.append((final, f"{date.fromisoformat(source['reservation_status_date'])}{FINAL_AT}"))

    booking_id = f"{HOTELS[source['hotel']]}-{number:06}"
    previous = None
    rows = []
    for status, at in steps:
        rows.append(Row(booking_id, previous, status, None, None, None, at))
        previous = status
    rows[0] = rows[0]._replace(changed_by=_booked_by(source), metadata=_metadata(source, arrival))
    return rows


def _arrival(source: dict[str, str]) -> date:
    return date(
        int(source["arrival_date_year"]),
        MONTHS[source["arrival_date_month"]],
        int(source["arrival_date_day_of_month"]),
    )


def _booked_by(source: dict[str, str]) -> str | None:
    for kind, column in (
        ("agent", "agent"),
        ("company", "company"),
        ("channel", "distribution_channel"),
    ):
        if source[column] not in MISSING:
            return f"{kind}:{source[column]}"
    return None


def _metadata(source: dict[str, str], arrival: date) -> str:
    texts = {
        column: source[column]
        for column in ("hotel", "market_segment", "country", "deposit_type")
        if source[column] not in MISSING
    }
    nights = int(source["stays_in_weekend_nights"]) + int(source["stays_in_week_nights"])
    # json.loads keeps 75 an integer and 107.42 a fraction, as the source writes them.
    numbers = {"nights": nights, "adr": json.loads(source["adr"])}
    return to_json({**texts, "arrival_date": str(arrival), **numbers})


def convert(lines: Iterable[str], limit: int | None = None) -> Iterator[list[Row]]:
    """The histories of the first `limit` bookings, in the order of the file."""
    for number, source in enumerate(islice(csv.DictReader(lines), limit), start=1):
        try:
            yield booking(number, source)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"booking {number}: {type(error).__name__}: {error}") from error


def sample(bookings: Iterable[list[Row]], size: int) -> list[list[Row]]:
    """The same varied pick every time, in the order of the file.

    The hash of the id stands in for chance. A thirtieth of the pick comes from each kind of
    booking, because a plain pick of 300 has only three no-shows.
    """
    kinds: defaultdict[tuple[str, str, bool], list[tuple[int, list[Row]]]] = defaultdict(list)
    for rows in bookings:
        kept = kinds[_kind(rows)]
        # Negative, because a heap gives up its smallest and the largest hash has to go.
        heapq.heappush(kept, (-_hash(rows), rows))
        if len(kept) > size:
            heapq.heappop(kept)

    ranked = [sorted(kept, reverse=True) for kept in kinds.values()]
    few = size // 30
    sure = [entry for kept in ranked for entry in kept[:few]]
    rest = sorted((entry for kept in ranked for entry in kept[few:]), reverse=True)
    picked = [rows for _, rows in (sure + rest)[:size]]
    return sorted(picked, key=lambda rows: rows[0].booking_id.partition("-")[2])


def _kind(rows: list[Row]) -> tuple[str, str, bool]:
    first, last = rows[0], rows[-1]
    return first.booking_id[:2], last.to_status, first.created_at[:10] == last.created_at[:10]


def _hash(rows: list[Row]) -> int:
    return int.from_bytes(hashlib.sha256(rows[0].booking_id.encode()).digest()[:8])


def write(bookings: Iterable[list[Row]], out: TextIO, form: str) -> Counter[str]:
    """Write the rows; count the bookings by their last status, and the rows."""
    counts: Counter[str] = Counter()
    table = csv.writer(out, lineterminator="\n")
    if form == "csv":
        table.writerow(COLUMNS)
    for rows in bookings:
        if form == "csv":
            table.writerows(rows)
        else:
            for row in rows:
                out.write(to_json(dict(zip(COLUMNS, row, strict=True))) + "\n")
        counts[rows[-1].to_status] += 1
        counts["rows"] += len(rows)
    return counts


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Convert hotel_bookings.csv to the import format of Booking Ledger."
    )
    parser.add_argument("source", type=Path, help="hotel_bookings.csv or hotel_bookings.csv.gz")
    parser.add_argument("--format", choices=("csv", "ndjson"), default="csv")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument("--limit", type=_count, metavar="N", help="only the first N bookings")
    parser.add_argument("--sample", type=_count, metavar="N", help="a fixed, varied pick of N")
    return parser.parse_args(argv)


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _open_source(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _open_output(path: Path | None) -> "TextIO | nullcontext[TextIO]":
    if path:
        return path.open("w", encoding="utf-8", newline="")
    sys.stdout.reconfigure(encoding="utf-8", newline="")
    return nullcontext(sys.stdout)


def main(argv: list[str] | None = None) -> int:
    options = _arguments(argv)
    try:
        with _open_source(options.source) as lines, _open_output(options.output) as out:
            bookings: Iterable[list[Row]] = convert(lines, options.limit)
            if options.sample:
                bookings = sample(bookings, options.sample)
            counts = write(bookings, out, options.format)
            out.flush()
    except BrokenPipeError:
        # The reader, `head` for one, has had enough. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:
        print(f"convert.py: {options.source}: {error}", file=sys.stderr)
        return 1
    rows = counts.pop("rows", 0)
    finals = ", ".join(f"{status} {count:,}" for status, count in counts.most_common())
    print(f"{rows:,} rows for {counts.total():,} bookings: {finals}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
