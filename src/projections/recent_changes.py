"""Which bookings were appended to lately."""

from itertools import count
from typing import NamedTuple

import psycopg

from ledger.personal_data import booking_of_stream
from ledger.prepared import Prepared, Statement, as_integer, as_text, integer
from ledger.steps import Steps
from projections.feed import HEAD

CHANGES_MAX = 20_000
"""Twice as many are remembered at most."""
CHANGED = """
    SELECT notification_id, originator_id FROM ledger_events
    WHERE notification_id > $1 ORDER BY notification_id LIMIT $2
"""


class Mark(NamedTuple):
    """Up to which position of the ledger somebody has seen all, and by which connection: after
    a failover the same position may be another event."""

    connection: int
    position: int


_connections = count()


class RecentChanges:
    """The bookings that something was appended to after some position, up to `head`.

    Learned through one connection.
    """

    def __init__(self) -> None:
        self.head = 0
        self._connection = next(_connections)
        self._changed = Prepared(CHANGED)
        self._head = Prepared(HEAD)
        self._begin: int | None = None
        """What came after this position is known; None where nothing is."""
        self._middle = 0
        self._older: dict[str, int] = {}
        self._newer: dict[str, int] = {}

    def prepare(self, connection: psycopg.Connection) -> None:
        """For the connection that `catch_up` is for."""
        self._changed.prepare(connection.pgconn)
        self._head.prepare(connection.pgconn)

    def catch_up(self) -> Steps[None]:
        """Learn what was appended up to now."""
        if self._begin is None:
            yield from self._begin_anew()
            return
        limits = (integer(self.head), integer(CHANGES_MAX))
        rows = yield Statement(self._changed, limits)
        if rows.ntuples == CHANGES_MAX:
            yield from self._begin_anew()
            return
        for row in range(rows.ntuples):
            self.head = as_integer(rows.get_value(row, 0))
            self._newer[booking_of_stream(as_text(rows.get_value(row, 1)))] = self.head
        if len(self._newer) > CHANGES_MAX:
            self._begin, self._middle = self._middle, self.head
            self._older, self._newer = self._newer, {}

    @property
    def mark(self) -> Mark:
        """Of what is read from here on."""
        return Mark(self._connection, self.head)

    def since(self, booking_id: str, seen: Mark | None) -> bool:
        """Whether the booking was, or may have been, appended to after a mark (None: never
        looked at)."""
        if seen is None or seen.connection != self._connection:
            return True
        if self._begin is None or seen.position < self._begin:
            return True
        last = self._newer.get(booking_id) or self._older.get(booking_id) or 0
        return last > seen.position

    def _begin_anew(self) -> Steps[None]:
        """Forget: so much has come that it would cost more than it saves."""
        rows = yield Statement(self._head, ())
        self.head = self._begin = self._middle = as_integer(rows.get_value(0, 0))
        self._older, self._newer = {}, {}
