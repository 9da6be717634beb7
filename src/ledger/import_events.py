"""The events of imported rows, and what is stored with them, as the bytes that COPY takes.

The states are those that the aggregate and its mapper give, byte for byte (a test holds them
against each other), at a fraction of the cost: from one to the next only a few values differ.
"""

from collections.abc import Callable
from datetime import datetime
from struct import Struct

import orjson
from eventsourcing.utils import get_topic

from ledger.booking import Booking

_BEGIN, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
# Each row begins with the number of its values, each value with its length.
_ROW_OF_5, _ROW_OF_2 = b"\0\5", b"\0\2"
_LENGTH = Struct(">i").pack
_BIGINT = Struct(">iq").pack


def text_value(text: str) -> bytes:
    """A text as a value of any of the rows below."""
    encoded = text.encode()
    return _LENGTH(len(encoded)) + encoded


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()


class _Kind:
    """What is the same in all events of a topic."""

    def __init__(self, event: type[Booking.Event]) -> None:
        self.topic = get_topic(event)
        self.value = text_value(self.topic)
        opens = event is Booking.Created
        self.own_field = f',"originator_topic":{_json(Booking.TOPIC)}' if opens else ""


_CREATED, _CHANGED = _Kind(Booking.Created), _Kind(Booking.StatusChanged)


PIECES_MAX = 2_048
"""Sent together: some 300 events. PostgreSQL works on them while the next are decided on."""


class ImportedEvents:
    """Events at the positions after `head`, in the order in which they are appended."""

    def __init__(
        self, source: str, recorded_at: datetime, head: int, send: Callable[[bytes], None]
    ) -> None:
        """`send` takes the rows of the events table, in parts: booking, version, topic, state,
        position."""
        self.position = head
        self.first: tuple[str, int, str, bytes] | None = None
        """Booking, version, topic and state of the first one."""
        self._send = send
        self._pieces = [_BEGIN]
        self._recorded = f'{{"timestamp":{_json(recorded_at)},"from_status":'
        self._origin = f'","actor":"import","source":{_json(source)},"claimed_from_status":'
        self._begins: dict[tuple[str | None, str], str] = {}
        self._ends: dict[tuple[_Kind, str | None], str] = {}

    def append(
        self,
        booking_id: bytes,
        version: int,
        from_status: str | None,
        to_status: str,
        occurred_at: str,
        claimed_from: str | None,
        sealed: str | None,
    ) -> None:
        """The first event of a booking opens it. `booking_id` is a `text_value`; `claimed_from`
        is given only where it is in dispute. `occurred_at` and `sealed` go into the JSON as they
        are: a time of digits, base64."""
        kind = _CREATED if version == 1 else _CHANGED
        begin = self._begins.get((from_status, to_status)) or self._begin(from_status, to_status)
        end = self._ends.get((kind, claimed_from)) or self._end(kind, claimed_from)
        told = "null}" if sealed is None else f'"{sealed}"}}'
        state = f"{begin}{occurred_at}{end}{told}".encode()
        self.position += 1
        self._pieces += (
            _ROW_OF_5,
            booking_id,
            _BIGINT(8, version),
            kind.value,
            _LENGTH(len(state)),
            state,
            _BIGINT(8, self.position),
        )
        if self.first is None:
            self.first = (booking_id[4:].decode(), version, kind.topic, state)
        if len(self._pieces) > PIECES_MAX:
            self._send(b"".join(self._pieces))
            self._pieces.clear()

    def end(self) -> None:
        self._send(b"".join((*self._pieces, _END)))

    def _begin(self, from_status: str | None, to_status: str) -> str:
        """Up to the time at which it occurred."""
        statuses = f'{_json(from_status)},"to_status":{_json(to_status)}'
        begin = f'{self._recorded}{statuses},"occurred_at":"'
        self._begins[from_status, to_status] = begin
        return begin

    def _end(self, kind: _Kind, claimed_from: str | None) -> str:
        """From behind that time to what is sealed."""
        end = f'{self._origin}{_json(claimed_from)}{kind.own_field},"sealed":'
        self._ends[kind, claimed_from] = end
        return end


class _Rows:
    """Rows of two values."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def rows(self) -> bytes:
        return b"".join((_BEGIN, *self._pieces, _END))


class NewKeys(_Rows):
    """Of the table booking_key."""

    def append(self, booking_id: bytes, wrapped: bytes) -> None:
        self._pieces += (_ROW_OF_2, booking_id, _LENGTH(len(wrapped)), wrapped)


class NewFingerprints(_Rows):
    """Of the table imported_row."""

    def append(self, booking_id: bytes, fingerprint: int) -> None:
        self._pieces += (_ROW_OF_2, booking_id, _BIGINT(8, fingerprint))
