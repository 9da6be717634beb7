"""eventsource-py on PostgreSQL: an aggregate in its repository, the engine's default pool;
projected by a DatabaseProjection under its SubscriptionManager, whose defaults are kept: a
transaction an event, a checkpoint a batch.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from statistics import median
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from eventsource import (
    AggregateRepository,
    AggregateRoot,
    DomainEvent,
    InMemoryEventBus,
    PostgreSQLEventStore,
    handles,
    register_event,
)
from eventsource.adapters.sql.checkpoints import SQLCheckpointRepository
from eventsource.adapters.sql.projection import DatabaseProjection
from eventsource.application.subscriptions import SubscriptionConfig, SubscriptionManager
from eventsource.migrations import get_schema
from pydantic import BaseModel
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from benchmarks.packages.work import (
    CALLERS,
    CHANGED_BY,
    CHANGES_A_BOOKING,
    INSERT_HISTORY,
    LONG_EVENTS,
    REASON,
    REPLAYS,
    UPSERT_BOOKING,
    Measured,
    arguments,
    bookings_for,
    report,
    status_after,
)

PROJECT_SECONDS = 600.0
COUNT = 'SELECT count(*) FROM "BookingStatusHistory"'


@register_event
class StatusChanged(DomainEvent):
    event_type: str = "StatusChanged"
    aggregate_type: str = "Booking"
    from_status: str | None
    status: str
    changed_by: str | None
    reason: str | None


class State(BaseModel):
    booking_id: UUID
    status: str | None = None


class Booking(AggregateRoot[State]):
    aggregate_type = "Booking"

    def _get_initial_state(self) -> State:
        return State(booking_id=self.aggregate_id)

    def _apply(self, event: DomainEvent) -> None:
        assert isinstance(event, StatusChanged)
        self._state = State(booking_id=self.aggregate_id, status=event.status)

    def change_status(self, status: str) -> None:
        before = None if self.version == 0 else self.state.status
        self.apply_event(
            StatusChanged(
                aggregate_id=self.aggregate_id,
                aggregate_version=self.get_next_version(),
                from_status=before,
                status=status,
                changed_by=CHANGED_BY,
                reason=REASON,
            )
        )


class HistoryProjection(DatabaseProjection):
    @handles(StatusChanged)
    async def _status_changed(self, connection: Any, event: StatusChanged) -> None:
        row = {
            "history_id": str(event.event_id),
            "id": str(event.aggregate_id),
            "from_status": event.from_status,
            "status": event.status,
            "changed_by": event.changed_by,
            "reason": event.reason,
            "version": event.aggregate_version,
            "position": 0,  # a subscriber is not told of it
            "at": event.occurred_at.replace(tzinfo=None),
        }
        await connection.execute(text(UPSERT_BOOKING), row)
        await connection.execute(text(INSERT_HISTORY), row)


class Bookings:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._store = PostgreSQLEventStore(engine)
        self._repository = AggregateRepository(
            event_store=self._store, aggregate_factory=Booking, aggregate_type="Booking"
        )

    async def open(self, booking_id: UUID) -> None:
        booking = self._repository.create_new(booking_id)
        booking.change_status(status_after(1))
        await self._repository.save(booking)

    async def change(self, booking_id: UUID, status: str) -> None:
        booking = await self._repository.load(booking_id)
        booking.change_status(status)
        await self._repository.save(booking)

    async def record(self, booking_ids: Sequence[UUID]) -> None:
        for version_ in range(2, 2 + CHANGES_A_BOOKING):
            for booking_id in booking_ids:
                await self.change(booking_id, status_after(version_))

    async def replay_milliseconds(self, booking_id: UUID) -> float:
        times = []
        for _ in range(REPLAYS):
            started = time.perf_counter()
            await self._repository.load(booking_id)
            times.append((time.perf_counter() - started) * 1000)
        return median(times)

    async def project(self, events: int) -> float:
        """Events a second."""
        manager = SubscriptionManager(
            self._store, InMemoryEventBus(), SQLCheckpointRepository(self._engine)
        )
        projection = HistoryProjection(async_sessionmaker(self._engine, expire_on_commit=False))
        await manager.subscribe(projection, SubscriptionConfig(start_from="beginning"))
        started = time.perf_counter()
        await manager.start()
        while await self._projected() < events:
            if time.perf_counter() - started > PROJECT_SECONDS:
                raise TimeoutError("the projection did not come to its end")
            await asyncio.sleep(0.01)
        seconds = time.perf_counter() - started
        await manager.stop()
        return events / seconds

    async def _projected(self) -> int:
        async with self._engine.connect() as connection:
            return int((await connection.execute(text(COUNT))).scalar_one())


async def measure(url: str, changes: int) -> Measured:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    await _create_tables(url)
    bookings = Bookings(engine)
    sets = [[uuid4() for _ in range(bookings_for(changes))] for _ in range(2)]
    for booking_id in sets[0] + sets[1]:
        await bookings.open(booking_id)

    started = time.perf_counter()
    await bookings.record(sets[0])
    record_1 = len(sets[0]) * CHANGES_A_BOOKING / (time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(bookings.record(sets[1][n::CALLERS]) for n in range(CALLERS)))
    record_32 = len(sets[1]) * CHANGES_A_BOOKING / (time.perf_counter() - started)

    long = uuid4()
    await bookings.open(long)
    for version_ in range(2, LONG_EVENTS + 1):
        await bookings.change(long, status_after(version_))
    replay_ms = await bookings.replay_milliseconds(long)
    events = sum(map(len, sets)) * (1 + CHANGES_A_BOOKING) + LONG_EVENTS
    project = await bookings.project(events)
    await engine.dispose()
    package = f"eventsource-py {version('eventsource-py')}"
    return Measured(package, record_1, record_32, replay_ms, project)


async def _create_tables(url: str) -> None:
    given = make_url(url)
    connection = await asyncpg.connect(
        host=given.query["host"], user=given.username, database=given.database
    )
    # A function of the package's own that PostgreSQL refuses; nothing here calls it.
    await connection.execute("SET check_function_bodies = off")
    for name in ("events", "checkpoints"):  # the others want an extension that is not here
        await connection.execute(get_schema(name))
    await connection.close()


if __name__ == "__main__":
    report(asyncio.run(measure(*arguments(sys.argv))))
