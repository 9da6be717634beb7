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
from ledger.deciding import Decider
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
        WHERE originator_id = known.id AND originator_version > known.version
        ORDER BY originator_version  -- keeps it a look-up for each id, not a join of the table
    ) AS event
    UNION ALL
    SELECT booking_id, 0, NULL, wrapped FROM booking_key WHERE booking_id = ANY($3)
    UNION ALL
    SELECT NULL, ({HEAD}), NULL, NULL
    ORDER BY originator_version
"""
"""The events after those versions. Keys of bookings are rows without a topic; the newest position
is in the one without an id. All of one snapshot."""
LOAD_KEYS = "SELECT booking_id, wrapped FROM booking_key WHERE booking_id = ANY($1)"
LOAD_ANSWERS = """
    SELECT scope, key, request_hmac, answer
    FROM unnest($1::text[], $2::text[]) AS asked (scope, key)
    JOIN idempotency USING (scope, key)
"""
AT_POSITION = """
    SELECT originator_id, originator_version, topic, state
    FROM ledger_events WHERE notification_id = %s
"""
RUNS_AHEAD = (ChangeStatus, OpenBooking, RecordStatus)


class Transaction:
    """Loads, decides and stores on one connection in autocommit mode; used by one at a time.

    There are two ways, and both end with what was decided on the ledger as it is.

    Under the lock: `begin`, `plan`, `commit`. Nobody else appends meanwhile, so nothing
    that was decided can be out of date.

    Ahead of it: `plan`, `append`. What we remember, or read without the lock, says what
    the next position is, and the one statement that takes it fails where it is taken. Events
    are all that decisions depend on, and each event takes a position. So if it is ours, nothing has
    changed since we looked. Then one message to the database records a change, and it waits for
    nothing but the disk.
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
        self._alone = True
        """Whether nobody else appended between our last two transactions."""

    def runs_ahead(self, requests: Sequence[Request]) -> bool:
        """Whether these can go ahead of the lock, and are likely to find their positions free, and
        their idempotency keys new."""
        return (
            self._alone
            and sum(request.size for request in requests) < COPY_FROM_EVENTS
            and all(isinstance(c, RUNS_AHEAD) for r in requests for c in r.commands)
            and not any(
                r.idempotency is not None and self._memory.is_answered(r.idempotency.name)
                for r in requests
            )
        )

    def begin(self, connection: psycopg.Connection) -> None:
        """Begin, and take the append lock."""
        # In one message: the lock is waited for before the next statement takes its snapshot.
        connection.execute(self._begin, prepare=False)

    def prepare(self, connection: psycopg.Connection) -> None:
        """What goes ahead of the lock waits for nothing but answers then."""
        self._loading.prepare(connection.pgconn)
        self._loading_keys.prepare(connection.pgconn)
        self._appending.prepare(connection)

    def plan_ahead(self, requests: Sequence[Request]) -> Steps[Plan]:
        """Decide without the lock, from memory where that has all."""
        memory, streams = self._memory, dict.fromkeys(_streams(requests))
        if memory.head is not None and memory.has_all(streams):
            plan = Plan(memory.head)
            plan.bookings, keys = memory.take(streams)
            plan.keys = _that_are(keys)
        else:
            plan = yield from self._load(streams)
        # Answers given before are not asked for: to store another under the same key fails.
        self._decider.decide(plan, requests, {}, self._clock())
        return plan

    def append(self, plan: Plan) -> Steps[bool]:
        """Record what was planned ahead of the lock, and commit.

        False where nothing was recorded, because somebody else has appended, or because there
        was nothing to append that would show whether somebody has.
        """
        if not plan.events:
            self._memory.keep(plan.head, plan.bookings, plan.keys)  # as they were
            return False
        try:
            yield self._appending.statement(plan)
        except psycopg.errors.UniqueViolation:
            self._alone = False
            self._memory.others_appended()
            return False
        self._keep(plan)
        return True

    def plan(self, connection: psycopg.Connection, requests: Sequence[Request]) -> Plan:
        """Load and decide, after `begin`. Nothing is written yet."""
        plan = run(connection, self._load(dict.fromkeys(_streams(requests))))
        known: dict[tuple[str, str], tuple[bytes, bytes]] = {}
        keys = [r.idempotency for r in requests if r.idempotency is not None]
        if keys:
            names = (texts([key.scope for key in keys]), texts([key.key for key in keys]))
            rows = self._loading_answers.execute(connection, names)
            for row in range(rows.ntuples):
                scope, key, request_hmac, answer = (rows.get_value(row, n) for n in range(4))
                assert request_hmac is not None
                assert answer is not None
                known[as_text(scope), as_text(key)] = (request_hmac, answer)
            self._memory.keep_answered(known)
        self._decider.decide(plan, requests, known, self._clock())
        return plan

    def commit(self, connection: psycopg.Connection, plan: Plan) -> None:
        """Store what was decided and commit. Where this fails half way, see `is_committed`."""
        self._appending.store(connection, plan)
        connection.execute("COMMIT", prepare=False)
        self._keep(plan)

    def forget(self) -> None:
        """Take nothing that was read before for what is there."""
        self._memory.clear()

    def is_committed(self, connection: psycopg.Connection, plan: Plan) -> bool:
        """Whether a plan whose commit was cut off is in the ledger all the same; after `begin`.

        The cut-off transaction held the append lock, or is yet to ask for it. In the first case
        it has ended. In the second its positions must be taken before we let go of the lock: it
        would be recorded after we said that it is not. So the same requests are decided anew
        in the transaction that asks. A transaction is whole or absent, so its first event speaks
        for all. A plan without events is as good as absent: deciding it again writes nothing twice.
        """
        if not plan.events:
            return False
        found = connection.execute(AT_POSITION, (plan.head + 1,)).fetchone()
        first = plan.events[0]
        return found == (first.originator_id, first.originator_version, first.topic, first.state)

    def _keep(self, plan: Plan) -> None:
        self._memory.keep(plan.newest_position, plan.bookings, plan.keys)
        self._memory.keep_answered(plan.answers)

    def _load(self, streams: Collection[str]) -> Steps[Plan]:
        """What there is of some streams now: a plan that nothing was decided for yet."""
        memory = self._memory
        loaded, keys = memory.take(streams)
        versions = [loaded[one].version if one in loaded else 0 for one in streams]
        unknown = [one for one in streams if one not in keys]
        asked = (texts(list(streams)), integers(versions), texts(unknown))
        rows = yield Statement(self._loading, asked)
        plan = Plan(head=0, bookings=loaded)
        for row in range(rows.ntuples):
            self._take_in(plan, *(rows.get_value(row, column) for column in range(4)))
        self._alone = memory.head in (None, plan.head)
        if plan.head == memory.head:
            plan.keys.update(_that_are(keys))
        else:
            memory.others_appended()
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
        plan.bookings[name] = event.mutate(plan.bookings.get(name))


def _that_are(keys: Mapping[str, Key | None]) -> dict[str, Key]:
    return {one: key for one, key in keys.items() if key is not None}


def _streams(requests: Sequence[Request]) -> Iterator[str]:
    """What is to be loaded."""
    for request in requests:
        for command in request.commands:
            yield command.booking_id
            if isinstance(command, DecideOnPersonalData):
                yield stream_of(command.booking_id)
