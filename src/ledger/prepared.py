"""Statements on the way of every change, by the shortest way that the driver has.

A cursor of psycopg costs some 75 µs of processor time a statement, and waits with a system call or
two more. `psycopg.pq` is its own layer below, libpq's calls as they are: 22 µs for the same. It
knows no types, so parameters are given in PostgreSQL's binary format, and so are results.
"""

from collections.abc import Sequence
from itertools import count
from struct import Struct, pack
from typing import NamedTuple

import psycopg
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

TEXT, BYTEA, INT8, INT4, FLOAT8, DATE, TIMESTAMP = 25, 17, 20, 23, 701, 1082, 1114
"""The object ids of the types, which are the same in every PostgreSQL."""

_int8 = Struct("!q").pack
_length = Struct("!i").pack
_NULL = _length(-1)
# A value behind its length, as it stands in an array.
_int4_item = Struct("!ii").pack
_int8_item = Struct("!iq").pack
_float8_item = Struct("!id").pack
_EPOCH_DAYS = 10_957
"""PostgreSQL counts from the year 2000."""
_EPOCH_MILLISECONDS = _EPOCH_DAYS * 86_400_000
_names = count()


class Prepared:
    """A statement with parameters $1, $2 …, prepared on each connection that it is used on.

    Where psycopg has prepared a statement of its own, it gives up all that are prepared, these
    too, at a rollback. Switch that off on the connection, or use a new object after a rollback.
    """

    def __init__(self, statement: str) -> None:
        self._statement = statement.encode()
        self._name = b"ledger_%d" % next(_names)
        self._prepared_on: PGconn | None = None

    def execute(self, connection: psycopg.Connection, parameters: Sequence[bytes]) -> PGresult:
        """Raises what a cursor of psycopg would."""
        pgconn = connection.pgconn
        self.prepare(pgconn)
        result = pgconn.exec_prepared(self._name, parameters, [1] * len(parameters), 1)
        require(pgconn, result)
        return result

    def prepare(self, pgconn: PGconn) -> None:
        """Waits for the database, the first time on each connection."""
        if pgconn is not self._prepared_on:
            require(pgconn, pgconn.prepare(self._name, self._statement))
            self._prepared_on = pgconn

    def send(self, pgconn: PGconn, parameters: Sequence[bytes]) -> None:
        """Without waiting for the answer; what does not fit into the socket is to be flushed."""
        assert pgconn is self._prepared_on, "to prepare it now would be to wait"
        pgconn.send_query_prepared(self._name, parameters, [1] * len(parameters), 1)


class Statement(NamedTuple):
    """A prepared statement and its parameters."""

    prepared: Prepared
    parameters: Sequence[bytes]


def as_integer(value: bytes | None) -> int:
    """A result that is an int8 and not null."""
    assert value is not None
    return int.from_bytes(value, signed=True)


def as_text(value: bytes | None) -> str:
    """A result that is a text and not null."""
    assert value is not None
    return value.decode()


def as_milliseconds(value: bytes | None) -> int:
    """A result that is a timestamp, as milliseconds since 1970."""
    return as_integer(value) // 1000 + _EPOCH_MILLISECONDS


def integer(value: int) -> bytes:
    return _int8(value)


def integers(values: Sequence[int | None]) -> bytes:
    return _array(INT8, [_NULL if value is None else _int8_item(8, value) for value in values])


def small_integers(values: Sequence[int]) -> bytes:
    return _array(INT4, [_int4_item(4, value) for value in values])


def floats(values: Sequence[float]) -> bytes:
    return _array(FLOAT8, [_float8_item(8, value) for value in values])


def dates(values: Sequence[int]) -> bytes:
    """Days since 1970."""
    return _array(DATE, [_int4_item(4, value - _EPOCH_DAYS) for value in values])


def timestamps(values: Sequence[int]) -> bytes:
    """Milliseconds since 1970."""
    epoch = _EPOCH_MILLISECONDS
    return _array(TIMESTAMP, [_int8_item(8, (value - epoch) * 1000) for value in values])


def texts(values: Sequence[str]) -> bytes:
    return byte_strings([value.encode() for value in values], TEXT)


def byte_strings(values: Sequence[bytes], type_id: int = BYTEA) -> bytes:
    items: list[bytes] = []
    for value in values:
        items += (_length(len(value)), value)
    return _array(type_id, items, len(values))


def _array(type_id: int, items: Sequence[bytes], count: int | None = None) -> bytes:
    """One dimension that begins at 1 (array_send in PostgreSQL's source); each item is behind its
    length, and NULL has the length -1."""
    if not items:
        return pack("!iii", 0, 0, type_id)
    count = len(items) if count is None else count
    return pack("!iiiii", 1, int(_NULL in items), type_id, count, 1) + b"".join(items)


def require(pgconn: PGconn, result: PGresult) -> None:
    """Raises what a cursor of psycopg would, where it is not the result of a success."""
    if result.status in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        return
    if result.error_field(DiagnosticField.SQLSTATE) is None:
        # libpq's own word: the connection is lost.
        raise psycopg.OperationalError(pgconn.get_error_message())
    raise psycopg.errors.error_from_result(result, "utf-8")
