"""What every subject is given: sizes, a database server, the load generator, and processes."""

import base64
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from api.embedded import embedded_postgres
from benchmarks.database import Databases, library_environment
from benchmarks.load import LoadGenerator
from benchmarks.processes import Server, python
from benchmarks.sizes import Size
from ledger.database import Database
from ledger.workflow import Workflow, read_workflow

MASTER_KEY_TEXT = base64.b64encode(b"m" * 32).decode()
"""Servers of one database are started in several directories, and must share it."""
ADMIN_KEY = "benchmark-key-0123456789"
COMMAND = str(Path(sys.executable).with_name("booking-ledger"))
WORKFLOW = Path(__file__).with_name("workflow.toml")
SETTLE_SECONDS = 1_200.0
"""The log of ten million events is made when their service first starts."""


@dataclass
class Context:
    """`packages_python` is the interpreter with the other packages, None without them."""

    size: Size
    directory: Path
    databases: Databases
    load: LoadGenerator
    packages_python: Path | None = None
    samples: dict[str, Any] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def workflow(self) -> Workflow:
        return read_workflow(WORKFLOW)

    def rounds(self, what: str, count: int | None = None) -> Iterator[int]:
        count = count or self.size.rounds
        for number in range(count):
            print(f"  {what}: round {number + 1} of {count}", file=sys.stderr)
            yield number

    def keep(self, name: str, value: Any) -> None:
        """Keep what rows are made from, for the JSON file."""
        self.samples[name] = json.loads(json.dumps(value))

    def new_directory(self) -> Path:
        directory = self.directory / f"work-{next(self._numbers)}"
        directory.mkdir(mode=0o711)
        return directory

    @contextmanager
    def ours(self, database: Database, *options: str) -> Iterator[Server]:
        """`booking-ledger serve` as users start it, its projector running."""
        command = [COMMAND, "serve", "--port", "0", "--workflow", str(WORKFLOW), *options]
        settings = {
            "LEDGER_ADMIN_KEY": ADMIN_KEY,
            "LEDGER_MASTER_KEY": MASTER_KEY_TEXT,
            "LEDGER_DATABASE_URL": database.url,
        }
        with closing(Server(command, self.new_directory(), settings)) as server:
            yield server

    def constant(self) -> AbstractContextManager[Server]:
        return self._server("constant")

    def raw(self) -> AbstractContextManager[Server]:
        return self._server("raw")

    def least(self) -> AbstractContextManager[Server]:
        return self._server("least", {"BENCHMARK_DATABASE_URL": self.databases.create()})

    def inserting(self) -> AbstractContextManager[Server]:
        return self._server("inserting", {"BENCHMARK_DATABASE_URL": self.databases.create()})

    def plain_eventsourcing(self) -> AbstractContextManager[Server]:
        return self._server("plain_eventsourcing", library_environment(self.databases.create()))

    def _server(
        self, name: str, settings: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Server]:
        """One of `benchmarks.servers`."""
        command = python(f"benchmarks.servers.{name}")
        return closing(Server(command, self.new_directory(), settings))


@contextmanager
def open_context(size: Size, packages_python: Path | None) -> Iterator[Context]:
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="booking-ledger-benchmark-"))
        directory = Path(name)
        directory.chmod(0o711)  # as root, the database runs as another user
        url = stack.enter_context(embedded_postgres(directory / "data"))
        load = stack.enter_context(closing(LoadGenerator(directory)))
        yield Context(size, directory, Databases(url), load, packages_python)


def settle(database: Database, head: int | None = None) -> None:
    """Wait until the projector has what there is, so that its work is not in the next figure."""
    deadline = time.monotonic() + SETTLE_SECONDS
    with database.connect() as connection:
        while time.monotonic() < deadline:
            row = connection.execute(
                "SELECT min(position), (SELECT coalesce(max(notification_id), 0)"
                " FROM ledger_events) FROM projection"
            ).fetchone()
            if row is not None and row[0] >= (row[1] if head is None else head):
                return
            time.sleep(0.02)
    raise RuntimeError("the projector did not catch up")


def head(database: Database) -> int:
    with database.connect() as connection:
        return scalar(connection, "SELECT coalesce(max(notification_id), 0) FROM ledger_events")


def scalar(connection: psycopg.Connection, statement: str, given: Sequence[Any] = ()) -> int:
    row = connection.execute(statement, given).fetchone()
    assert row is not None
    return int(row[0])
