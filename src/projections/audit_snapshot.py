"""What the checks of an audit share."""

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.errors import DataError
from psycopg.types.datetime import TimestampBinaryLoader

from projections.findings import Findings

FETCH_ROWS = 2_000


class Snapshot:
    """One unchanging sight of a ledger. Checks read it, add to `findings` and count."""

    def __init__(
        self,
        connection: psycopg.Connection,
        findings: Findings,
        head: int,
        position: int | None,
    ) -> None:
        self._connection = connection
        self.findings = findings
        self.head = head
        self.position = position
        self.events = 0
        self.bookings = 0

    def stream(self, name: str, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, a few at a time. Several streams can be read side by side."""
        with self._connection.cursor(name) as cursor:
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
