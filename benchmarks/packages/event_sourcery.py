"""python-event-sourcery on SQLAlchemy and PostgreSQL: an aggregate in its repository, a session
and a commit a change, the engine's default pool; projected by its subscription in batches, the
rows of a batch in one transaction.
"""

import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

from event_sourcery import Event, StreamUUID
from event_sourcery.event_sourcing import Aggregate, Repository
from event_sourcery_sqlalchemy import SQLAlchemyBackend, configure_models
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Session

from benchmarks.packages.work import (
    CALLERS,
    CHANGED_BY,
    CHANGES_A_BOOKING,
    INSERT_HISTORY,
    LONG_EVENTS,
    REASON,
    UPSERT_BOOKING,
    Measured,
    arguments,
    bookings_for,
    replay_milliseconds,
    report,
    status_after,
)

BATCH_EVENTS = 100


class Base(DeclarativeBase):
    pass


class StatusChanged(Event):
    from_status: str | None
    status: str
    changed_by: str | None
    reason: str | None


class Booking(Aggregate):
    category = "Booking"

    def __init__(self) -> None:
        self.status: str | None = None

    def change_status(self, status: str) -> None:
        self._emit(
            StatusChanged(
                from_status=self.status, status=status, changed_by=CHANGED_BY, reason=REASON
            )
        )

    def __apply__(self, event: Event) -> None:
        assert isinstance(event, StatusChanged)
        self.status = event.status


class Bookings:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def change(self, booking_id: StreamUUID, status: str) -> None:
        with Session(self._engine) as session:
            store = SQLAlchemyBackend().configure(session).event_store
            with Repository[Booking](store).aggregate(booking_id, Booking()) as wrapped:
                wrapped.aggregate.change_status(status)
            session.commit()

    def load(self, booking_id: StreamUUID) -> Booking:
        with Session(self._engine) as session:
            store = SQLAlchemyBackend().configure(session).event_store
            with Repository[Booking](store).aggregate(booking_id, Booking()) as wrapped:
                return wrapped.aggregate

    def record(self, booking_ids: Iterable[StreamUUID]) -> None:
        for version_ in range(2, 2 + CHANGES_A_BOOKING):
            for booking_id in booking_ids:
                self.change(booking_id, status_after(version_))

    def project(self, events: int) -> float:
        """Events a second; only whole batches, for it waits before it gives a part of one."""
        whole = events // BATCH_EVENTS
        started = time.perf_counter()
        with Session(self._engine) as session:
            backend = SQLAlchemyBackend().configure(session)
            batches = (
                backend.subscriber.start_from(0)
                .to_category("Booking")
                .build_batch(size=BATCH_EVENTS, timelimit=1)
            )
            for _ in range(whole):
                for recorded in next(batches):
                    row = _row(recorded)
                    session.execute(text(UPSERT_BOOKING), row)
                    session.execute(text(INSERT_HISTORY), row)
                session.commit()
        return whole * BATCH_EVENTS / (time.perf_counter() - started)


def _row(recorded: Any) -> dict[str, Any]:
    wrapped = recorded.wrapped_event
    return {
        "history_id": str(wrapped.uuid),
        "id": str(recorded.stream_id),
        "from_status": wrapped.event.from_status,
        "status": wrapped.event.status,
        "changed_by": wrapped.event.changed_by,
        "reason": wrapped.event.reason,
        "version": wrapped.version,
        "position": recorded.position,
        "at": wrapped.created_at,
    }


def main() -> None:
    url, changes = arguments(sys.argv)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    configure_models(Base)
    Base.metadata.create_all(engine)
    bookings = Bookings(engine)
    sets = [[StreamUUID() for _ in range(bookings_for(changes))] for _ in range(2)]
    for booking_id in sets[0] + sets[1]:
        bookings.change(booking_id, status_after(1))

    started = time.perf_counter()
    bookings.record(sets[0])
    record_1 = len(sets[0]) * CHANGES_A_BOOKING / (time.perf_counter() - started)

    started = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(bookings.record, [sets[1][n::CALLERS] for n in range(CALLERS)]))
    record_32 = len(sets[1]) * CHANGES_A_BOOKING / (time.perf_counter() - started)

    long = StreamUUID()
    for version_ in range(1, LONG_EVENTS + 1):
        bookings.change(long, status_after(version_))
    replay_ms = replay_milliseconds(lambda: bookings.load(long))
    events = sum(map(len, sets)) * (1 + CHANGES_A_BOOKING) + LONG_EVENTS
    package = f"python-event-sourcery {version('python-event-sourcery')}"
    report(Measured(package, record_1, record_32, replay_ms, bookings.project(events)))
    engine.dispose()


if __name__ == "__main__":
    main()
