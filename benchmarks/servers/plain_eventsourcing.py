"""Plain eventsourcing behind FastAPI: an Aggregate with @event, an Application with the
library's PostgreSQL module and its default settings, one endpoint function a call.

Its defaults: a pool of 5 connections and 10 more, one transaction a change that holds the
library's table lock, the JSON transcoder, aggregates replayed at each change.
"""

import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from benchmarks.servers.constant import serve


class Booking(Aggregate):
    @event("Opened")
    def __init__(
        self, status: str, changed_by: str | None, reason: str | None, occurred_at: datetime
    ) -> None:
        self.status = status
        self.changed_by = changed_by
        self.reason = reason
        self.occurred_at = occurred_at

    @event("StatusChanged")
    def change_status(
        self,
        from_status: str,
        status: str,
        changed_by: str | None,
        reason: str | None,
        occurred_at: datetime,
    ) -> None:
        del from_status  # a part of the fact, not of the state
        self.status = status
        self.changed_by = changed_by
        self.reason = reason
        self.occurred_at = occurred_at


class Bookings(Application[UUID]):
    def open_booking(self, status: str, changed_by: str | None, reason: str | None) -> UUID:
        booking = Booking(status, changed_by, reason, datetime.now(UTC))
        self.save(booking)
        return booking.id

    def change_status(
        self, booking_id: UUID, status: str, changed_by: str | None, reason: str | None
    ) -> Booking:
        booking: Booking = self.repository.get(booking_id)
        if status != booking.status:
            booking.change_status(booking.status, status, changed_by, reason, datetime.now(UTC))
            self.save(booking)
        return booking


class Change(BaseModel):
    status: str
    changedBy: str | None = None  # noqa: N815
    reason: str | None = None


def create_app(bookings: Bookings) -> FastAPI:
    app = FastAPI()

    @app.post("/bookings", status_code=201)
    def open_booking(change: Change) -> dict[str, Any]:
        booking_id = bookings.open_booking(change.status, change.changedBy, change.reason)
        return {"id": booking_id, "status": change.status, "version": 1}

    @app.patch("/bookings/{booking_id}")
    def change_status(booking_id: UUID, change: Change) -> dict[str, Any]:
        try:
            booking = bookings.change_status(
                booking_id, change.status, change.changedBy, change.reason
            )
        except KeyError as error:
            raise HTTPException(404) from error
        return {"id": booking.id, "status": booking.status, "version": booking.version}

    return app


if __name__ == "__main__":
    serve(create_app(Bookings(dict(os.environ))))
