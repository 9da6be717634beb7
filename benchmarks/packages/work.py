"""The work that every package is given, and how it is measured.

Changes go over bookings that exist, each change loads its booking, records one event and
commits it. A booking with 20 events is loaded again and again. All events are then projected
into the same two tables with the same indexes, which are there beforehand.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

STATUSES = ("pending", "confirmed", "in_progress", "completed")
CHANGES_A_BOOKING = 4
CALLERS = 32
LONG_EVENTS = 20
REPLAYS = 200
CHANGED_BY, REASON = "anna@frontdesk", "the guest called"

UPSERT_BOOKING = """
    INSERT INTO "Booking" VALUES (:id, :status, :version, :at, :at, :position)
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, version = excluded.version,
        "updatedAt" = excluded."updatedAt", position = excluded.position
"""
INSERT_HISTORY = """
    INSERT INTO "BookingStatusHistory" VALUES (:history_id, :id, :from_status, :status,
        :changed_by, :reason, NULL, :at, :version, :position, :at, 'api-key', 'benchmark', NULL,
        false)
"""


@dataclass(frozen=True)
class Measured:
    """Changes a second with 1 and with 32 callers, milliseconds, events a second."""

    package: str
    record_1: float
    record_32: float
    replay_ms: float
    project: float


def status_after(version: int) -> str:
    """The status that a booking comes to have with its event of this version."""
    return STATUSES[(version - 1) % len(STATUSES)]


def bookings_for(changes: int) -> int:
    """How many bookings so many changes need."""
    return max(CALLERS, changes // CHANGES_A_BOOKING)


def replay_milliseconds(load: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(REPLAYS):
        started = time.perf_counter()
        load()
        times.append((time.perf_counter() - started) * 1000)
    return median(times)


def arguments(argv: Sequence[str]) -> tuple[str, int]:
    """The database's URL, and how many changes."""
    _, url, changes = argv
    return url, int(changes)


def report(measured: Measured) -> None:
    json.dump(asdict(measured), sys.stdout)
