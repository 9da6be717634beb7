"""Figures over many bookings: for a stated position, the same bytes for ever."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, Literal

import orjson
import psycopg
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from api.answers import matches, rfc3339
from api.gate import ReaderRole
from api.models import ChangedBy, Status
from api.remembered import Remembered
from api.routes.contract import problems
from api.routes.figures import FunnelAnswer, TimeInStatusAnswer, TransitionsAnswer
from api.routes.lists import (
    BookingParam,
    ChangedByParam,
    FromStatus,
    HistoryFilter,
    Since,
    StatusParam,
    ToStatus,
    Until,
)
from api.store import Store, TheStore
from projections.analytics.funnel import Funnel, funnel
from projections.analytics.question import Moment, is_about_somebody, moment, newest
from projections.analytics.time_in_status import TimeInStatus, time_in_status
from projections.analytics.transitions import GroupBy, Transition, transitions
from projections.queries import Filter

router = APIRouter(prefix="/api/analytics", tags=["analytics"])

POSITION_MAX = 2**63 - 1

AsOfPosition = Annotated[
    int | None,
    Query(
        alias="asOfPosition",
        ge=0,
        le=POSITION_MAX,
        description="Answer as it was right after this position; default: the newest",
    ),
]
IfNoneMatch = Annotated[str | None, Header(description="304 if the answer is this one still")]

_HEADERS = {
    "ETag": {"description": "Of the bytes of the answer", "schema": {"type": "string"}},
    "Ledger-Position": {
        "description": "Position that the answer is true for",
        "schema": {"type": "integer"},
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"headers": _HEADERS},
    304: {"description": "The answer in If-None-Match is right still", "headers": _HEADERS},
    **problems("invalid-request", "invalid-value", "projection-behind"),
}


@router.get("/transitions", response_model=TransitionsAnswer, responses=RESPONSES)
def transition_figures(
    request: Request,
    key: ReaderRole,
    store: TheStore,
    chosen: HistoryFilter,
    group_by: Annotated[
        Literal["day", "changedBy"] | None,
        Query(alias="groupBy", description="Figures for each day (UTC), or each who"),
    ] = None,
    as_of_position: AsOfPosition = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """How often bookings went from one status to another, and how long they had the first.

    The filters choose changes, as in the list of history.
    """
    del key

    def content(connection: psycopg.Connection, at: Moment) -> dict[str, Any]:
        rows = transitions(connection, at, chosen, group_by)
        return {"transitions": [_transition(row, group_by) for row in rows]}

    personal = is_about_somebody(chosen) or group_by == "changedBy"
    what = None if personal else ("transitions", chosen, group_by)
    return _answer(request, store, as_of_position, if_none_match, what, content)


@router.get("/time-in-status", response_model=TimeInStatusAnswer, responses=RESPONSES)
def time_figures(
    request: Request,
    key: ReaderRole,
    store: TheStore,
    booking_id: BookingParam = None,
    status: StatusParam = None,
    from_status: FromStatus = None,
    to_status: Annotated[
        Status | None, Query(alias="toStatus", description="Only stays that ended in this status")
    ] = None,
    changed_by: ChangedByParam = None,
    since: Since = None,
    until: Until = None,
    as_of_position: AsOfPosition = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """How long bookings stay in each status; a stay that is open lasts to `asOf`.

    The filters choose stays by how they began: when, out of which status, by whom.
    """
    del key
    chosen = Filter(booking_id, status, from_status, changed_by, since, until)

    def content(connection: psycopg.Connection, at: Moment) -> dict[str, Any]:
        rows = time_in_status(connection, at, chosen, to_status)
        return {"statuses": [_stay(row) for row in rows]}

    what = None if is_about_somebody(chosen) else ("time-in-status", chosen, to_status)
    return _answer(request, store, as_of_position, if_none_match, what, content)


@router.get("/funnel", response_model=FunnelAnswer, responses=RESPONSES)
def funnel_figures(
    request: Request,
    key: ReaderRole,
    store: TheStore,
    status: Annotated[
        Status | None, Query(description="Only bookings that ever had this status")
    ] = None,
    from_status: FromStatus = None,
    to_status: ToStatus = None,
    changed_by: Annotated[
        ChangedBy | None, Query(alias="changedBy", description="Who opened the booking")
    ] = None,
    since: Since = None,
    until: Until = None,
    as_of_position: AsOfPosition = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """How many bookings came from one status to another, at once or by others.

    `since`, `until` and `changedBy` choose bookings by their first entry; `fromStatus` and
    `toStatus` choose which conversions are shown.
    """
    del key
    opened = Filter(status=status, changed_by=changed_by, since=since, until=until)

    def content(connection: psycopg.Connection, at: Moment) -> dict[str, Any]:
        return _funnel(funnel(connection, at, opened), from_status, to_status)

    what = None if changed_by is not None else ("funnel", opened, from_status, to_status)
    return _answer(request, store, as_of_position, if_none_match, what, content)


def _answer(
    request: Request,
    store: Store,
    as_of_position: int | None,
    if_none_match: str | None,
    what: tuple[Any, ...] | None,
    content: Callable[[psycopg.Connection, Moment], dict[str, Any]],
) -> Response:
    """`what` names the question where its answer may be remembered: nothing personal is."""
    remembered: Remembered = request.app.state.remembered
    with store.connection() as connection, _moment(connection, as_of_position) as at:
        key = None if what is None else (at.position, *what)
        body = None if key is None else remembered.get(key)
        if body is None:
            body = orjson.dumps({**_as_of(at), **content(connection, at)})
            if key is not None:
                remembered.put(key, body)
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Ledger-Position": str(at.position),
    }
    if if_none_match is not None and matches(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _moment(
    connection: psycopg.Connection, as_of_position: int | None
) -> AbstractContextManager[Moment]:
    if as_of_position is None:
        return newest(connection)
    return nullcontext(moment(connection, as_of_position))


def _as_of(at: Moment) -> dict[str, Any]:
    recorded_at = None if at.recorded_at is None else rfc3339(at.recorded_at)
    return {"asOfPosition": at.position, "asOf": recorded_at}


def _transition(row: Transition, group_by: GroupBy | None) -> dict[str, Any]:
    group: dict[str, Any] = {} if group_by is None else {group_by: row.group}
    return {
        "from": row.from_status,
        "to": row.to_status,
        **group,
        "count": row.changes,
        "seconds": _durations(row, row.changes),
    }


def _stay(row: TimeInStatus) -> dict[str, Any]:
    return {
        "status": row.status,
        "visits": row.visits,
        "closed": row.closed,
        "seconds": _durations(row, row.closed),
        "open": row.visits - row.closed,
        "openSeconds": None if row.open_total is None else row.open_total / 1000,
    }


def _durations(row: Transition | TimeInStatus, count: int) -> dict[str, float] | None:
    if row.total is None or row.median is None or row.shortest is None or row.longest is None:
        return None
    return {
        "total": row.total / 1000,
        "mean": round(row.total / count) / 1000,
        "median": round(row.median) / 1000,
        "shortest": row.shortest / 1000,
        "longest": row.longest / 1000,
    }


def _funnel(found: Funnel, from_status: str | None, to_status: str | None) -> dict[str, Any]:
    return {
        "bookings": found.bookings,
        "reopened": found.reopened,
        "statuses": [row._asdict() for row in found.statuses],
        "conversions": [
            {
                "from": row.from_status,
                "to": row.to_status,
                "bookings": row.bookings,
                "converted": row.converted,
                "direct": row.direct,
                "conversion": round(row.converted / row.bookings, 4),
            }
            for row in found.conversions
            if from_status in (None, row.from_status) and to_status in (None, row.to_status)
        ],
    }
