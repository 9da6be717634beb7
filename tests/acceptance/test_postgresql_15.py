"""The oldest PostgreSQL that is supported, from Debian, does all that the newest does."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.support.master_key import MASTER_KEY

from ledger.booking import Change
from ledger.commands import ChangeStatus, OpenBooking, Outcome
from ledger.database import Database
from ledger.schema import migrate
from ledger.workflow import DEFAULT
from ledger.writer import Writer
from projections.audit import audit
from projections.rebuild import rebuild
from projections.runner import Projector, ensure

BINARIES = Path("/usr/lib/postgresql/15/bin")

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not BINARIES.exists(), reason="Debian's postgresql-15 is not installed"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server on a socket of its own; as root it runs as Debian's user postgres."""
    folder = Path(tempfile.mkdtemp(prefix="pg15-"))
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user, user)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [BINARIES / program, "-D", folder / "data", *arguments],
            check=True,
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    run("initdb", "--username=postgres", "--encoding=UTF8", "--auth=trust")
    run("pg_ctl", "-w", "-l", "log", "-o", f"-c listen_addresses= -k {folder}", "start")
    try:
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def change(status: str) -> Change:
    return Change(status=status, actor="system", source="test")


def test_record_project_rebuild_audit_and_refuse_to_forget(url: str) -> None:
    database = Database(url, master_key=MASTER_KEY)
    migrate(database)
    ensure(database)
    writer = Writer(database, DEFAULT)
    many = [OpenBooking(f"b{number}", change("pending")) for number in range(300)]
    answers = [
        *writer.execute(many),
        *writer.execute([ChangeStatus("b7", change("confirmed"))]),
    ]
    writer.close()
    with database.connect() as connection:
        while Projector(database).project(connection):
            pass
        select = 'SELECT * FROM "BookingStatusHistory" ORDER BY position'
        before = connection.execute(select).fetchall()
        report = rebuild(database)
        after = connection.execute(select).fetchall()
        for statement in (
            "UPDATE ledger_events SET topic = 'x'",
            "DELETE FROM ledger_events",
            "TRUNCATE ledger_events",
        ):
            with pytest.raises(psycopg.errors.RestrictViolation):
                connection.execute(statement)

    assert [answer.position for answer in answers if isinstance(answer, Outcome)] == [
        *range(1, 302)
    ]
    assert report.events == len(before) == 301
    assert after == before
    assert audit(database).sound
