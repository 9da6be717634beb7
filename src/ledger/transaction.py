"""The transactions of the writer: load, decide, store."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg.sql import SQL

from ledger.appending import COPY_FROM_EVENTS, Appending
from ledger.commands import (
    ChangeStatus,
    DecideOnPersonalData,
    OpenBooking,
    RecordStatus,
)
from ledger.database import Database
from ledger.deciding import Decider, GivenAnswer, KnownAnswers
from ledger.event_store import lock_statement
from ledger.memory import Key, Memory
from ledger.personal_data import stream_of
from ledger.plan import Plan, Request
from ledger.prepared import Prepared, Statement, as_integer, as_text, integers, texts
from ledger.steps import Steps, run
from ledger.transcoder import EventMapper
from ledger.workflow import Workflow

HEAD = "SELECT coalesce(max(notification_id), 0) FROM ledger_events"
LOAD = f"""
    SELECT originator_id, originator_version, topic, state
    FROM unnest($1::text[], $2::bigint[]) AS known (id, version)
    CROSS JOIN LATERAL (
        SELECT * FROM ledger_events
        WHERE originator_id = known.id AND originator_version > greatest(known.version, 1)
        ORDER BY originator_version DESC LIMIT 1
    ) AS newest
    UNION ALL
    SELECT originator_id, originator_version, topic, state
    FROM ledger_events WHERE originator_id = ANY($4) AND originator_version = 1
    UNION ALL
    SELECT booking_id, 0, NULL, wrapped FROM booking_key WHERE booking_id = ANY($3)
    UNION ALL
    SELECT NULL, ({HEAD}), NULL, NULL
    ORDER BY originator_version
"""
"""The newest events after those versions, which are enough to decide, and the first of those of
which none is known. Keys of bookings are rows without a topic; the newest position is in the one
without an id. All of one snapshot."""
LOAD_KEYS = "SELECT booking_id, wrapped FROM booking_key WHERE booking_id = ANY($1)"
LOAD_ANSWERS = """
    SELECT scope, key, request_hmac, answer, moved_by
    FROM unnest($1::text[], $2::text[]) AS asked (scope, key)
    JOIN idempotency USING (scope, key)
"""
AT_VERSION = """
    SELECT topic, state, notification_id
    FROM ledger_events WHERE originator_id = %s AND originator_version = %s
"""
EXPECT_OTHERS_FOR = 100
"""Transactions. To expect others in vain costs 30 µs, not to expect them costs a transaction."""
RUNS_AHEAD = (ChangeStatus, OpenBooking, RecordStatus)


class Transaction:
    """Loads, decides and stores on one connection in autocommit mode; used by one at a time.

    There are two ways, and both end with what was decided on the ledger as it is.

    Under the lock: `begin`, `plan`, `commit`. Nobody else appends meanwhile, so nothing
    that was decided can be out of date.

    Ahead of it: `plan_ahead`, `append`. We decide on what we remember, or read without the lock,
    and one statement takes the lock and stores, if what was decided still holds. Events are all
    that decisions depend on, and each takes a position, so nothing has changed where nobody else
    has taken the next one: that is how one who is alone finds out. Each decision depends on the
    events of a few streams, so all holds where these have no newer one: that is how those who
    are not alone find out. One message to the database records a change then, and waits for
    nothing but its turn and the disk.
    """

    def __init__(
        self,
        database: Database,
        mapper: EventMapper,
        workflow: Workflow,
        clock: Callable[[], datetime],
        memory: Memory,
    ) -> None:
        self._begin = SQL("BEGIN; {}").format(lock_statement(database)).as_bytes()
        self._loading = Prepared(LOAD)
        self._loading_keys = Prepared(LOAD_KEYS)
        self._loading_answers = Prepared(LOAD_ANSWERS)
        self._appending = Appending(database)
        self._decider = Decider(mapper, workflow)
        self._mapper = mapper
        self._clock = clock
        self._memory = memory
        self._others_expected_for = 0
        """For how many of our next transactions we take it that others append between them."""

    def runs_ahead(self, requests: Sequence[Request]) -> bool:
        """Whether these can go ahead of the lock."""
        return sum(request.size for request in requests) < COPY_FROM_EVENTS and all(
            isinstance(command, RUNS_AHEAD) for one in requests for command in one.commands
        )

    def begin(self, connection: psycopg.Connection) -> None:
        """Begin, and take the append lock."""
        # In one message: the lock is waited for before the next statement takes its snapshot.
        connection.execute(self._begin, prepare=False)

    def prepare(self, connection: psycopg.Connection) -> None:
        """What goes ahead of the lock waits for nothing but answers then."""
        self._loading.prepare(connection.pgconn)
        self._loading_keys.prepare(connection.pgconn)
        self._loading_answers.prepare(connection.pgconn)
        self._appending.prepare(connection)

    def plan_ahead(self, requests: Sequence[Request], *, again: bool = False) -> Steps[Plan]:
        """Decide without the lock, from memory where that has all.

        `again`: what was decided before could not be appended, so look what there is.
        """
        memory, streams = self._memory, dict.fromkeys(_streams(requests))
        known: KnownAnswers = {}
        if memory.head is not None and memory.has_all(streams) and not again:
            plan = Plan(memory.head)
            plan.bookings, keys = memory.take(streams)
            plan.keys = _that_are(keys)
        else:
            plan = yield from self._load(streams)
        # Other answers given before are not asked for: to store a second one fails.
        if again or self._repeats(requests):
            known = yield from self._load_answers(requests)
        self._decider.decide(plan, requests, known, self._clock())
        return plan

    def append(self, plan: Plan) -> Steps[bool]:
        """Record what was planned ahead of the lock, and commit.

        False where nothing was recorded, because what was decided may be out of date. A plan
        without events is found out about in the same way, as it may be too.
        """
        try:
            if self._others_expected_for == 0 and plan.events:
                yield self._appending.statement(plan)
                head = plan.head
            else:
                result = yield self._appending.behind_others(plan)
                value = result.get_value(0, 0)
                if value is None:
                    return False
                head = as_integer(value)
        except psycopg.errors.UniqueViolation:
            self._others_expected_for = max(1, self._others_expected_for)  # at least next time
            return False
        others_appended = head != plan.head
        plan.move_to(head)
        self._keep(plan)
        if others_appended:
            # The plan holds more than it depends on: a key that was not used, a booking whose
            # answer was repeated. Of these nobody has looked whether they are current.
            self._others_appended()
        return True

    def plan(self, connection: psycopg.Connection, requests: Sequence[Request]) -> Plan:
        """Load and decide, after `begin`. Nothing is written yet."""
        plan = run(connection, self._load(dict.fromkeys(_streams(requests))))
        known = run(connection, self._load_answers(requests))
        self._decider.decide(plan, requests, known, self._clock())
        return plan

    def commit(self, connection: psycopg.Connection, plan: Plan) -> None:
        """Store what was decided and commit. Where this fails half way, see `is_committed`."""
        self._appending.store(connection, plan)
        connection.execute("COMMIT", prepare=False)
        self._keep(plan)

    def forget_keys(self) -> None:
        self._memory.forget_keys()

    def forget(self) -> None:
        """Take nothing that was read before for what is there."""
        self._memory.clear()

    def is_committed(self, connection: psycopg.Connection, plan: Plan) -> bool:
        """Whether a plan whose commit was cut off is in the ledger all the same; after `begin`.

        The cut-off transaction held the append lock, or is yet to ask for it. In the first case
        it has ended. In the second one of its streams must have moved on before we let go of the
        lock: it would be recorded after we said that it is not. So the same requests are decided
        anew in the transaction that asks, with the same events or because somebody was quicker. A
        transaction is whole or absent, so its first event speaks for all. A plan without events is
        as good as absent: deciding it again writes nothing twice.
        """
        if not plan.events:
            return False
        first = plan.events[0]
        name = (first.originator_id, first.originator_version)
        found = connection.execute(AT_VERSION, name).fetchone()
        if found is None or found[:2] != (first.topic, first.state):
            return False
        plan.move_to(found[2] - 1)
        return True

    def _keep(self, plan: Plan) -> None:
        self._memory.keep(plan.newest_position, plan.bookings, plan.keys)
        self._memory.keep_answered(plan.answers)
        self._others_expected_for = max(0, self._others_expected_for - 1)

    def _others_appended(self) -> None:
        self._memory.forget_keys()
        self._others_expected_for = EXPECT_OTHERS_FOR

    def _repeats(self, requests: Sequence[Request]) -> bool:
        """Whether any of them is known to have been answered before."""
        return any(
            request.idempotency is not None and self._memory.is_answered(request.idempotency.name)
            for request in requests
        )

    def _load_answers(self, requests: Sequence[Request]) -> Steps[KnownAnswers]:
        """Those that keys of these requests had before."""
        known: dict[tuple[str, str], GivenAnswer] = {}
        keys = [r.idempotency for r in requests if r.idempotency is not None]
        if keys:
            names = (texts([key.scope for key in keys]), texts([key.key for key in keys]))
            rows = yield Statement(self._loading_answers, names)
            for row in range(rows.ntuples):
                scope, key, request_hmac, answer, by = (rows.get_value(row, n) for n in range(5))
                assert request_hmac is not None
                assert answer is not None
                given = GivenAnswer(request_hmac, answer, as_integer(by))
                known[as_text(scope), as_text(key)] = given
            self._memory.keep_answered(known)
        return known

    def _load(self, streams: Collection[str]) -> Steps[Plan]:
        """What there is of some streams now: a plan that nothing was decided for yet."""
        memory = self._memory
        loaded, keys = memory.take(streams)
        versions = [loaded[one].version if one in loaded else 0 for one in streams]
        unknown = [one for one in streams if one not in keys]
        new = [one for one in streams if one not in loaded]
        asked = (texts(list(streams)), integers(versions), texts(unknown), texts(new))
        rows = yield Statement(self._loading, asked)
        plan = Plan(0, bookings=loaded)
        for row in range(rows.ntuples):
            self._take_in(plan, *(rows.get_value(row, column) for column in range(4)))
        if plan.head == memory.head:
            plan.keys.update(_that_are(keys))
        elif memory.head is not None:
            self._others_appended()
            if keys:
                found = yield Statement(self._loading_keys, (texts(list(keys)),))
                for row in range(found.ntuples):
                    wrapped = found.get_value(row, 1)
                    assert wrapped is not None
                    plan.keys[as_text(found.get_value(row, 0))] = wrapped
        return plan

    def _take_in(
        self,
        plan: Plan,
        stream: bytes | None,
        number: bytes | None,
        topic: bytes | None,
        content: bytes | None,
    ) -> None:
        """A row of LOAD."""
        if stream is None:
            plan.head = as_integer(number)
            return
        name = stream.decode()
        assert content is not None
        if topic is None:
            plan.keys[name] = content
            return
        stored = StoredEvent(name, as_integer(number), topic.decode(), content)
        event = self._mapper.to_domain_event(stored)
        known = plan.bookings.get(name)
        if known is None:
            plan.bookings[name] = event.mutate(None)
        else:
            known.catch_up(event)


def _that_are(keys: Mapping[str, Key | None]) -> dict[str, Key]:
    return {one: key for one, key in keys.items() if key is not None}


def _streams(requests: Sequence[Request]) -> Iterator[str]:
    """What is to be loaded."""
    for request in requests:
        for command in request.commands:
            yield command.booking_id
            if isinstance(command, DecideOnPersonalData):
                yield stream_of(command.booking_id)
