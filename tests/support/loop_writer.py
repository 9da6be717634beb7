"""The writer of an event loop, called from threads as the other writer is."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from loop_thread import LoopThread

from ledger.async_writer import AsyncWriter
from ledger.commands import Answer, Command
from ledger.database import Database
from ledger.errors import Busy
from ledger.plan import Idempotency
from ledger.recorder import Recorder
from ledger.workflow import Workflow


class LoopWriter:
    """Runs an AsyncWriter in a thread of its own, on the event loop that the service has."""

    def __init__(self, database: Database, workflow: Workflow, **options: Any) -> None:
        self._loop = LoopThread()
        self._writer = AsyncWriter(database, workflow, **options)
        self._asking: set[asyncio.Task[None]] = set()

    @property
    def _recorder(self) -> Recorder:
        return self._writer._recorder

    @property
    def queued_commands(self) -> int:
        return self._writer.queued_commands

    def submit(
        self,
        commands: Sequence[Command],
        done: Callable[[list[Answer] | Exception], None],
        idempotency: Idempotency | None = None,
    ) -> None:
        self._loop.run(self._submit(commands, done, idempotency))

    def execute(
        self, commands: Sequence[Command], idempotency: Idempotency | None = None
    ) -> list[Answer]:
        return self._loop.run(self._writer.record(commands, idempotency))

    def close(self) -> None:
        if self._loop.is_closed:
            return
        self._loop.run(self._writer.close())
        self._loop.close()

    async def _submit(
        self,
        commands: Sequence[Command],
        done: Callable[[list[Answer] | Exception], None],
        idempotency: Idempotency | None,
    ) -> None:
        refused: list[Busy] = []

        async def ask() -> None:
            result: list[Answer] | Exception
            try:
                result = await self._writer.record(commands, idempotency)
            except Busy as error:
                refused.append(error)
                return
            except Exception as error:  # noqa: BLE001  # as the other writer hands it over
                result = error
            done(result)

        task = asyncio.create_task(ask())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        await asyncio.sleep(0)  # it is refused at once or not at all
        if refused:
            raise refused[0]
