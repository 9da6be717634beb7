"""Work that asks the database in between: the same for a thread that waits for the answers and
for an event loop that does not."""

import asyncio
import select
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.pq.abc import PGresult

from ledger.prepared import Statement, require

ResultT = TypeVar("ResultT")

Steps = Generator[Statement, PGresult, ResultT]
"""Yields statements and is sent their results, or what they raise is thrown at it."""


def run(connection: psycopg.Connection, steps: Steps[ResultT]) -> ResultT:
    """Wait for each answer."""
    try:
        prepared, parameters = next(steps)
        while True:
            try:
                result = prepared.execute(connection, parameters)
            except psycopg.Error as error:
                prepared, parameters = steps.throw(error)
            else:
                prepared, parameters = steps.send(result)
    except StopIteration as end:
        value: ResultT = end.value
        return value


class Watch(Generic[ResultT]):
    """Runs steps on a connection whose answers an event loop waits for, one after the other.

    Nobody else may use the connection before `end`. `lost` is called where it is lost while
    nothing is run; otherwise the steps are told.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        loop: asyncio.AbstractEventLoop,
        lost: Callable[[], None],
    ) -> None:
        self._pgconn = connection.pgconn
        self._socket = connection.pgconn.socket
        self._broken = select.poll()
        self._broken.register(self._socket, 0)
        self._loop = loop
        self._lost = lost
        self._steps: Steps[ResultT] | None = None
        self._result: PGresult | None = None
        self._done: Callable[[ResultT | Exception], None] | None = None
        loop.add_reader(self._socket, self._readable)

    def run(self, steps: Steps[ResultT], done: Callable[[ResultT | Exception], None]) -> None:
        """`done` is called with what the steps return or raise; perhaps at once."""
        self._steps, self._done = steps, done
        self._go_on(next, steps)

    def end(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)

    def _go_on(self, step: Callable[..., Statement], *given: Any) -> None:
        result: ResultT | Exception
        try:
            prepared, parameters = step(*given)
            self._result = None
            prepared.send(self._pgconn, parameters)
            if self._pgconn.flush():
                self._loop.add_writer(self._socket, self._writable)
        except StopIteration as end:
            result = end.value
        except Exception as error:  # noqa: BLE001  # for whoever runs the steps
            result = error
        else:
            return
        # Not from within the handling: what fails later would have the result in its chain, and
        # show it to whoever logs it.
        try:
            self._end_with(result)
        finally:
            # An error knows this frame and those that called it, which must not know the error:
            # until somebody looks for such circles, all that was asked would stay in memory.
            del result, given

    def _end_with(self, result: ResultT | Exception) -> None:
        # Nothing of it may stay while nobody comes: it may be erased meanwhile.
        done, self._done, self._steps, self._result = self._done, None, None, None
        assert done is not None
        done(result)

    def _writable(self) -> None:
        try:
            if self._pgconn.flush() == 0:
                self._loop.remove_writer(self._socket)
        except psycopg.OperationalError as error:
            self._fail(error)

    def _readable(self) -> None:
        if self._broken.poll(0):
            # uvloop calls once where a connection is reset, and never again; libpq would read
            # what came before that, and wait. Whatever has come is found out about otherwise.
            self._fail(psycopg.OperationalError("the connection to the database was closed"))
            return
        try:
            self._pgconn.consume_input()
            while self._steps is not None and not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    self._answered()
                    return
                self._result = result
        except psycopg.OperationalError as error:
            self._fail(error)

    def _answered(self) -> None:
        # The last result counts: where the commit is refused, it follows one that looks well.
        assert self._steps is not None
        result = self._result
        step: Callable[..., Statement] = self._steps.send
        given: PGresult | psycopg.Error | None = result
        try:
            if result is None:
                raise psycopg.OperationalError(self._pgconn.get_error_message())
            require(self._pgconn, result)
        except psycopg.Error as error:
            step, given = self._steps.throw, error
        try:
            self._go_on(step, given)
        finally:
            del given  # see `_go_on`

    def _fail(self, error: Exception) -> None:
        """The connection is lost."""
        self.end()
        try:
            if self._steps is None:
                self._lost()
            else:
                self._go_on(self._steps.throw, error)
        finally:
            del error  # see `_go_on`
