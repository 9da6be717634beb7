"""The transactions of an import: load, decide, lock, store. Rows in bulk, each once."""

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
from ledger.import_events import ImportedEvents, fingerprint_rows, key_rows, text_value
from ledger.imported_rows import ImportedRows
from ledger.master_key import NONCE_BYTES
from ledger.sealing import BookingKey
from ledger.transaction import HEAD
from ledger.transcoder import event_mapper
from ledger.workflow import Workflow

AT_POSITION = """
    SELECT originator_id, originator_version, topic, state
    FROM ledger_events WHERE notification_id = %s
"""
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

    def add(self, after: "Taken") -> None:
        """What became of the next rows too."""
        self.opened += after.opened
        self.changed += after.changed
        self.unchanged += after.unchanged
        self.known += after.known
        self.disputed += after.disputed
        self.position = after.position


@dataclass(slots=True)
class KnownBooking:
    """A booking as an import needs it: its newest event is enough to decide."""

    id_value: bytes
    version: int = 0
    status: str | None = None
    wrapped: bytes | None = None
    key: BookingKey | None = None


class Overtaken(Exception):
    """Somebody has recorded something since it was decided"""


class Decided:
    """What follows from rows, with `head` as the newest position of the ledger: rows as COPY
    takes them, nothing where there are none."""

    def __init__(
        self, taken: Taken, head: int, events: ImportedEvents, keys: bytes, fingerprints: bytes
    ) -> None:
        self.taken = taken
        self.head = head
        self.first = events.first
        self.events = events.rows()
        self.keys = keys
        self.fingerprints = fingerprints
        self.is_committing = False
        """From here on it may be in the ledger though we are not told."""


class ImportTransaction:
    """Decides on rows, and stores what was decided; `store` may run beside the next `decide`.

    `decide` needs no lock: it takes what was decided before to be stored, and nobody else to have
    appended. `store` takes the lock, and whether that was so is whether the newest position is the
    one that was decided on. Where it is not, `decide_under_lock` is the way that always succeeds.
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
        """The newest position when those were known; None where nothing is."""
        self._before: set[tuple[str, int]] = set()
        """The rows that were decided on last, which may not be stored yet."""
        self.alone = True
        """Whether nobody else appended between our last two transactions, or, where the rows before
        took several, between any of those."""

    def require_statuses(self, rows: ImportedRows) -> None:
        """Raises UnknownStatus."""
        for status in dict.fromkeys(rows.to_statuses):
            self._workflow.require_status(status)

    def decide(self, connection: psycopg.Connection, rows: ImportedRows) -> Decided:
        """Raises UnknownStatus before anything is done. Whatever it raises, `forget` then."""
        self.require_statuses(rows)
        cursor = connection.cursor()
        head = self._load(cursor, rows.booking_ids)
        taken_before = self._taken_before(cursor, rows)
        self._before = set(zip(rows.booking_ids, rows.fingerprints, strict=True))
        decided = self._decide(rows, taken_before, head)
        self._head = decided.taken.position
        return decided

    def store(self, connection: psycopg.Connection, decided: Decided) -> None:
        """Store and commit. Raises Overtaken where it was decided on another ledger than there is,
        and then nothing is stored."""
        cursor = connection.cursor()
        cursor.execute(self._begin, prepare=False)
        try:
            _require_head(cursor, decided.head)
            self._write(cursor, decided)
        except (Overtaken, psycopg.errors.UniqueViolation) as error:
            connection.rollback()
            raise Overtaken from error
        self._commit(connection, decided)

    def decide_under_lock(self, connection: psycopg.Connection, rows: ImportedRows) -> Decided:
        """Take the lock, and decide. Before this call nothing of ours may be under way."""
        cursor = connection.cursor()
        cursor.execute(self._begin, prepare=False)
        head = _head(cursor)
        self.alone = head == self._head
        if not self.alone:
            self.forget()
            self._head = head
        return self.decide(connection, rows)

    def store_under_lock(self, connection: psycopg.Connection, decided: Decided) -> None:
        """Store what was decided so, and commit."""
        self._write(connection.cursor(), decided)
        self._commit(connection, decided)

    def forget(self) -> None:
        """Take nothing that was read or decided before for what is there."""
        self._head = None
        self._known.clear()
        self._before.clear()

    def is_committed(self, connection: psycopg.Connection, decided: Decided) -> bool:
        """Whether it is in the ledger though its commit was cut off. As `Transaction` has it:
        the lock is waited for, the first event speaks for all, and without events rows can be
        taken anew."""
        if decided.first is None:
            return False
        with connection.transaction():
            connection.execute(self._lock)
            found = connection.execute(AT_POSITION, (decided.head + 1,)).fetchone()
        return found == decided.first

    def _write(self, cursor: psycopg.Cursor[Any], decided: Decided) -> None:
        if decided.events:
            _send(cursor, COPY, decided.events)
        if decided.keys:
            _send(cursor, COPY_KEYS, decided.keys)
        if decided.fingerprints:
            _send(cursor, COPY_FINGERPRINTS, decided.fingerprints)
        if decided.events:
            cursor.execute(NOTIFY, (self._channel,))

    def _commit(self, connection: psycopg.Connection, decided: Decided) -> None:
        decided.is_committing = True
        connection.execute("COMMIT", prepare=False)

    def _load(self, cursor: psycopg.Cursor[Any], booking_ids: Iterable[str]) -> int:
        """Make all these bookings known that there are; the newest position."""
        if self._head is None:
            self._known.clear()
            self._head = _head(cursor)
        elif len(self._known) > KNOWN_BOOKINGS_MAX:
            # Those that were decided on last may not be stored yet.
            self._known = {one: self._known[one] for one, _ in self._before}
        missing = [one for one in dict.fromkeys(booking_ids) if one not in self._known]
        for booking_id, version, state, wrapped in cursor.execute(LOAD, (missing,), prepare=True):
            status = orjson.loads(state)["to_status"]
            self._known[booking_id] = KnownBooking(text_value(booking_id), version, status, wrapped)
        return self._head

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
        found = set(cursor.execute(LOAD_TAKEN, columns, prepare=True).fetchall())
        return found.union(self._before.intersection(asked))

    def _decide(self, rows: ImportedRows, before: set[tuple[str, int]], head: int) -> Decided:
        taken, known = Taken(), self._known
        events = ImportedEvents(self._source, self._clock(), head)
        keys: list[tuple[bytes, bytes]] = []
        fingerprinted: list[bytes] = []
        fingerprints: list[int] = []
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
            fingerprinted.append(booking.id_value)
            fingerprints.append(fingerprint)
            if repeats:
                before.add((booking_id, fingerprint))
            if booking.status == to_status:
                continue
            if claimed is not None:
                taken.disputed += 1
            booking.version = version = booking.version + 1
            sealed = None
            if personal is not None:
                key = booking.key or self._key(booking_id, booking, keys)
                sealed = key.seal_json(version, personal, next(nonces))
            events.append(
                booking.id_value, version, booking.status, to_status, occurred_at, claimed, sealed
            )
            booking.status = to_status
        taken.position = events.position
        new_fingerprints = fingerprint_rows(fingerprinted, fingerprints)
        return Decided(taken, head, events, key_rows(keys), new_fingerprints)

    def _key(
        self, booking_id: str, booking: KnownBooking, new: list[tuple[bytes, bytes]]
    ) -> BookingKey:
        if booking.wrapped is None:
            booking.key, booking.wrapped = self._mapper.new_key(booking_id)
            new.append((booking.id_value, booking.wrapped))
        else:
            booking.key = self._mapper.unwrap(booking_id, booking.wrapped)
        return booking.key


def _nonces(count: int) -> Iterator[bytes]:
    random = urandom(NONCE_BYTES * count)
    return (random[at : at + NONCE_BYTES] for at in range(0, len(random), NONCE_BYTES))


def _head(cursor: psycopg.Cursor[Any]) -> int:
    row = cursor.execute(HEAD, prepare=True).fetchone()
    assert row is not None
    return int(row[0])


def _require_head(cursor: psycopg.Cursor[Any], head: int) -> None:
    if _head(cursor) != head:
        raise Overtaken


def _send(cursor: psycopg.Cursor[Any], statement: LiteralString, content: bytes) -> None:
    with cursor.copy(statement) as copy:
        copy.write(content)
