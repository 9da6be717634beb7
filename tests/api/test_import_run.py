"""A run of an import: chunks are decided on while those before are stored, beside others."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from scenes import ImportedRow, histories, import_row, importing, rows_of

from api.imports.chunks import Chunk
from api.imports.rejects import RejectsFile
from api.imports.run import ImportRun, Summary
from api.imports.stop import StopRequest
from ledger import import_writer
from ledger.database import Database
from ledger.errors import StoreUnavailable
from ledger.import_transaction import ImportTransaction
from ledger.import_writer import ImportWriter, PartlyRecorded
from projections.audit import audit
from projections.catch_up import catch_up


def chunk(*rows: ImportedRow) -> Chunk:
    return Chunk(rows=rows_of(*rows))


def run(writer: ImportWriter, chunks: Iterator[Chunk], rejects: RejectsFile) -> Summary:
    running = ImportRun(writer, rejects)
    with StopRequest() as stop:
        running.run(chunks, stop, lambda _: None)
    return running.summary


@pytest.fixture
def rejects(tmp_path: Any) -> Iterator[RejectsFile]:
    with RejectsFile(tmp_path / "rejects.csv") as file:
        yield file


def overtaking_once(
    monkeypatch: pytest.MonkeyPatch, writer: ImportWriter, other: ImportWriter
) -> None:
    """Somebody else records a row between the first decision and its storing."""
    store = ImportTransaction.store

    def overtaken(self: ImportTransaction, *given: Any) -> None:
        if self is writer._transaction:
            monkeypatch.setattr(ImportTransaction, "store", store)
            other.record(rows_of(import_row("X", "pending", 100)))
        store(self, *given)

    monkeypatch.setattr(ImportTransaction, "store", overtaken)


def test_after_it_was_overtaken_a_run_goes_ahead_again(
    database: Database, monkeypatch: pytest.MonkeyPatch, rejects: RejectsFile
) -> None:
    ahead: list[bool] = []
    with importing(database) as writer, importing(database) as other:
        overtaking_once(monkeypatch, writer, other)

        def chunks() -> Iterator[Chunk]:
            for number in range(8):
                yield chunk(import_row("A", ("pending", "confirmed")[number % 2], number))
                ahead.append(writer._transaction.alone)

        assert run(writer, chunks(), rejects).rows == 8

    assert ahead.count(False) <= 3, ahead
    assert ahead[-4:] == [True] * 4, ahead


@pytest.mark.parametrize(
    "why", [StoreUnavailable("Gone."), psycopg.errors.InsufficientPrivilege("Denied.")]
)
def test_what_was_recorded_of_a_chunk_is_counted_where_the_rest_failed(
    database: Database, monkeypatch: pytest.MonkeyPatch, rejects: RejectsFile, why: Exception
) -> None:
    """Whether it is stored at once, as the last one was not alone, or after it was overtaken."""
    monkeypatch.setattr(import_writer, "ROWS_UNDER_LOCK", 2)
    store, stored = ImportTransaction.store_under_lock, 0

    def fails_later(self: ImportTransaction, *given: Any) -> None:
        nonlocal stored
        stored += 1
        if stored in (2, 4):
            raise why
        store(self, *given)

    def chunks(*rooms: str) -> Iterator[Chunk]:
        yield chunk(*(import_row(room, "pending", 1) for room in rooms))

    with importing(database, reconnect_seconds=0) as writer, importing(database) as other:
        overtaking_once(monkeypatch, writer, other)
        monkeypatch.setattr(ImportTransaction, "store_under_lock", fails_later)
        for rooms, overtaken in (("ABC", True), ("DEF", False)):
            running = ImportRun(writer, rejects)
            writer._transaction.alone = overtaken
            with StopRequest() as stop, pytest.raises(type(why)) as raised:
                running.run(chunks(*rooms), stop, lambda _: None)
            # Given up for it, or itself: the root is not hidden by where it was counted.
            assert why in (raised.value, raised.value.__cause__)
            assert not isinstance(raised.value.__cause__, PartlyRecorded)
            assert (running.summary.rows, running.summary.taken.opened) == (2, 2)
            assert not running.summary.complete
    assert stored == 4


def test_nothing_is_decided_on_rows_that_are_still_to_be_decided_on(
    database: Database,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    rejects: RejectsFile,
) -> None:
    """Even where another import appends just as many events as the next chunk has."""
    decide = ImportTransaction.decide_under_lock
    with importing(database) as writer, importing(database) as other:
        overtaking_once(monkeypatch, writer, other)

        def as_many(self: ImportTransaction, own: psycopg.Connection, rows: Any) -> Any:
            if self is writer._transaction and rows.booking_ids == ["C"]:
                monkeypatch.setattr(ImportTransaction, "decide_under_lock", decide)
                other.record(rows_of(import_row("Y", "pending", 101)))
            return decide(self, own, rows)

        monkeypatch.setattr(ImportTransaction, "decide_under_lock", as_many)
        summary = run(
            writer,
            iter(
                [
                    chunk(import_row("A", "pending", 1)),
                    chunk(import_row("A", "confirmed", 2)),
                    chunk(import_row("C", "pending", 3, changed_by="anna")),
                    chunk(import_row("C", "confirmed", 4, changed_by="anna")),
                ]
            ),
            rejects,
        )

    assert (summary.rows, summary.complete) == (4, True)
    assert histories(connection)["C"] == ["pending", "confirmed"]
    catch_up(database)
    assert audit(database).sound
