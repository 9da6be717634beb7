"""The map of statuses and transitions, and how long bookings stay in each status."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, BeforeValidator, StringConstraints
from starlette.responses import Response

from api.gate import ReaderRole
from api.models import ChangedBy
from api.pages.bookings import Asked, is_time
from api.pages.flow_map import HEIGHT, WIDTH, draw
from api.pages.navigation import FLOW
from api.pages.rendering import page
from projections.analytics.time_in_status import TimeInStatus
from projections.analytics.transitions import Transition
from projections.analytics.volume import Bucket, Unit, following
from projections.queries import Filter

router = APIRouter(include_in_schema=False)

BAR_HEIGHT = 100
PERIODS = {"7 days": 7, "30 days": 30, "90 days": 90, "A year": 365, "All time": None}

# What the form sends for a field that is empty.
Day = Annotated[
    Annotated[str, StringConstraints(max_length=40), AfterValidator(is_time)] | None,
    BeforeValidator(lambda text: text or None),
    Query(),
]

Who = Annotated[
    ChangedBy | None, BeforeValidator(lambda text: (text or "").strip() or None), Query()
]


@dataclass(frozen=True)
class Step:
    """A transition as it is shown, and where the bookings are that it is about."""

    row: Transition
    median: timedelta | None
    href: str


@dataclass(frozen=True)
class Bar:
    """A day, week or month of the volume, how high it is drawn, and its bookings."""

    bucket: Bucket
    height: float
    href: str


@dataclass(frozen=True)
class Stay:
    """A status as it is shown. `share` is its median in percent of the longest median."""

    row: TimeInStatus
    median: timedelta | None
    longest: timedelta | None
    share: float


@router.get("/flow")
def flow(
    request: Request, key: ReaderRole, who: Who = None, since: Day = None, until: Day = None
) -> Response:
    """Changes that occurred in the period, by transition; stays that began in it, by status."""
    asked = Asked(None, None, who, None, None, since, until)
    search = asked.search()
    shown = request.app.state.flow_figures.of(
        Filter(changed_by=who, since=search.since, until=search.until)
    )
    figures = shown.figures
    rows, at = figures.rows, figures.at
    steps = [_step(row, asked) for row in rows]
    return page(
        "flow",
        section=FLOW,
        key=key,
        asked=asked,
        steps=sorted(steps, key=lambda step: -step.row.changes),
        hrefs={(step.row.from_status, step.row.to_status): step for step in steps},
        entered={status: asked.address(toStatus=status) for status in {r.to_status for r in rows}},
        stays=_stays(figures.stays),
        unit=figures.unit,
        bars=_bars(figures.volume, figures.unit, asked),
        periods=_periods(asked),
        map=draw(rows),
        box=(WIDTH, HEIGHT),
        changes=sum(row.changes for row in rows if row.from_status is not None),
        opened=sum(row.changes for row in rows if row.from_status is None),
        position=at.position,
        renewing=shown.renewing,
    )


def _bars(buckets: Sequence[Bucket], unit: Unit, asked: Asked) -> list[Bar]:
    most = max((one.changes for one in buckets), default=0) or 1
    bars = []
    for one in buckets:
        last = following(one.start.date(), unit) - timedelta(days=1)
        href = asked.address(since=f"{one.start:%Y-%m-%d}", until=f"{last:%Y-%m-%d}", change="any")
        bars.append(Bar(one, round(one.changes / most * BAR_HEIGHT, 2), href))
    return bars


def _periods(asked: Asked) -> list[tuple[str, str, bool]]:
    """Links to periods that end now: name, address, and whether it is the one shown."""
    today = datetime.now(UTC).date()
    found = []
    for name, days in PERIODS.items():
        since = None if days is None else f"{today - timedelta(days=days):%Y-%m-%d}"
        query = {"who": asked.who, "since": since}
        given = {key: value for key, value in query.items() if value}
        address = f"/flow?{urlencode(given)}" if given else "/flow"
        found.append((name, address, (asked.since, asked.until) == (since, None)))
    return found


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
