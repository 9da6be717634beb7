"""What the checks of an audit share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.errors import DataError
from psycopg.types.datetime import TimestampBinaryLoader

from ledger.transcoder import EventMapper
from projections.certificate import Certificate
from projections.findings import Findings
from projections.log.checkpoints import Checkpoint
from projections.log.notes import Verifier

FETCH_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Outside:
    """Checkpoints and certificates that were kept elsewhere, with the names of their files.

    `known` are the keys that are believed of them; if there are none, those of the ledger.
    """

    checkpoints: Sequence[tuple[str, Checkpoint]] = ()
    known: Sequence[Verifier] = ()
    certificates: Sequence[tuple[str, Certificate]] = ()


class Snapshot:
    """One unchanging sight of a ledger. Checks read it, add to `findings` and count."""

    def __init__(
        self,
        connection: psycopg.Connection,
        mapper: EventMapper | None,
        findings: Findings,
        head: int,
        position: int | None,
        outside: Outside,
        version: int | None = None,
    ) -> None:
        """`mapper` is for checks that open what is sealed; `version` is that of the read model,
        which has a `position` only where it can be compared."""
        self.connection = connection
        self._mapper = mapper
        self.findings = findings
        self.head = head
        self.position = position
        self.outside = outside
        self.version = version
        self.events = 0
        self.bookings = 0

    @property
    def mapper(self) -> EventMapper:
        assert self._mapper is not None
        return self._mapper

    def row(self, query: str, values: Sequence[object]) -> tuple[Any, ...] | None:
        return self.connection.execute(query, values).fetchone()

    def stream(self, name: str, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, a few at a time. Several streams can be read side by side."""
        with self.connection.cursor(name) as cursor:
            cursor.adapters.register_loader("timestamp", _AnyTimestampLoader)
            cursor.itersize = FETCH_ROWS
            cursor.execute(query, binary=True)
            yield from cursor


class _AnyTimestampLoader(TimestampBinaryLoader):
    """Times that Python has no value for, such as infinity, equal nothing and stop nothing."""

    def load(self, data: Any) -> Any:
        try:
            return super().load(data)
        except DataError as error:
            return str(error)
