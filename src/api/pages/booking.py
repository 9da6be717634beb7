"""One booking: what happened to it, as it is and as it was."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Query
from starlette.responses import Response

from api.answers import booking_of, event_document
from api.gate import ReaderRole
from api.keys import Principal
from api.pages.navigation import BOOKINGS
from api.pages.rendering import page
from api.requests import BookingPath, TheDoor, TheWorkflow
from api.store import Store, TheStore
from ledger.errors import BookingNotFound
from ledger.workflow import Workflow
from projections.feed import head, read_decisions
from projections.log import checkpoint_table
from projections.opening import History
from projections.rows import HistoryRow, PositionedDecision, history_row

router = APIRouter(include_in_schema=False)

SAME_TIME = timedelta(seconds=1)
ENTRIES_SHOWN = 100
"""Of a longer history a page shows those that led to the version which it is about."""

AtVersion = Annotated[
    int | None, Query(alias="version", ge=1, le=2**31 - 1, description="As it was at this version")
]


@dataclass(frozen=True)
class Entry:
    """A row of the history, and what can be said about it beside the others."""

    row: HistoryRow
    stayed: timedelta | None
    """How long the status lasted; None where it still does."""
    metadata: list[tuple[str, str, bool]]
    """Names and values, and whether the value needs lines of its own."""
    raw: str

    @property
    def recorded_apart(self) -> bool:
        """Whether it was recorded at another time than it occurred."""
        return abs(self.row.recordedAt - self.row.createdAt) >= SAME_TIME


@dataclass(frozen=True)
class Ledger:
    """Where the ledger and its log are; without a log, `signed` is None."""

    head: int
    signed: int | None
    decisions: list[PositionedDecision]
    """About the personal data of the booking."""


@router.get("/bookings/{booking_id}")
async def booking(
    booking_id: BookingPath,
    key: ReaderRole,
    door: TheDoor,
    store: TheStore,
    workflow: TheWorkflow,
    version: AtVersion = None,
) -> Response:
    """A booking and what happened to it, up to a version where one is given."""
    # Before the history: what comes in between is then told by the live feed again, not missed.
    ledger = await run_sync(_look, store, booking_id)
    history = await door.history(booking_id)
    if (version or 1) > len(history):
        raise BookingNotFound(booking_id=booking_id)
    # As many entries would hold up the event loop for some 20 ms.
    return await run_sync(_page, history, version or len(history), key, ledger, workflow)


def _look(store: Store, booking_id: str) -> Ledger:
    with store.connection() as connection:
        newest = checkpoint_table.newest(connection)
        position = head(connection)
        decisions = read_decisions(connection, store.mapper, booking_id)
        return Ledger(position, None if newest is None else newest.size, decisions)


def _page(
    history: History, version: int, key: Principal, ledger: Ledger, workflow: Workflow
) -> Response:
    latest = len(history)
    before = max(0, version - ENTRIES_SHOWN)
    return page(
        "booking",
        section=BOOKINGS,
        key=key,
        booking=booking_of(history[:version]),
        entries=_entries(history, before, version),
        before=before,
        after=latest - version if latest > ENTRIES_SHOWN else 0,
        later=min(latest, version + ENTRIES_SHOWN),
        latest=latest,
        ledger=ledger,
        now=datetime.now(UTC).replace(tzinfo=None),
        workflow=workflow,
    )


def _entries(history: History, before: int, version: int) -> list[Entry]:
    """Of the versions after `before` up to `version`."""
    shown = history[before:version]
    rows = [history_row(one) for one in history[before : version + 1]]
    ends = [*(row.createdAt for row in rows[1:]), None]
    return [
        Entry(
            row=row,
            stayed=None if end is None else end - row.createdAt,
            metadata=_readable(row.metadata),
            raw=orjson.dumps(
                orjson.loads(orjson.dumps(event_document(one))), option=orjson.OPT_INDENT_2
            ).decode(),
        )
        for one, row, end in zip(shown, rows, ends, strict=False)
    ]


def _readable(metadata: str | None) -> list[tuple[str, str, bool]]:
    found: dict[str, Any] = {} if metadata is None else orjson.loads(metadata)
    return [(name, *_value(value)) for name, value in found.items()]


def _value(value: object) -> tuple[str, bool]:
    if isinstance(value, str):
        return value, "\n" in value
    nested = isinstance(value, dict | list)
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode(), nested
