"""The keys that a writer needed last, so that they need not be looked up and unwrapped anew."""

from collections.abc import Iterable, Mapping
from typing import Any

import psycopg

from ledger.sealing import BookingKey

LOAD_KEYS = "SELECT booking_id, wrapped FROM booking_key WHERE booking_id = ANY(%b)"
KEYS_MAX = 20_000


class KnownKeys:
    """Good as long as nobody else has appended: whatever was appended may be an erasure.

    Used under the append lock, by one thread.
    """

    def __init__(self) -> None:
        self._keys: dict[str, BookingKey] = {}
        self._head: int | None = None
        """The newest position when these were the keys of their bookings."""

    def missing(self, booking_ids: Iterable[str]) -> list[str]:
        """Those that must be looked up."""
        return [one for one in booking_ids if one not in self._keys]

    def take(
        self, cursor: psycopg.Cursor[Any], head: int, booking_ids: Iterable[str]
    ) -> tuple[dict[str, BookingKey], dict[str, bytes]]:
        """The keys of those that were not missing: as they are, or, where somebody else has
        appended up to `head`, looked up and still wrapped."""
        known = [one for one in booking_ids if one in self._keys]
        if head == self._head:
            return {one: self._keys[one] for one in known}, {}
        self.clear()
        if not known:
            return {}, {}
        return {}, dict(cursor.execute(LOAD_KEYS, (known,)).fetchall())

    def keep(self, head: int, keys: Mapping[str, BookingKey], erased: Iterable[str]) -> None:
        """After a commit that made `head` the newest position."""
        for booking_id in erased:
            self._keys.pop(booking_id, None)
        self._keys.update(keys)
        self._head = head
        if len(self._keys) > KEYS_MAX:
            self.clear()

    def clear(self) -> None:
        self._keys.clear()
