"""How the ledger is doing: positions, lag, failures, rates."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.gate import ReaderRole
from api.pages.navigation import HEALTH
from api.pages.rendering import page
from api.routes.health import is_degraded
from api.store import Store
from projections import tables
from projections.feed import head, position_at, recorded_at
from projections.log import checkpoint_table, tile_table
from projections.queries import Lag, read_lag

router = APIRouter(include_in_schema=False)

PERIODS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
PROJECTIONS = {"Read model": tables.NAME, "Log": tile_table.NAME}


@dataclass(frozen=True)
class Seen:
    """All that is asked of the database for the page."""

    head: int
    newest_at: datetime | None
    lags: dict[str, Lag]
    signed: int | None
    signed_at: datetime | None
    recorded: dict[str, int]
    """Events of the last minute, hour, …"""


@router.get("/health")
async def health(request: Request, key: ReaderRole) -> Response:
    """What `/readyz` and `/metrics` say to programs, for people."""
    seen = await run_sync(_look, request.app.state.store)
    return page(
        "health",
        section=HEALTH,
        key=key,
        seen=seen,
        degraded=[name for name, lag in seen.lags.items() if is_degraded(lag)],
        queued=request.app.state.metrics.queued_commands,
        now=datetime.now(UTC),
    )


def _look(store: Store) -> Seen:
    now = datetime.now(UTC)
    with store.connection() as connection:
        newest = head(connection)
        checkpoint = checkpoint_table.newest(connection)
        return Seen(
            head=newest,
            newest_at=recorded_at(connection, newest),
            lags={shown: read_lag(connection, name) for shown, name in PROJECTIONS.items()},
            signed=None if checkpoint is None else checkpoint.size,
            signed_at=None if checkpoint is None else checkpoint.created_at,
            recorded={
                name: newest - position_at(connection, now - period)
                for name, period in PERIODS.items()
            },
        )
