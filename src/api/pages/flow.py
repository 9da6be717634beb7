"""The map of statuses and transitions, and how long bookings stay in each status."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BeforeValidator, StringConstraints
from starlette.responses import Response

from api.gate import ReaderRole
from api.pages.bookings import Asked, is_time
from api.pages.flow_map import HEIGHT, WIDTH, draw
from api.pages.navigation import FLOW
from api.pages.rendering import page
from api.store import TheStore
from projections.analytics.question import moment
from projections.analytics.time_in_status import TimeInStatus, time_in_status
from projections.analytics.transitions import Transition, transitions
from projections.queries import Filter

router = APIRouter(include_in_schema=False)

# What the form sends for a field that is empty.
Day = Annotated[
    Annotated[str, StringConstraints(max_length=40), AfterValidator(is_time)] | None,
    BeforeValidator(lambda text: text or None),
    Query(),
]


@dataclass(frozen=True)
class Step:
    """A transition as it is shown, and where the bookings are that it is about."""

    row: Transition
    median: timedelta | None
    href: str


@dataclass(frozen=True)
class Stay:
    """A status as it is shown. `share` is its median in percent of the longest median."""

    row: TimeInStatus
    median: timedelta | None
    longest: timedelta | None
    share: float


@router.get("/flow")
def flow(key: ReaderRole, store: TheStore, since: Day = None, until: Day = None) -> Response:
    """Changes that occurred in the period, by transition; stays that began in it, by status."""
    asked = Asked(None, None, None, None, None, since, until)
    search = asked.search()
    chosen = Filter(since=search.since, until=search.until)
    with store.connection() as connection:
        at = moment(connection, None)
        rows = transitions(connection, at, chosen)
        stays = time_in_status(connection, at, chosen)
    steps = [_step(row, asked) for row in rows]
    return page(
        "flow",
        section=FLOW,
        key=key,
        asked=asked,
        steps=sorted(steps, key=lambda step: -step.row.changes),
        hrefs={(step.row.from_status, step.row.to_status): step for step in steps},
        entered={status: asked.address(toStatus=status) for status in {r.to_status for r in rows}},
        stays=_stays(stays),
        map=draw(rows),
        box=(WIDTH, HEIGHT),
        changes=sum(row.changes for row in rows if row.from_status is not None),
        opened=sum(row.changes for row in rows if row.from_status is None),
        position=at.position,
    )


def _step(row: Transition, asked: Asked) -> Step:
    href = asked.address(fromStatus=row.from_status, toStatus=row.to_status)
    return Step(row, _length(row.median), href)


def _stays(rows: Any) -> list[Stay]:
    longest = max((row.median or 0 for row in rows), default=0) or 1
    return [
        Stay(
            row,
            _length(row.median),
            _length(row.longest),
            max(0.0, round((row.median or 0) / longest * 100, 2)),
        )
        for row in sorted(rows, key=lambda row: -row.visits)
    ]


def _length(milliseconds: float | None) -> timedelta | None:
    return None if milliseconds is None else timedelta(milliseconds=milliseconds)
