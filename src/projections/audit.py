"""Audit a ledger: are its events whole, and is the read model what they say?

Everything is looked at in one snapshot, so a service that goes on writing does not disturb it,
and streamed: the memory that it takes grows by a bit an event.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import psycopg
from psycopg import IsolationLevel

from ledger.database import Database
from ledger.transcoder import EventMapper, event_mapper
from projections import flow_days, tables
from projections.audit_beside import is_worth_a_process, log_checked_beside
from projections.audit_bookings import check_bookings
from projections.audit_log import check_log
from projections.audit_snapshot import Outside, Snapshot
from projections.feed import head
from projections.findings import Finding, Findings, span
from projections.rebuild import Progress

NOTHING_OUTSIDE = Outside()
LOCK_READ_MODEL = 'LOCK TABLE "Booking", "BookingStatusHistory", flow_day IN ACCESS SHARE MODE'
GAPS = """
    SELECT previous, position
    FROM (
        SELECT notification_id AS position,
            lag(notification_id, 1, 0::bigint) OVER (ORDER BY notification_id) AS previous
        FROM ledger_events
    ) AS event
    WHERE position <> previous + 1
    ORDER BY position
"""


@dataclass(frozen=True)
class AuditReport:
    """`position`: up to where the read model is derived, None where there is none of this release;
    events after it are audited, but not compared. `findings` are the first of `findings_count`."""

    events: int
    bookings: int
    head: int
    position: int | None
    findings: tuple[Finding, ...]
    findings_count: int
    seconds: float

    @property
    def sound(self) -> bool:
        return self.findings_count == 0


def audit(
    database: Database, progress: Progress | None = None, outside: Outside = NOTHING_OUTSIDE
) -> AuditReport:
    """Look for everything that is not as the ledger would have written it; change nothing.

    Checkpoints that were kept outside are compared too: a log that was rewritten as a whole
    agrees with itself, but not with them.
    """
    started = time.monotonic()
    findings, mapper = Findings(), event_mapper(database)
    with (
        database.connect() as connection,
        _snapshot(connection, mapper, findings, outside) as snapshot,
    ):
        beside = is_worth_a_process(snapshot)
        with log_checked_beside(database, snapshot) if beside else nullcontext():
            for check in CHECKS:
                if not (beside and check is check_log):
                    check(snapshot, progress)
    return AuditReport(
        snapshot.events,
        snapshot.bookings,
        snapshot.head,
        snapshot.position,
        tuple(findings.kept),
        findings.count,
        time.monotonic() - started,
    )


@contextmanager
def _snapshot(
    connection: psycopg.Connection, mapper: EventMapper, findings: Findings, outside: Outside
) -> Iterator[Snapshot]:
    has_tables = tables.exist(connection)
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    with connection.transaction():
        if has_tables:
            # Before the snapshot is taken by the first query: a rebuild that switched tables
            # after it would leave us with tables whose rows the snapshot cannot see.
            connection.execute(LOCK_READ_MODEL)
        newest = head(connection)
        version, position = (tables.derived(connection) if has_tables else None) or (None, None)
        if version != tables.VERSION:
            position = None
        yield Snapshot(connection, mapper, findings, newest, position, outside, version)


def check_positions(snapshot: Snapshot, progress: Progress | None) -> None:
    """Positions are 1, 2, 3 … without gaps."""
    del progress
    for previous, position in snapshot.stream("positions", GAPS):
        if position <= previous:
            snapshot.findings.add(
                "duplicate_position", f"position {position} is there twice", position=position
            )
            continue
        snapshot.findings.add(
            "missing_position",
            f"missing: {span(previous + 1, position - 1)}",
            position=previous + 1,
        )


def check_read_model(snapshot: Snapshot, progress: Progress | None) -> None:
    """There is a read model, and it is derived from events that are there."""
    del progress
    if snapshot.version not in (None, tables.VERSION):
        detail = str(tables.OtherReadModel(snapshot.version))
        snapshot.findings.add("read_model_version", detail)
    elif snapshot.position is None:
        snapshot.findings.add("read_model_missing", "there is no read model to compare")
    elif snapshot.position > snapshot.head:
        snapshot.findings.add(
            "read_model_ahead",
            f"the read model is derived up to position {snapshot.position}, "
            f"but the newest event is at {snapshot.head}",
            position=snapshot.head + 1,
        )


def check_days(snapshot: Snapshot, progress: Progress | None) -> None:
    """The days are those of the history, if its own rows are as the events give them."""
    del progress
    wrong_rows = ("missing_row", "extra_row", "different_value")
    if snapshot.position is None or any(one.kind in wrong_rows for one in snapshot.findings.kept):
        return
    for day, measure, from_status, to_status, _ in snapshot.stream("days", flow_days.DIFFERENCES):
        what = f"the {measure} from {from_status!r} to {to_status!r} on {day}"
        detail = f'"flow_day": {what} is not as the history gives it'
        snapshot.findings.add("different_value", detail)


Check = Callable[[Snapshot, Progress | None], None]
CHECKS: tuple[Check, ...] = (
    check_positions,
    check_read_model,
    check_log,
    check_bookings,
    check_days,
)
