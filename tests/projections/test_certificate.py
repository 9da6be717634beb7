"""Certificates of the read model: what they say, and what an audit says of them."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import change_status, open_booking, record

from ledger.commands import DecideOnPersonalData
from ledger.database import Database
from ledger.master_key import MasterKey
from ledger.personal_data import Decision
from projections import tables
from projections.audit import AuditReport, audit
from projections.audit_snapshot import Outside
from projections.catch_up import catch_up
from projections.certificate import Certificate, Digest, certify, parse_certificate
from projections.log import signing_keys
from projections.log.checkpoints import parse_checkpoint
from projections.log.notes import BadNote, Signer, Verifier
from projections.rebuild import rebuild
from projections.rows import HistoryRow

ORIGIN = "ledger.example/certified"
MASTER = MasterKey(b"m" * 32)
SAID: dict[str, Any] = {"changed_by": "Zoë", "reason": "ill", "metadata": {"b": 1, "a": "ü"}}


@pytest.fixture
def ledger(database: Database) -> Database:
    record(
        database,
        open_booking("room-12", **SAID),
        open_booking("Room 3"),
        change_status("room-12", "confirmed", reason="paid"),
    )
    catch_up(database)
    signing_keys.ensure(database, MASTER, ORIGIN)
    return database


@pytest.fixture
def certificate(ledger: Database, connection: psycopg.Connection) -> Certificate:
    return certify(connection, ORIGIN, signing_keys.signers(connection, MASTER, ORIGIN))


def audited(
    database: Database, certificate: Certificate, known: Sequence[Verifier] = ()
) -> AuditReport:
    return audit(database, outside=Outside((), known, [("file", certificate)]))


def kinds(report: AuditReport) -> list[str]:
    return [one.kind for one in report.findings]


def erase(database: Database, booking_id: str) -> None:
    decision = Decision(verdict="erase", reason="r", decided_by=None, actor="system", source="t")
    record(database, DecideOnPersonalData(booking_id, decision))


def test_it_says_what_the_document_says(
    certificate: Certificate, connection: psycopg.Connection
) -> None:
    """Computed here from the table, by docs/log.md."""
    rows = connection.execute(
        'SELECT id, "bookingId", "fromStatus", "toStatus", version, position, "recordedAt", actor,'
        ' source, "claimedFromStatus", "createdAt", "changedBy", reason, metadata'
        ' FROM "BookingStatusHistory" ORDER BY "bookingId" COLLATE "C", version'
    ).fetchall()
    lasting, personal = hashlib.sha256(), hashlib.sha256()
    for row in rows:
        lasting.update(_line(row[:11]))
        if any(value is not None for value in row[11:]):
            metadata = None if row[13] is None else json.loads(row[13])
            personal.update(_line((row[0], row[11], row[12], metadata)))

    assert (certificate.position, certificate.rows, len(rows)) == (3, 3, 3)
    assert certificate.lasting == lasting.digest()
    assert certificate.personal == personal.digest()
    assert parse_certificate(str(certificate.note)) == certificate


def _line(values: Sequence[Any]) -> bytes:
    told = [_time(value) if isinstance(value, datetime) else value for value in values]
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return f"{text}\n".encode()


def _time(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z"


def test_it_holds_when_the_ledger_has_grown_and_after_a_rebuild(
    ledger: Database, certificate: Certificate
) -> None:
    assert kinds(audited(ledger, certificate)) == []
    record(ledger, change_status("room-12", "cancelled", **SAID), open_booking("aaa"))
    rebuild(ledger)

    assert kinds(audited(ledger, certificate)) == []


def test_an_erasure_since_leaves_what_lasts(ledger: Database, certificate: Certificate) -> None:
    erase(ledger, "room-12")
    catch_up(ledger)

    assert kinds(audited(ledger, certificate)) == []


def test_one_made_after_an_erasure_holds_for_all(
    ledger: Database, connection: psycopg.Connection
) -> None:
    erase(ledger, "room-12")
    catch_up(ledger)
    made = certify(connection, ORIGIN, signing_keys.signers(connection, MASTER, ORIGIN))

    assert made.personal == hashlib.sha256().digest()
    assert kinds(audited(ledger, made)) == []


@pytest.mark.parametrize(
    "forgery",
    [
        """UPDATE "BookingStatusHistory" SET "toStatus" = 'cancelled' WHERE position = 3""",
        """UPDATE "BookingStatusHistory" SET reason = 'bribed' WHERE position = 3""",
        """UPDATE "BookingStatusHistory" SET "createdAt" = "createdAt" + interval '1 ms'""",
        """DELETE FROM "BookingStatusHistory" WHERE position = 2""",
    ],
)
def test_a_forged_table_that_was_certified_is_found_even_when_it_is_mended(
    ledger: Database, connection: psycopg.Connection, forgery: str
) -> None:
    connection.execute(forgery.encode())
    made = certify(connection, ORIGIN, signing_keys.signers(connection, MASTER, ORIGIN))
    rebuild(ledger)

    assert kinds(audited(ledger, made)) == ["wrong_certificate"]


def test_one_that_no_known_key_signed_proves_nothing(
    ledger: Database, certificate: Certificate
) -> None:
    stranger = Signer(ORIGIN, b"s" * 32)
    assert kinds(audited(ledger, certificate, [stranger.verifier])) == ["bad_signature"]
    altered = parse_certificate(str(certificate.note).replace("rows 3", "rows 4"))
    assert kinds(audited(ledger, altered)) == ["bad_signature"]


def test_rows_of_another_release_are_not_signed(
    ledger: Database, connection: psycopg.Connection
) -> None:
    connection.execute("UPDATE projection SET version = 4 WHERE name = 'status_history'")
    with pytest.raises(tables.OtherReadModel, match="version 4, made by an older release"):
        certify(connection, ORIGIN, signing_keys.signers(connection, MASTER, ORIGIN))


def test_one_of_rows_of_another_release_is_said_to_be_so(
    ledger: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(tables, "VERSION", 4)
        connection.execute("UPDATE projection SET version = 4 WHERE name = 'status_history'")
        made = certify(connection, ORIGIN, signing_keys.signers(connection, MASTER, ORIGIN))
    rebuild(ledger)

    assert kinds(audited(ledger, made)) == ["other_certificate_version"]


def test_neither_passes_for_the_other(certificate: Certificate) -> None:
    with pytest.raises(BadNote):
        parse_checkpoint(str(certificate.note))
    with pytest.raises(BadNote):
        parse_certificate("origin\n3\n" + "A" * 43 + "=\n\n\u2014 origin AAAAAAAA\n")


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))  # noqa: DTZ001  # as in the tables


@given(
    texts=st.lists(TEXT | st.just('\x1f\x7f"\\/\u2028'), min_size=6, max_size=6),
    numbers=st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 2**63 - 1)),
    times=st.tuples(TIMES, TIMES),
    from_status=TEXT | st.none(),
    metadata=st.dictionaries(TEXT, st.floats(allow_nan=False) | st.integers() | TEXT | st.none()),
)
def test_lines_are_json_as_any_other_program_writes_it(
    texts: list[str],
    numbers: tuple[int, int],
    times: tuple[datetime, datetime],
    from_status: str | None,
    metadata: dict[str, Any],
) -> None:
    """Byte for byte as Python's own `json` does: certificates are kept for ever."""
    id_, booking, to_status, reason, actor, source = texts
    created, recorded = (one.replace(microsecond=one.microsecond // 1000 * 1000) for one in times)
    said = (None, reason, json.dumps(metadata))
    row = HistoryRow(
        *(id_, booking, from_status, to_status, *said, created, *numbers, recorded),
        *(actor, source, None, False),
    )
    digest = Digest()
    digest.add(row)

    shown = [f"{one.isoformat(timespec='milliseconds')}Z" for one in (recorded, created)]
    lasting = [id_, booking, from_status, to_status, *numbers, shown[0]]
    assert digest.lasting == sha256_of_line([*lasting, actor, source, None, shown[1]])
    assert digest.personal == sha256_of_line([id_, None, reason, metadata])


def sha256_of_line(values: list[Any]) -> bytes:
    line = json.dumps(values, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(line.encode() + b"\n").digest()
