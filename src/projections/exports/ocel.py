"""OCEL 2.0 in JSON: bookings and actors as objects, changes as events of both."""

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

import orjson

from projections.exports.source import PAGE_ROWS, Export
from projections.exports.text import time_text
from projections.rows import HistoryRow

# Kinds apart: a booking and an actor may have the same name.
BOOKING, ACTOR = "booking", "actor"

EVENT_ATTRIBUTES = [
    {"name": "fromStatus", "type": "string"},
    {"name": "reason", "type": "string"},
    {"name": "metadata", "type": "string"},
    {"name": "version", "type": "integer"},
    {"name": "position", "type": "integer"},
    {"name": "recordedAt", "type": "time"},
]


def ocel_chunks(export: Export) -> Iterator[bytes]:
    """One document, its arrays written piece by piece. An event's type is the status that the
    booking came to have; its id is that of the history row."""
    object_types = [{"name": name, "attributes": []} for name in (BOOKING, ACTOR)]
    event_types = [{"name": name, "attributes": EVENT_ATTRIBUTES} for name in export.statuses()]
    yield b'{"objectTypes":' + orjson.dumps(object_types)
    yield b',"eventTypes":' + orjson.dumps(event_types)
    yield b',"events":['
    yield from _items(_event(row) for row in export.rows())
    yield b'],"objects":['
    yield from _items(_objects(export))
    yield b"]}\n"


def _objects(export: Export) -> Iterator[dict[str, Any]]:
    for booking_id, _ in groupby(export.rows(), attrgetter("bookingId")):
        yield _object(BOOKING, booking_id)
    for actor in export.actors():
        yield _object(ACTOR, actor)


def _object(kind: str, name: str) -> dict[str, Any]:
    return {"id": f"{kind}:{name}", "type": kind, "attributes": [], "relationships": []}


def _event(row: HistoryRow) -> dict[str, Any]:
    attributes = {
        "fromStatus": row.fromStatus,
        "reason": row.reason,
        "metadata": row.metadata,
        "version": row.version,
        "position": row.position,
        "recordedAt": time_text(row.recordedAt),
    }
    relationships = [{"objectId": f"{BOOKING}:{row.bookingId}", "qualifier": BOOKING}]
    if row.changedBy is not None:
        relationships.append({"objectId": f"{ACTOR}:{row.changedBy}", "qualifier": "changedBy"})
    return {
        "id": row.id,
        "type": row.toStatus,
        "time": time_text(row.createdAt),
        "attributes": [
            {"name": name, "value": value}
            for name, value in attributes.items()
            if value is not None
        ],
        "relationships": relationships,
    }


def _items(documents: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """The items of a JSON array, many at once, with commas between."""
    waiting = iter(documents)
    before = b"\n"
    while some := list(islice(waiting, PAGE_ROWS)):
        yield before + b",\n".join(map(orjson.dumps, some))
        before = b",\n"
