"""Is it alive, is it ready, how is it doing: the only answers without a key."""

import time
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from api.answers import JsonResponse
from api.metrics import Metrics
from api.routes.contract import Alive, Readiness, Unavailable
from api.store import TheStore
from api.tail import Tail
from ledger.errors import StoreUnavailable
from projections import tables
from projections.log import tile_table
from projections.queries import Lag, read_lag

router = APIRouter(tags=["health"])

LAG_SECONDS_MAX = 10.0
"""A projection further behind than this is called degraded."""


def is_degraded(lag: Lag) -> bool:
    return lag.failure is not None or lag.seconds > LAG_SECONDS_MAX


@router.get("/healthz", response_model=Alive)
async def alive() -> Response:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Unavailable}})
def ready(store: TheStore) -> Response:
    """200 when writes can be recorded: `ready`, or `degraded` while the read model or the log is
    behind or has failed, which never stops a write. 503 when the database cannot be reached."""
    started = time.monotonic()
    try:
        with store.connection() as connection:
            lags = {name: read_lag(connection, name) for name in (tables.NAME, tile_table.NAME)}
    except StoreUnavailable as error:
        return JsonResponse({"status": "unavailable", "detail": str(error)}, 503)
    degraded = any(is_degraded(lag) for lag in lags.values())
    return JsonResponse(
        {
            "status": "degraded" if degraded else "ready",
            "head": lags[tables.NAME].head,
            "projections": {name: _projection(lag) for name, lag in lags.items()},
            "databaseSeconds": round(time.monotonic() - started, 6),
        }
    )


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request, store: TheStore) -> Response:
    """Figures for Prometheus."""
    found: Metrics = request.app.state.metrics
    tail: Tail = request.app.state.tail
    lags: tuple[Lag, ...] = ()
    with suppress(StoreUnavailable), store.connection() as connection:
        lags = read_lag(connection), read_lag(connection, tile_table.NAME)
    return Response(found.render(tail.listeners, *lags), media_type=CONTENT_TYPE_LATEST)


def _projection(lag: Lag) -> dict[str, Any]:
    failure = None
    if lag.failure is not None:
        at = None if lag.failed_at is None else lag.failed_at.isoformat()
        failure = {"at": at, "message": lag.failure}
    return {
        "position": lag.position,
        "lag": {"events": lag.events, "seconds": round(lag.seconds, 3)},
        "failure": failure,
    }
