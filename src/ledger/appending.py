"""How events are stored, with all that must be on disk with them or not at all."""

from functools import cache
from itertools import product
from typing import Any

import orjson
import psycopg
from psycopg.sql import SQL, Literal

from ledger.database import Database
from ledger.plan import Plan
from ledger.prepared import Prepared, Statement, byte_strings, integer, integers, texts

# Each part waits for the lock before its first row, so nothing of ours is waited for by somebody
# who holds the lock.
APPEND = """
    WITH lock AS MATERIALIZED (SELECT pg_advisory_xact_lock({lock})), {more}
    appended AS (
        INSERT INTO ledger_events
            (originator_id, originator_version, topic, state, notification_id)
        SELECT id, version, topic, state, $1::bigint + ordinality
        FROM lock, unnest($2::text[], $3::bigint[], $4::text[], $5::bytea[])
            WITH ORDINALITY AS event (id, version, topic, state)
    )
    SELECT pg_notify({channel}, '')
"""
WITH_KEYS = """
    keys AS (
        INSERT INTO booking_key (booking_id, wrapped)
        SELECT key.* FROM lock, unnest($6::text[], $7::bytea[]) AS key
    ),
"""
WITH_ANSWERS = """
    answers AS (
        INSERT INTO idempotency (scope, key, request_hmac, answer)
        SELECT answer.* FROM lock,
            unnest(${0}::text[], ${1}::text[], ${2}::bytea[], ${3}::bytea[]) AS answer
    ),
"""
APPEND_BEHIND_OTHERS = """
    SELECT append_events({lock}, {channel}, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
"""A function of the database: see migration 0006."""
STORE_ANSWERS = """
    INSERT INTO idempotency (scope, key, request_hmac, answer)
    SELECT * FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::bytea[])
"""
DESTROY_KEYS = "DELETE FROM booking_key WHERE booking_id = ANY(%b)"
COPY = """
    COPY ledger_events (originator_id, originator_version, topic, state, notification_id)
    FROM STDIN (FORMAT BINARY)
"""
COPY_KEYS = "COPY booking_key (booking_id, wrapped) FROM STDIN (FORMAT BINARY)"
COPY_FROM_EVENTS = 100
"""From this many events on, COPY is quicker than INSERT with arrays."""


class Appending:
    """The statements that store a plan in a ledger."""

    def __init__(self, database: Database) -> None:
        self._lock = Literal(database.lock_key("append"))
        self._channel = Literal(database.channel("events"))
        self._prepared = cache(self._compose)
        behind = SQL(APPEND_BEHIND_OTHERS).format(lock=self._lock, channel=self._channel)
        self._behind_others = Prepared(behind.as_string())

    def statement(self, plan: Plan) -> Statement:
        """What stores events, new keys and answers at the positions after `head`.

        Where somebody has appended since, those positions are taken: UniqueViolation, and
        nothing is stored. It is raised too for an answer or a key that is there already.
        """
        values = [integer(plan.head), *_events(plan)]
        keys, answers = bool(plan.new_keys), bool(plan.answers)
        if keys:
            values += _keys(plan)
        if answers:
            values += _answers(plan)
        return Statement(self._prepared(keys, answers), values)

    def behind_others(self, plan: Plan) -> Statement:
        """The same at the positions that are free then. It returns the newest before them.

        Or NULL, and nothing is stored, where an event after `head` is of a stream on which the plan
        depends, or an answer is there already. A plan without events is looked at in the same way.
        """
        values = [integer(plan.head), texts(list(plan.streams)), *_events(plan), *_keys(plan)]
        values += _answers(plan)
        return Statement(self._behind_others, values)

    def prepare(self, connection: psycopg.Connection) -> None:
        """All that may be asked for, so that it need not be waited for later."""
        self._behind_others.prepare(connection.pgconn)
        for keys, answers in product((False, True), repeat=2):
            self._prepared(keys, answers).prepare(connection.pgconn)

    def store(self, connection: psycopg.Connection, plan: Plan) -> None:
        """Store a whole plan, in a transaction that holds the append lock."""
        cursor = connection.cursor()
        if plan.erased:
            cursor.execute(DESTROY_KEYS, (list(plan.erased),))
        if plan.events and len(plan.events) < COPY_FROM_EVENTS:
            prepared, parameters = self.statement(plan)
            prepared.execute(connection, parameters)
            return
        if plan.answers:
            cursor.execute(STORE_ANSWERS, _answer_columns(plan))
        if plan.events:
            _copy(cursor, plan)
            cursor.execute(SQL("SELECT pg_notify({}, '')").format(self._channel))

    def _compose(self, keys: bool, answers: bool) -> Prepared:  # a cache's key
        more = WITH_KEYS if keys else ""
        if answers:
            first = 8 if keys else 6
            more += WITH_ANSWERS.format(*range(first, first + 4))
        statement = SQL(APPEND.replace("{more}", more))
        return Prepared(statement.format(lock=self._lock, channel=self._channel).as_string())


def _copy(cursor: psycopg.Cursor[Any], plan: Plan) -> None:
    with cursor.copy(COPY_KEYS) as copy:
        copy.set_types(["text", "bytea"])
        for row in plan.new_keys.items():
            copy.write_row(row)
    with cursor.copy(COPY) as copy:
        copy.set_types(["text", "int8", "text", "bytea", "int8"])
        for position, event in enumerate(plan.events, plan.head + 1):
            copy.write_row(
                (
                    event.originator_id,
                    event.originator_version,
                    event.topic,
                    event.state,
                    position,
                )
            )


def _events(plan: Plan) -> list[bytes]:
    events = plan.events
    return [
        texts([event.originator_id for event in events]),  # type: ignore[misc]  # not UUIDs
        integers([event.originator_version for event in events]),
        texts([event.topic for event in events]),
        byte_strings([event.state for event in events]),
    ]


def _keys(plan: Plan) -> list[bytes]:
    return [texts(list(plan.new_keys)), byte_strings(list(plan.new_keys.values()))]


def _answers(plan: Plan) -> list[bytes]:
    scopes, names, requests, stored = _answer_columns(plan)
    return [texts(scopes), texts(names), byte_strings(requests), byte_strings(stored)]


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
