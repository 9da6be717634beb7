"""Read a stored event as an auditor does: nothing is taken on trust."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from eventsourcing.persistence import MapperDeserialisationError, StoredEvent

from ledger.booking import Booking, BookingEvent
from ledger.errors import LedgerError
from ledger.transcoder import event_mapper

TEXT: tuple[type, ...] = (str,)
TEXT_OR_NULL: tuple[type, ...] = (str, type(None))
FIELDS: Mapping[str, tuple[type, ...]] = {
    "timestamp": (datetime,),
    "from_status": TEXT_OR_NULL,
    "to_status": TEXT,
    "changed_by": TEXT_OR_NULL,
    "reason": TEXT_OR_NULL,
    "metadata": (dict, type(None)),
    "occurred_at": (datetime,),
    "actor": TEXT,
    "source": TEXT,
    "claimed_from_status": TEXT_OR_NULL,
    "originator_id": TEXT,
    "originator_version": (int,),
}
FIELDS_BY_TOPIC = {
    Booking.Created.TOPIC: {**FIELDS, "originator_topic": TEXT},
    Booking.StatusChanged.TOPIC: FIELDS,
}

_mapper = event_mapper()


class UnreadableEvent(LedgerError):
    """The stored event is none that the ledger writes"""


def read_event(booking_id: str, version: int, topic: str, state: bytes) -> BookingEvent:
    """Raises UnreadableEvent, saying what is wrong with topic or bytes."""
    fields = FIELDS_BY_TOPIC.get(topic)
    if fields is None:
        # Not looked up: the engine would import whatever module a forged topic names.
        raise UnreadableEvent(f"the topic {topic!r} is none of an event")
    try:
        event = _mapper.to_domain_event(StoredEvent(booking_id, version, topic, state))
    except (MapperDeserialisationError, TypeError, AttributeError) as error:
        raise UnreadableEvent(f"the bytes are not those of an event: {error}") from error
    _require(vars(event), fields)
    assert isinstance(event, BookingEvent)
    return event


def _require(state: dict[str, Any], fields: Mapping[str, tuple[type, ...]]) -> None:
    if state.keys() != fields.keys():
        wrong = sorted(state.keys() ^ fields.keys())
        raise UnreadableEvent(f"the event lacks or should not have: {', '.join(wrong)}")
    for name, types in fields.items():
        if not isinstance(state[name], types):
            raise UnreadableEvent(f"{name} is of type {type(state[name]).__name__}")
    for name in ("timestamp", "occurred_at"):
        if state[name].tzinfo is None:
            raise UnreadableEvent(f"{name} has no offset")
