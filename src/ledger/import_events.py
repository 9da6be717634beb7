"""The events of imported rows, and what is stored with them, as the bytes that COPY takes.

The states are those that the aggregate and its mapper give, byte for byte (a test holds them
against each other), at a fraction of the cost: from one to the next only a few values differ.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain, repeat
from struct import Struct

import orjson
from eventsourcing.utils import get_topic

from ledger.booking import Booking

_BEGIN, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
# Each row begins with the number of its values, each value with its length.
_ROW_OF_5, _ROW_OF_2 = b"\0\5", b"\0\2"
_length = Struct(">i").pack
_behind_length = Struct(">iq").pack


def text_value(text: str) -> bytes:
    """A text as a value of any of the rows below."""
    return _value(text.encode())


def _value(content: bytes) -> bytes:
    return _length(len(content)) + content


def _bigints(values: Iterable[int]) -> Iterable[bytes]:
    return map(_behind_length, repeat(8), values)


def _rows(values: Iterable[tuple[bytes, ...]]) -> bytes:
    """Nothing where there are none."""
    rows = b"".join(chain((_BEGIN,), chain.from_iterable(values), (_END,)))
    return rows if len(rows) > len(_BEGIN) + len(_END) else b""


def key_rows(keys: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The rows of the table booking_key. A booking is a `text_value`."""
    return _rows((_ROW_OF_2, booking_id, _value(wrapped)) for booking_id, wrapped in keys)


def fingerprint_rows(booking_ids: Sequence[bytes], fingerprints: Sequence[int]) -> bytes:
    """The rows of the table imported_row. A booking is a `text_value`."""
    begins = repeat(_ROW_OF_2, len(booking_ids))
    return _rows(zip(begins, booking_ids, _bigints(fingerprints), strict=True))


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


@lru_cache(1_000)
def _version_and_topic(version: int) -> bytes:
    """Two values. The first event of a booking opens it."""
    return _behind_length(8, version) + (_CREATED if version == 1 else _CHANGED).value


class ImportedEvents:
    """Events at the positions after `head`, in the order in which they are appended."""

    def __init__(self, source: str, recorded_at: datetime, head: int) -> None:
        self._head = head
        self._booking_ids: list[bytes] = []
        self._versions: list[int] = []
        self._states: list[bytes] = []
        self._recorded = f'{{"timestamp":{_json(recorded_at)},"from_status":'
        self._origin = f'","actor":"import","source":{_json(source)},"claimed_from_status":'
        self._begins: dict[tuple[str | None, str], str] = {}
        self._ends: dict[tuple[bool, str | None], str] = {}

    @property
    def position(self) -> int:
        """Of the last one."""
        return self._head + len(self._states)

    @property
    def first(self) -> tuple[str, int, str, bytes] | None:
        """Booking, version, topic and state of the first one."""
        if not self._states:
            return None
        version = self._versions[0]
        topic = (_CREATED if version == 1 else _CHANGED).topic
        return self._booking_ids[0][4:].decode(), version, topic, self._states[0]

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
        """`booking_id` is a `text_value`; `claimed_from` is given only where it is in dispute.
        `occurred_at` and `sealed` go into the JSON as they are: a time of digits, base64."""
        opens = version == 1
        begin = self._begins.get((from_status, to_status)) or self._begin(from_status, to_status)
        end = self._ends.get((opens, claimed_from)) or self._end(opens, claimed_from)
        told = "null}" if sealed is None else f'"{sealed}"}}'
        self._booking_ids.append(booking_id)
        self._versions.append(version)
        self._states.append(f"{begin}{occurred_at}{end}{told}".encode())

    def rows(self) -> bytes:
        """The rows of the events table: booking, version, topic, state, position."""
        return _rows(
            zip(
                repeat(_ROW_OF_5, len(self._states)),
                self._booking_ids,
                map(_version_and_topic, self._versions),
                map(_length, map(len, self._states)),
                self._states,
                _bigints(range(self._head + 1, self.position + 1)),
                strict=True,
            )
        )

    def _begin(self, from_status: str | None, to_status: str) -> str:
        """Up to the time at which it occurred."""
        statuses = f'{_json(from_status)},"to_status":{_json(to_status)}'
        begin = f'{self._recorded}{statuses},"occurred_at":"'
        self._begins[from_status, to_status] = begin
        return begin

    def _end(self, opens: bool, claimed_from: str | None) -> str:
        """From behind that time to what is sealed."""
        own_field = (_CREATED if opens else _CHANGED).own_field
        end = f'{self._origin}{_json(claimed_from)}{own_field},"sealed":'
        self._ends[opens, claimed_from] = end
        return end
