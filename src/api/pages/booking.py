"""One booking: what happened to it, as it is and as it was."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any, NamedTuple

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
from projections.rows import (
    BookingRow,
    HistoryRow,
    PositionedDecision,
    PositionedEvent,
    history_row,
)

router = APIRouter(include_in_schema=False)

SAME_TIME = timedelta(seconds=1)
ENTRIES_SHOWN = 100
"""Of a longer history a page shows those that led to the version which it is about."""
METADATA_BYTES_SHOWN = 500_000
"""And fewer, one at least, where these have more."""

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


class Part(NamedTuple):
    """The end of a history up to a version."""

    booking: BookingRow
    """As it was at that version."""
    entries: History
    following: PositionedEvent | None
    """The entry after it: when the last of these ended."""
    earlier: int
    """How many entries were before these."""
    later_version: int
    """Up to which the part after this one goes."""
    latest: int


@dataclass(frozen=True)
class PartOf:
    """Makes a part; up to the newest version where none is given. None: there is no such version.

    It does not raise: an error would keep what it was called with.
    """

    version: int | None

    def __call__(self, history: History) -> Part | None:
        version, latest = self.version or len(history), len(history)
        if version > latest:
            return None
        shown, following = history[:version], history[version : version + ENTRIES_SHOWN]
        earlier = version - _fitting(reversed(shown))
        return Part(
            booking_of(shown),
            shown[earlier:],
            following[0] if following else None,
            earlier,
            version + _fitting(following),
            latest,
        )


def _fitting(events: Iterable[PositionedEvent]) -> int:
    """How many of these, from the first on, fit on a page."""
    count = size = 0
    for one in islice(events, ENTRIES_SHOWN):
        size += len(orjson.dumps(one.event.metadata))
        if count and size > METADATA_BYTES_SHOWN:
            break
        count += 1
    return count


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
    part = await door.made(booking_id, PartOf(version))
    if part is None:
        raise BookingNotFound(booking_id=booking_id)
    # A hundred entries take some 20 ms: not on the event loop.
    return await run_sync(_page, part, key, ledger, workflow)


def _look(store: Store, booking_id: str) -> Ledger:
    with store.connection() as connection:
        newest = checkpoint_table.newest(connection)
        position = head(connection)
        decisions = read_decisions(connection, store.mapper, booking_id)
        return Ledger(position, None if newest is None else newest.size, decisions)


def _page(part: Part, key: Principal, ledger: Ledger, workflow: Workflow) -> Response:
    return page(
        "booking",
        section=BOOKINGS,
        key=key,
        booking=part.booking,
        entries=_entries(part),
        earlier=part.earlier,
        later=part.latest - part.booking.version,
        later_version=part.later_version,
        latest=part.latest,
        ledger=ledger,
        now=datetime.now(UTC).replace(tzinfo=None),
        workflow=workflow,
    )


def _entries(part: Part) -> list[Entry]:
    rows = [history_row(one) for one in part.entries]
    following = None if part.following is None else history_row(part.following)
    return [
        Entry(
            row=row,
            stayed=None if after is None else after.createdAt - row.createdAt,
            metadata=_readable(row.metadata),
            raw=orjson.dumps(
                orjson.loads(orjson.dumps(event_document(one))), option=orjson.OPT_INDENT_2
            ).decode(),
        )
        for one, row, after in zip(part.entries, rows, [*rows[1:], following], strict=True)
    ]


def _readable(metadata: str | None) -> list[tuple[str, str, bool]]:
    found: dict[str, Any] = {} if metadata is None else orjson.loads(metadata)
    return [(name, *_value(value)) for name, value in found.items()]


def _value(value: object) -> tuple[str, bool]:
    if isinstance(value, str):
        return value, "\n" in value
    nested = isinstance(value, dict | list)
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode(), nested
