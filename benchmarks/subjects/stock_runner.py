"""The library's ProjectionRunner on the same read model, as its documentation has it: a view on
PostgresTrackingRecorder, whose row and tracking are written in one transaction an event.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import singledispatchmethod
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner

from benchmarks.database import library_environment
from benchmarks.servers.plain_eventsourcing import Booking, Bookings
from projections import tables
from projections.rows import history_id

WAIT_SECONDS = 600.0
EVENTS_A_BOOKING = 3
SAVED_AT_ONCE = 300

UPSERT_BOOKING = """
    INSERT INTO "Booking" VALUES (%(id)s, %(status)s, %(version)s, %(at)s, %(at)s, %(position)s)
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, version = excluded.version,
        "updatedAt" = excluded."updatedAt", position = excluded.position
"""
INSERT_HISTORY = """
    INSERT INTO "BookingStatusHistory" VALUES (%(history_id)s, %(id)s, %(from_status)s,
        %(status)s, %(changed_by)s, %(reason)s, NULL, %(at)s, %(version)s, %(position)s,
        %(at)s, 'api-key', 'benchmark', NULL, false)
"""


class HistoryView(PostgresTrackingRecorder):
    began: float | None = None
    ended = 0.0
    """When the first event came, and when the last was there: neither its tables and connections
    are measured, nor how seldom `wait` looks."""

    def add(self, row: dict[str, Any], tracking: Tracking) -> None:
        if self.began is None:
            self.began = time.monotonic()
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(UPSERT_BOOKING, row, prepare=True)
            cursor.execute(INSERT_HISTORY, row, prepare=True)
        self.ended = time.monotonic()


class HistoryProjection(Projection[HistoryView]):
    name = "history"

    @singledispatchmethod
    def process_event(self, domain_event: DomainEventProtocol[UUID], tracking: Tracking) -> None:
        event: Any = domain_event
        opened = event.originator_version == Booking.INITIAL_VERSION
        booking_id = str(event.originator_id)
        row = {
            "history_id": history_id(
                booking_id, event.originator_version, tracking.notification_id
            ),
            "id": booking_id,
            "from_status": None if opened else event.from_status,
            "status": event.status,
            "changed_by": event.changed_by,
            "reason": event.reason,
            "version": event.originator_version,
            "position": tracking.notification_id,
            "at": event.occurred_at.astimezone(UTC).replace(tzinfo=None),
        }
        self.view.add(row, tracking)


def events_per_second(url: str, events: int, *, waits_for_disk: bool = True) -> float:
    """Record events with plain eventsourcing, then see how quickly its runner projects them."""
    environment = library_environment(url)
    recorded = _record(environment, events)
    with psycopg.connect(url, autocommit=True) as connection:
        tables.create(connection, tables.LIVE)
        tables.create_indexes(connection, tables.LIVE)

    with (
        _connecting_with("" if waits_for_disk else "-c synchronous_commit=off"),
        ProjectionRunner(
            application_class=Bookings,
            projection_class=HistoryProjection,
            view_class=HistoryView,
            env=environment,
        ) as runner,
    ):
        runner.wait(recorded, timeout=WAIT_SECONDS)
        view = runner.projection.view
    assert view.began is not None
    return recorded / (view.ended - view.began)


@contextmanager
def _connecting_with(options: str) -> Iterator[None]:
    """PostgreSQL's own way to give all connections of a program an option."""
    os.environ["PGOPTIONS"] = options
    try:
        yield
    finally:
        del os.environ["PGOPTIONS"]


def _record(environment: dict[str, str], events: int) -> int:
    bookings = Bookings(environment)
    made = []
    for _ in range(-(-events // EVENTS_A_BOOKING)):
        booking = Booking("pending", "anna@frontdesk", None, datetime.now(UTC))
        for before, after in (("pending", "confirmed"), ("confirmed", "completed")):
            booking.change_status(before, after, "anna@frontdesk", "paid", datetime.now(UTC))
        made.append(booking)
    # In parts: the library stands still where thousands of events are saved at once.
    for first in range(0, len(made), SAVED_AT_ONCE):
        bookings.save(*made[first : first + SAVED_AT_ONCE])
    recorded = bookings.recorder.max_notification_id()
    bookings.close()
    assert recorded is not None
    return recorded
