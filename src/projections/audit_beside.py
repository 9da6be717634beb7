"""The log of an audit, checked by a process of its own while another checks the bookings."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from os import cpu_count

from psycopg import IsolationLevel
from psycopg.sql import SQL, Literal

from ledger.database import Database
from ledger.errors import LedgerError
from projections.audit_log import check_log
from projections.audit_snapshot import Outside, Snapshot
from projections.findings import Findings

BESIDE_FROM_EVENTS = 50_000
"""For less, another process takes longer to start than it saves."""

EXPORT = "SELECT pg_export_snapshot()"


class AuditFailed(LedgerError):
    """The audit could not be done"""


def is_worth_a_process(snapshot: Snapshot) -> bool:
    return snapshot.head >= BESIDE_FROM_EVENTS and (cpu_count() or 1) > 1


@contextmanager
def log_checked_beside(database: Database, snapshot: Snapshot) -> Iterator[None]:
    """What is found is added at the end. Raises AuditFailed where the process has failed.

    It sees what we see, as long as our transaction is open, and ends with us.
    """
    exported = snapshot.row(EXPORT, ())
    assert exported is not None
    # It opens nothing that is sealed, so it is not given the key.
    how = replace(database, master_key=None), str(exported[0]), snapshot.head, snapshot.outside
    spawn = get_context("spawn")
    receiving, sending = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_check, args=(*how, sending), daemon=True)
    process.start()
    sending.close()
    try:
        yield
        try:
            found: Findings = receiving.recv()
        except EOFError:
            process.join()
            raise AuditFailed(
                f"The process that checks the log has ended (exit code {process.exitcode})."
            ) from None
        snapshot.findings.add_all(found)
    finally:
        process.kill()  # it reads and no more
        process.join()
        process.close()
        receiving.close()


def _check(
    database: Database, exported: str, head: int, outside: Outside, sending: Connection
) -> None:
    # Terminals signal the whole group; our parent ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    findings = Findings()
    with database.connect() as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            connection.execute(SQL("SET TRANSACTION SNAPSHOT {}").format(Literal(exported)))
            check_log(Snapshot(connection, None, findings, head, None, outside), None)
    sending.send(findings)
