"""The one door in: every change, wherever it comes from, is a command given to a writer.

A writer takes what has queued, decides each command by itself and commits the events of all
of them, with their idempotency answers, in one transaction (group commit). There is one for
threads and one for an event loop.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime

from ledger.append_connection import RECONNECT_SECONDS
from ledger.batching import Batcher
from ledger.commands import Answer, Command
from ledger.database import Database
from ledger.plan import Idempotency, Request
from ledger.recorder import Recorder, utc_now
from ledger.workflow import Workflow

BATCH_COMMANDS_MAX = 1_000
QUEUE_COMMANDS_MAX = 20_000


class Writer:
    """Records commands from any number of threads through one thread and one connection.

    Several writers, in this process or others, may serve the same ledger. `queue_commands_max`
    bounds what waits; `reconnect_seconds` is how long a lost database is waited for before the
    callers are told.
    """

    def __init__(
        self,
        database: Database,
        workflow: Workflow,
        *,
        clock: Callable[[], datetime] = utc_now,
        queue_commands_max: int = QUEUE_COMMANDS_MAX,
        reconnect_seconds: float = RECONNECT_SECONDS,
    ) -> None:
        self._recorder = Recorder(
            database, workflow, clock=clock, reconnect_seconds=reconnect_seconds
        )
        self._batcher = Batcher(
            "writer",
            self._record,
            batch_size_max=BATCH_COMMANDS_MAX,
            queue_size_max=queue_commands_max,
        )

    def submit(
        self,
        commands: Sequence[Command],
        done: Callable[[list[Answer] | Exception], None],
        idempotency: Idempotency | None = None,
    ) -> None:
        """Queue commands; `done` gets their answers, in order, after they are on disk.

        `done` is called on the writer's thread and must be quick. It gets an exception instead:
        IdempotencyKeyReused, StoreUnavailable (nothing was recorded) or OutcomeUnknown.
        Raises Busy at once when the queue is full or the writer is closed.
        """
        self._batcher.put(Request(commands, idempotency, done))

    def execute(
        self, commands: Sequence[Command], idempotency: Idempotency | None = None
    ) -> list[Answer]:
        """Submit and wait for the answers."""
        future: Future[list[Answer]] = Future()

        def done(result: list[Answer] | Exception) -> None:
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.submit(commands, done, idempotency)
        return future.result()

    @property
    def queued_commands(self) -> int:
        return self._batcher.queued

    def close(self) -> None:
        """Record what was submitted, then stop."""
        self._batcher.close()
        self._recorder.disconnect()

    def _record(self, batch: list[Request]) -> None:
        for request, reply in zip(batch, self._recorder.record(batch), strict=True):
            request.done(reply)
