"""Read a stored event as an auditor does: nothing is taken on trust."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from eventsourcing.persistence import MapperDeserialisationError

from ledger.booking import Booking, BookingEvent
from ledger.errors import LedgerError
from ledger.master_key import MasterKeyError
from ledger.personal_data import EVENTS, DecisionEvent, booking_of_stream
from ledger.sealing import SealBroken
from ledger.transcoder import EventMapper, StoredRow, UnwrappedKeys

TEXT: tuple[type, ...] = (str,)
TEXT_OR_NULL: tuple[type, ...] = (str, type(None))
FIELDS: Mapping[str, tuple[type, ...]] = {
    "timestamp": (datetime,),
    "from_status": TEXT_OR_NULL,
    "to_status": TEXT,
    "changed_by": TEXT_OR_NULL,  # these three are sealed in the stored event
    "reason": TEXT_OR_NULL,
    "metadata": (dict, type(None)),
    "occurred_at": (datetime,),
    "actor": TEXT,
    "source": TEXT,
    "claimed_from_status": TEXT_OR_NULL,
    "originator_id": TEXT,
    "originator_version": (int,),
}
DECISION_FIELDS: Mapping[str, tuple[type, ...]] = {
    "timestamp": (datetime,),
    "reason": TEXT,
    "decided_by": TEXT_OR_NULL,
    "actor": TEXT,
    "source": TEXT,
    "originator_id": TEXT,
    "originator_version": (int,),
}
FIELDS_BY_TOPIC = {
    Booking.Created.TOPIC: {**FIELDS, "originator_topic": TEXT},
    Booking.StatusChanged.TOPIC: FIELDS,
    **{kind.TOPIC: DECISION_FIELDS for kind in EVENTS.values()},
}


_right_shapes: set[tuple[object, ...]] = set()
"""Topics with the names and types of their fields; as few as there are kinds of null."""


class UnreadableEvent(LedgerError):
    """The stored event is none that the ledger writes"""


def read_event(
    mapper: EventMapper, row: StoredRow, keys: UnwrappedKeys
) -> tuple[BookingEvent | DecisionEvent, bool]:
    """The event of a row as `EventMapper.read_row` takes it, and whether its personal parts are
    erased.

    Raises UnreadableEvent, saying what is wrong with topic, bytes or key.
    """
    stream, topic = row[0], row[2]
    fields = FIELDS_BY_TOPIC.get(topic)
    if fields is None:
        # Not looked up: the engine would import whatever module a forged topic names.
        raise UnreadableEvent(f"the topic {topic!r} is none of an event")
    try:
        event, erased = mapper.read_row(row, keys)
    except (SealBroken, MasterKeyError) as error:
        raise UnreadableEvent(str(error)) from error
    except (MapperDeserialisationError, TypeError, AttributeError, KeyError) as error:
        raise UnreadableEvent(f"the bytes are not those of an event: {error}") from error
    state = vars(event)
    # Most events look alike: what was found right once is not gone through again.
    shape = (topic, *state, *map(type, state.values()))
    if shape not in _right_shapes:
        _require(state, fields)
        _right_shapes.add(shape)
    _require_offsets(state)
    if isinstance(event, DecisionEvent) != (stream != booking_of_stream(stream)):
        raise UnreadableEvent(f"the topic {topic!r} does not belong into this stream")
    assert isinstance(event, BookingEvent | DecisionEvent)
    return event, erased


def _require(state: dict[str, Any], fields: Mapping[str, tuple[type, ...]]) -> None:
    if state.keys() != fields.keys():
        wrong = sorted(state.keys() ^ fields.keys())
        raise UnreadableEvent(f"the event lacks or should not have: {', '.join(wrong)}")
    for name, types in fields.items():
        if not isinstance(state[name], types):
            raise UnreadableEvent(f"{name} is of type {type(state[name]).__name__}")


def _require_offsets(state: dict[str, Any]) -> None:
    for name in ("timestamp", "occurred_at"):
        if name in state and state[name].tzinfo is None:
            raise UnreadableEvent(f"{name} has no offset")
