"""Turn the UCI incident event log into status history for `booking-ledger import`.

    python examples/incidents/convert.py uci_incident_event_log.csv.gz > incidents.csv

Every line of the source becomes one row, in the order of the file. What needs a decision:

* fromStatus stays empty. The log names only the state after each edit; the ledger itself knows
  the one before.
* Lines that do not change the state are kept; the import records nothing for them.
* Times are day first and name no zone: they are taken as UTC. One line is older than the line
  before it; the order of the file stands.
* `?` means missing: no actor, no reason, no key in metadata.
* closed_code, resolved_by, resolved_at and closed_at are final values that the source copied onto
  every line of a case, as if known from the start. closed_code is the reason on Resolved and
  Closed lines. The others go into metadata only where they can have been true: resolved_* from
  Resolved on, closed_at on Closed, and none that is dated after the line itself.
* The other columns go into metadata under their own names, unaltered.
"""

import argparse
import csv
import gzip
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

COLUMNS = ("bookingId", "fromStatus", "toStatus", "changedBy", "reason", "metadata", "createdAt")
MISSING = "?"
# They have columns of their own in the import.
MAPPED = {"number", "incident_state", "sys_updated_by", "sys_updated_at", "closed_code"}
RESOLVED_ON = {"Resolved", "Closed"}
RESOLUTION = {"resolved_at", "resolved_by"}
to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Row(NamedTuple):
    booking_id: str
    from_status: str | None
    to_status: str
    changed_by: str | None
    reason: str | None
    metadata: str | None
    created_at: str


def row(source: dict[str, str]) -> Row:
    state = source["incident_state"]
    at = _time(source["sys_updated_at"])
    return Row(
        booking_id=source["number"],
        from_status=None,
        to_status=state,
        changed_by=_known(source["sys_updated_by"]),
        reason=_known(source["closed_code"]) if state in RESOLVED_ON else None,
        metadata=_metadata(source, at),
        created_at=at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


@lru_cache(maxsize=4096)  # neighbouring lines repeat their dates, and parsing is slow
def _time(text: str) -> datetime:
    return datetime.strptime(text, "%d/%m/%Y %H:%M").replace(tzinfo=UTC)


def _known(text: str) -> str | None:
    return None if text == MISSING else text


def _metadata(source: dict[str, str], at: datetime) -> str:
    left_out = MAPPED | _not_yet_known(source, at)
    kept = {
        column: value
        for column, value in source.items()
        if value != MISSING and column not in left_out
    }
    return to_json(kept)


def _not_yet_known(source: dict[str, str], at: datetime) -> set[str]:
    state = source["incident_state"]
    unknown = set()
    # A date to come belongs to a later resolution of a reopened case, and so does its author.
    if state not in RESOLVED_ON or _is_after(source["resolved_at"], at):
        unknown |= RESOLUTION
    if state != "Closed" or _is_after(source["closed_at"], at):
        unknown.add("closed_at")
    return unknown


def _is_after(text: str, at: datetime) -> bool:
    return text != MISSING and _time(text) > at


def convert(lines: Iterable[str], limit: int | None = None) -> Iterator[Row]:
    """One row for each of the first `limit` lines, in the order of the file."""
    for number, source in enumerate(islice(csv.DictReader(lines), limit), start=1):
        try:
            yield row(source)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"row {number}: {type(error).__name__}: {error}") from error


def write(rows: Iterable[Row], out: TextIO, form: str) -> tuple[int, int]:
    """Write the rows; count them, and their incidents."""
    incidents = set()
    count = 0
    table = csv.writer(out, lineterminator="\n")
    if form == "csv":
        table.writerow(COLUMNS)
    for count, entry in enumerate(rows, start=1):  # noqa: B007 - the last one is the count
        if form == "csv":
            table.writerow(entry)
        else:
            out.write(to_json(dict(zip(COLUMNS, entry, strict=True))) + "\n")
        incidents.add(entry.booking_id)
    return count, len(incidents)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Convert the UCI incident event log to the import format of Booking Ledger."
    )
    parser.add_argument("source", type=Path, help="uci_incident_event_log.csv or …csv.gz")
    parser.add_argument("--format", choices=("csv", "ndjson"), default="csv")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument("--limit", type=_count, metavar="N", help="only the first N lines")
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
            rows, incidents = write(convert(lines, options.limit), out, options.format)
            out.flush()
    except BrokenPipeError:
        # The reader, `head` for one, has had enough. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:
        print(f"convert.py: {options.source}: {error}", file=sys.stderr)
        return 1
    print(f"{rows:,} rows for {incidents:,} incidents", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
