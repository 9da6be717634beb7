"""One transaction of the writer: load, decide, store."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg.sql import SQL

from ledger.booking import Booking
from ledger.commands import (
    Answer,
    Command,
    DecideOnPersonalData,
    Outcome,
    answer_from_record,
    decide,
)
from ledger.database import Database
from ledger.errors import BookingNotFound, IdempotencyKeyReused, Refusal
from ledger.event_store import (
    COPY_FROM_EVENTS,
    BookingCache,
    Loaded,
    append_events,
    copy_events,
    lock_statement,
)
from ledger.known_keys import KnownKeys
from ledger.personal_data import PersonalData, stream_of
from ledger.sealing import BookingKey
from ledger.transcoder import EventMapper
from ledger.workflow import Workflow

LOAD = """
    SELECT head.position, event.originator_id, event.originator_version, event.topic, event.state
    FROM (SELECT coalesce(max(notification_id), 0) AS position FROM ledger_events) AS head
    LEFT JOIN (
        unnest(%b::text[], %b::bigint[]) AS known (id, version)
        CROSS JOIN LATERAL (
            SELECT * FROM ledger_events
            WHERE originator_id = known.id AND originator_version > known.version
            ORDER BY originator_version  -- keeps it a look-up for each id, not a join of the table
        ) AS event
    ) ON true
    UNION ALL
    SELECT 0, booking_id, 0, NULL, wrapped FROM booking_key WHERE booking_id = ANY(%b)
    ORDER BY originator_version
"""
"""Also the keys of the bookings, as rows without a topic."""
LOAD_ANSWERS = """
    SELECT scope, key, request_hmac, answer
    FROM unnest(%b::text[], %b::text[]) AS asked (scope, key)
    JOIN idempotency USING (scope, key)
"""
NOTIFY = "SELECT pg_notify(%s, '')"
STORE_ANSWERS = """
    INSERT INTO idempotency (scope, key, request_hmac, answer)
    SELECT * FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::bytea[])
"""
DESTROY_KEYS = "DELETE FROM booking_key WHERE booking_id = ANY(%b)"
AT_POSITION = """
    SELECT originator_id, originator_version, topic, state
    FROM ledger_events WHERE notification_id = %s
"""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key, whose it is (`scope`), and what it was sent with."""

    scope: str
    key: str
    request_hmac: bytes

    @property
    def name(self) -> tuple[str, str]:
        return (self.scope, self.key)


@dataclass(frozen=True, slots=True)
class Request:
    """Commands that are answered together, in order. `done` is called once, by the writer."""

    commands: Sequence[Command]
    idempotency: Idempotency | None
    done: Callable[["list[Answer] | Exception"], None]

    @property
    def size(self) -> int:
        return len(self.commands)


Reply = list[Answer] | Refusal
"""What one request gets: an answer for each command, or one refusal for the whole."""


@dataclass
class Plan:
    """What a transaction is about to commit, and what it will answer then."""

    head: int
    replies: list[Reply] = field(default_factory=list)
    events: list[StoredEvent] = field(default_factory=list)
    answers: dict[tuple[str, str], tuple[bytes, list[Answer]]] = field(default_factory=dict)
    bookings: dict[str, Loaded] = field(default_factory=dict)
    wrapped: dict[str, bytes] = field(default_factory=dict)
    """Keys of bookings, as they are stored."""
    keys: dict[str, BookingKey] = field(default_factory=dict)
    """Those that were needed."""
    new_keys: dict[str, bytes] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    """Bookings whose stored key is to be destroyed."""

    @property
    def newest_position(self) -> int:
        return self.head + len(self.events)


class Transaction:
    """Loads, decides and stores on one connection; used by one thread.

    Everything happens under the append lock. A decision made under it cannot be out of date
    when it is committed, so there is no conflict to retry, in this process or another.
    """

    def __init__(
        self,
        database: Database,
        mapper: EventMapper,
        workflow: Workflow,
        clock: Callable[[], datetime],
        cache: BookingCache,
    ) -> None:
        self._lock = lock_statement(database)
        self._begin = SQL("BEGIN; {}").format(self._lock).as_bytes()
        self._channel = database.channel("events")
        self._mapper = mapper
        self._workflow = workflow
        self._clock = clock
        self._cache = cache
        self._known_keys = KnownKeys()

    def plan(self, connection: psycopg.Connection, requests: Sequence[Request]) -> Plan:
        """Begin, lock, load and decide. Nothing is written yet."""
        keys = [r.idempotency for r in requests if r.idempotency is not None]
        bookings = self._take_cached(_streams(requests))
        cursor = connection.cursor()
        # In one message: the lock is waited for before the next statement takes its snapshot.
        cursor.execute(self._begin, prepare=False)
        versions = [booking.version if booking else 0 for booking in bookings.values()]
        asked = (list(bookings), versions, self._known_keys.missing(bookings))
        rows = cursor.execute(LOAD, asked, prepare=True).fetchall()
        plan = Plan(head=max(row[0] for row in rows))
        plan.wrapped = {row[1]: row[4] for row in rows if row[1] is not None and row[3] is None}
        plan.keys, wrapped = self._known_keys.take(cursor, plan.head, bookings)
        plan.wrapped.update(wrapped)
        self._replay(bookings, (row[1:] for row in rows if row[3] is not None))
        plan.bookings = {id_: b for id_, b in bookings.items() if b is not None}
        known: dict[tuple[str, str], tuple[bytes, bytes]] = {}
        if keys:
            names = ([key.scope for key in keys], [key.key for key in keys])
            for scope, key, request_hmac, answer in cursor.execute(LOAD_ANSWERS, names):
                known[scope, key] = (request_hmac, answer)
        now = self._clock()
        for request in requests:
            plan.replies.append(self._reply(plan, request, known, now))
        return plan

    def commit(self, connection: psycopg.Connection, plan: Plan) -> None:
        """Store what was decided and commit. Where this fails half way, see `is_committed`."""
        cursor = connection.cursor()
        if plan.answers:
            cursor.execute(STORE_ANSWERS, _answer_columns(plan))
        if plan.erased:
            cursor.execute(DESTROY_KEYS, (list(plan.erased),))
        if len(plan.events) >= COPY_FROM_EVENTS:
            copy_events(cursor, plan.events, plan.new_keys, plan.head + 1)
            cursor.execute(NOTIFY, (self._channel,))
        elif plan.events:
            append_events(cursor, plan.events, plan.new_keys, plan.head + 1, self._channel)
        cursor.execute("COMMIT", prepare=False)
        self._known_keys.keep(plan.newest_position, plan.keys, plan.erased)
        self._cache.keep(plan.bookings.values())

    def forget(self) -> None:
        """Take nothing that was read before for what is there."""
        self._cache.clear()
        self._known_keys.clear()

    def is_committed(self, connection: psycopg.Connection, plan: Plan) -> bool:
        """Whether a plan whose commit was cut off is in the ledger all the same.

        The append lock is waited for first: the cut-off transaction held it, so it has ended.
        A transaction is whole or absent, so its first event speaks for all. A plan without
        events is as good as absent: deciding it again writes nothing twice.
        """
        if not plan.events:
            return False
        with connection.transaction():
            connection.execute(self._lock)
            found = connection.execute(AT_POSITION, (plan.head + 1,)).fetchone()
        first = plan.events[0]
        return found == (first.originator_id, first.originator_version, first.topic, first.state)

    def _take_cached(self, booking_ids: Iterable[str]) -> dict[str, Loaded | None]:
        return {
            booking_id: self._cache.take(booking_id) for booking_id in dict.fromkeys(booking_ids)
        }

    def _replay(self, bookings: dict[str, Loaded | None], rows: Iterable[Any]) -> None:
        for booking_id, version, topic, state in rows:
            event = self._mapper.to_domain_event(StoredEvent(booking_id, version, topic, state))
            bookings[booking_id] = event.mutate(bookings[booking_id])

    def _reply(
        self,
        plan: Plan,
        request: Request,
        known: dict[tuple[str, str], tuple[bytes, bytes]],
        now: datetime,
    ) -> Reply:
        idempotency = request.idempotency
        if idempotency is None:
            return [self._answer(plan, command, now) for command in request.commands]
        given = _given_before(plan, known, idempotency)
        if given is not None:
            return given
        answers = [self._answer(plan, command, now) for command in request.commands]
        plan.answers[idempotency.name] = (idempotency.request_hmac, answers)
        return answers

    def _answer(self, plan: Plan, command: Command, now: datetime) -> Answer:
        if isinstance(command, DecideOnPersonalData):
            return self._decide(plan, command, now)
        booking = _booking(plan, command.booking_id)
        try:
            booking, kind = decide(booking, command, self._workflow, now)
        except Refusal as refusal:
            return refusal
        plan.bookings[booking.id] = booking
        if kind == "unchanged":
            return _outcome(kind, booking, plan.newest_position)
        event = booking.collect_events()[0]
        plan.events.append(self._mapper.to_stored_event(event, self._key(plan, event)))
        return _outcome(kind, booking, plan.newest_position)

    def _decide(self, plan: Plan, command: DecideOnPersonalData, now: datetime) -> Answer:
        booking_id, stream = command.booking_id, stream_of(command.booking_id)
        booking = _booking(plan, booking_id)
        if booking is None:
            return BookingNotFound(booking_id=booking_id)
        found = plan.bookings.get(stream) or PersonalData(stream)
        assert isinstance(found, PersonalData)
        is_sealed = booking_id in plan.wrapped or booking_id in plan.keys
        try:
            event = found.decide(command.decision, now, is_sealed=is_sealed)
        except Refusal as refusal:
            return refusal
        if event is None:
            return _outcome("unchanged", booking, plan.newest_position)
        plan.bookings[stream] = found
        plan.events.append(self._mapper.to_stored_event(event))
        if command.decision.verdict == "erase":
            # What was sealed before in this transaction is lost with its key, as it must be.
            for keys in (plan.wrapped, plan.keys, plan.new_keys):
                keys.pop(booking_id, None)
            plan.erased.add(booking_id)
        return _outcome("changed", booking, plan.newest_position)

    def _key(self, plan: Plan, event: Any) -> BookingKey | None:
        """The key of the event's booking, made where it has none; None where it needs none."""
        if event.changed_by is None and event.reason is None and event.metadata is None:
            return None
        booking_id = event.originator_id
        if booking_id not in plan.keys:
            wrapped = plan.wrapped.get(booking_id)
            if wrapped is None:
                key, plan.new_keys[booking_id] = self._mapper.new_key(booking_id)
            else:
                key = self._mapper.unwrap(booking_id, wrapped)
            plan.keys[booking_id] = key
        return plan.keys[booking_id]


def _streams(requests: Sequence[Request]) -> Iterator[str]:
    """What is to be loaded."""
    for request in requests:
        for command in request.commands:
            yield command.booking_id
            if isinstance(command, DecideOnPersonalData):
                yield stream_of(command.booking_id)


def _booking(plan: Plan, booking_id: str) -> Booking | None:
    found = plan.bookings.get(booking_id)
    assert not isinstance(found, PersonalData)
    return found


def _outcome(kind: Any, booking: Booking, position: int) -> Outcome:
    return Outcome(
        kind,
        booking.id,
        booking.status,
        booking.version,
        booking.opened_at,
        booking.changed_at,
        position,
    )


def _given_before(
    plan: Plan,
    known: dict[tuple[str, str], tuple[bytes, bytes]],
    idempotency: Idempotency,
) -> Reply | None:
    """The answer that this key had, in this transaction or an earlier one."""
    if idempotency.name in plan.answers:
        request_hmac, answers = plan.answers[idempotency.name]
    elif idempotency.name in known:
        request_hmac, stored = known[idempotency.name]
        answers = [answer_from_record(record) for record in orjson.loads(stored)]
    else:
        return None
    if request_hmac != idempotency.request_hmac:
        return IdempotencyKeyReused(key=idempotency.key)
    return answers


def _answer_columns(plan: Plan) -> tuple[list[str], list[str], list[bytes], list[bytes]]:
    return (
        [scope for scope, _ in plan.answers],
        [key for _, key in plan.answers],
        [request_hmac for request_hmac, _ in plan.answers.values()],
        [
            orjson.dumps([answer.to_record() for answer in answers])
            for _, answers in plan.answers.values()
        ],
    )
