"""One transaction of an import: lock, load, decide, store. Rows in bulk, each once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from os import urandom
from typing import Any, LiteralString

import orjson
import psycopg
from psycopg.sql import SQL

from ledger.appending import COPY, COPY_KEYS
from ledger.database import Database
from ledger.event_store import lock_statement
from ledger.import_events import ImportedEvents, NewFingerprints, NewKeys, text_value
from ledger.imported_rows import ImportedRows
from ledger.master_key import NONCE_BYTES
from ledger.sealing import BookingKey
from ledger.transaction import AT_POSITION, HEAD
from ledger.transcoder import event_mapper
from ledger.workflow import Workflow

LOAD = """
    SELECT asked.id, newest.originator_version, newest.state, key.wrapped
    FROM unnest(%b::text[]) AS asked (id)
    CROSS JOIN LATERAL (
        SELECT originator_version, state FROM ledger_events
        WHERE originator_id = asked.id ORDER BY originator_version DESC LIMIT 1
    ) AS newest
    LEFT JOIN booking_key AS key ON key.booking_id = asked.id
"""
LOAD_TAKEN = """
    SELECT booking_id, fingerprint
    FROM unnest(%b::text[], %b::bigint[]) AS asked (booking_id, fingerprint)
    JOIN imported_row USING (booking_id, fingerprint)
"""
COPY_FINGERPRINTS = "COPY imported_row (booking_id, fingerprint) FROM STDIN (FORMAT BINARY)"
NOTIFY = "SELECT pg_notify(%s, '')"
KNOWN_BOOKINGS_MAX = 50_000


@dataclass(slots=True)
class Taken:
    """What became of rows. `position` is the newest of the ledger then."""

    opened: int = 0
    changed: int = 0
    unchanged: int = 0
    known: int = 0
    disputed: int = 0
    position: int = 0


@dataclass(slots=True)
class KnownBooking:
    """A booking as an import needs it: its newest event is enough to decide."""

    id_value: bytes
    version: int = 0
    status: str | None = None
    wrapped: bytes | None = None
    key: BookingKey | None = None


class Stored:
    """What a transaction is about to commit."""

    def __init__(self, events: ImportedEvents) -> None:
        self.taken = Taken()
        self.head = events.position
        self.events = events
        self.keys = NewKeys()
        self.fingerprints = NewFingerprints()


class ImportTransaction:
    """Used on one connection at a time, by one thread.

    Everything happens under the append lock, as in the writer's transactions, so nothing that
    was decided can be out of date when it is committed. The bookings of former transactions
    are good as long as nobody else has appended.
    """

    def __init__(
        self, database: Database, workflow: Workflow, source: str, clock: Callable[[], datetime]
    ) -> None:
        self._lock = lock_statement(database)
        self._begin = SQL("BEGIN; {}").format(self._lock).as_bytes()
        self._channel = database.channel("events")
        self._mapper = event_mapper(database)
        self._workflow = workflow
        self._source = source
        self._clock = clock
        self._known: dict[str, KnownBooking] = {}
        self._head: int | None = None
        """The newest position when those were known."""

    def store(self, connection: psycopg.Connection, rows: ImportedRows) -> Stored:
        """Do everything but commit. Raises UnknownStatus before anything is done."""
        for status in dict.fromkeys(rows.to_statuses):
            self._workflow.require_status(status)
        cursor = connection.cursor()
        cursor.execute(self._begin, prepare=False)
        head = self._load(cursor, rows.booking_ids)
        before = self._taken_before(cursor, rows)
        with cursor.copy(COPY) as copy:
            events = ImportedEvents(self._source, self._clock(), head, copy.write)
            stored = self._decide(rows, before, events)
            events.end()
        if stored.keys:
            _send(cursor, COPY_KEYS, stored.keys.rows())
        if stored.fingerprints:
            _send(cursor, COPY_FINGERPRINTS, stored.fingerprints.rows())
        if events.first is not None:
            cursor.execute(NOTIFY, (self._channel,))
        return stored

    def keep(self, stored: Stored) -> None:
        """After the commit: what is known by now is as it is stored."""
        self._head = stored.events.position
        if len(self._known) > KNOWN_BOOKINGS_MAX:
            self._known.clear()

    def forget(self) -> None:
        """Take nothing that was read before for what is there."""
        self._head = None

    def is_committed(self, connection: psycopg.Connection, stored: Stored) -> bool:
        """Whether it is in the ledger though its commit was cut off. As `Transaction` has it:
        the lock is waited for, the first event speaks for all, and without events rows can be
        taken anew."""
        if stored.events.first is None:
            return False
        with connection.transaction():
            connection.execute(self._lock)
            found = connection.execute(AT_POSITION, (stored.head + 1,)).fetchone()
        return found == stored.events.first

    def _load(self, cursor: psycopg.Cursor[Any], booking_ids: Iterable[str]) -> int:
        """Make all these bookings known that there are; the newest position."""
        row = cursor.execute(HEAD, prepare=True).fetchone()
        assert row is not None
        if row[0] != self._head:
            self._known.clear()
        missing = [one for one in dict.fromkeys(booking_ids) if one not in self._known]
        for booking_id, version, state, wrapped in cursor.execute(LOAD, (missing,), prepare=True):
            status = orjson.loads(state)["to_status"]
            self._known[booking_id] = KnownBooking(text_value(booking_id), version, status, wrapped)
        return int(row[0])

    def _taken_before(
        self, cursor: psycopg.Cursor[Any], rows: ImportedRows
    ) -> set[tuple[str, int]]:
        """Those of the rows that are in the ledger. The first one of a booking opened it, so of
        an unknown booking there is none."""
        known = self._known
        asked = [
            (booking_id, fingerprint)
            for booking_id, fingerprint in zip(rows.booking_ids, rows.fingerprints, strict=True)
            if booking_id in known
        ]
        if not asked:
            return set()
        columns = ([one for one, _ in asked], [one for _, one in asked])
        return set(cursor.execute(LOAD_TAKEN, columns, prepare=True).fetchall())

    def _decide(
        self, rows: ImportedRows, before: set[tuple[str, int]], events: ImportedEvents
    ) -> Stored:
        stored = Stored(events)
        taken, known = stored.taken, self._known
        new_fingerprint, new_event = stored.fingerprints.append, events.append
        repeats = len(set(rows.fingerprints)) < len(rows)
        nonces = _nonces(len(rows) - rows.personal.count(None))
        for booking_id, to_status, claimed_from, occurred_at, personal, fingerprint in zip(
            *rows.columns(), strict=True
        ):
            booking, claimed = known.get(booking_id), claimed_from
            if booking is None:
                booking = known[booking_id] = KnownBooking(text_value(booking_id))
                taken.opened += 1
            elif before and (booking_id, fingerprint) in before:
                taken.known += 1
                continue
            elif booking.status == to_status:
                taken.unchanged += 1
            else:
                taken.changed += 1
                if claimed == booking.status:
                    claimed = None
            new_fingerprint(booking.id_value, fingerprint)
            if repeats:
                before.add((booking_id, fingerprint))
            if booking.status == to_status:
                continue
            if claimed is not None:
                taken.disputed += 1
            booking.version = version = booking.version + 1
            sealed = None
            if personal is not None:
                key = booking.key or self._key(booking_id, booking, stored)
                sealed = key.seal_json(version, personal, next(nonces))
            new_event(
                booking.id_value, version, booking.status, to_status, occurred_at, claimed, sealed
            )
            booking.status = to_status
        taken.position = events.position
        return stored

    def _key(self, booking_id: str, booking: KnownBooking, stored: Stored) -> BookingKey:
        if booking.wrapped is None:
            booking.key, booking.wrapped = self._mapper.new_key(booking_id)
            stored.keys.append(booking.id_value, booking.wrapped)
        else:
            booking.key = self._mapper.unwrap(booking_id, booking.wrapped)
        return booking.key


def _nonces(count: int) -> Iterator[bytes]:
    random = urandom(NONCE_BYTES * count)
    return (random[at : at + NONCE_BYTES] for at in range(0, len(random), NONCE_BYTES))


def _send(cursor: psycopg.Cursor[Any], statement: LiteralString, content: bytes) -> None:
    with cursor.copy(statement) as copy:
        copy.write(content)
