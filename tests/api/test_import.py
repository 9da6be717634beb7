"""Import: every row is taken once, in order, or rejected with its line and the reason."""

import csv
import gzip
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result
from cutting_proxy import CuttingProxy
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.cli import main
from api.imports import fingerprints
from api.imports import reading as import_reading
from api.imports.chunks import CHUNK_ROWS
from api.imports.reading import SMALL_BYTES
from api.imports.rows import RowReader
from api.imports.times import utc_time
from api.models import ChangeBody
from ledger.database import Database
from ledger.errors import InvalidField
from ledger.import_writer import ImportWriter
from ledger.imported_rows import ImportedRows
from ledger.transcoder import event_mapper
from ledger.workflow import DEFAULT
from projections.audit import audit
from projections.feed import events_after
from projections.rows import history_row

HEADER = "bookingId,fromStatus,toStatus,changedBy,reason,metadata,createdAt"
PENDING = "A,,pending,anna,asked,,2026-01-01T10:00:00Z"
CONFIRMED = "A,pending,confirmed,,,,2026-01-02T10:00:00Z"
CANCELLED = "A,confirmed,cancelled,,,,2026-01-03T10:00:00Z"

Import = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(database: Database, *arguments: str, **options: Any) -> Result:
    command = ["import", "--database-url", database.url, *arguments]
    return CliRunner().invoke(main, command, **options)


@pytest.fixture
def imported(database: Database) -> Import:
    """Import lines of text and give the summary."""

    def run_import(
        lines: Sequence[str] | bytes, *options: str, name: str = "history.csv", exit_code: int = 0
    ) -> dict[str, Any]:
        content = lines if isinstance(lines, bytes) else "\n".join(lines).encode()
        Path(name).write_bytes(content)
        result = run(database, name, "--json", *options)
        assert result.exit_code == exit_code, result.output
        summary = json.loads(result.stdout)
        assert summary["rows"] == sum(
            summary[kind] for kind in ("opened", "changed", "unchanged", "known", "rejected")
        )
        return dict(summary)

    return run_import


def history(database: Database) -> list[tuple[Any, ...]]:
    """All that was recorded, without what differs from run to run."""
    with database.connect() as connection:
        events = events_after(connection, event_mapper(database), 0, 1_000_000)
    return [history_row(event)._replace(recordedAt=None) for event in events]  # type: ignore[arg-type]


def statuses(database: Database) -> list[tuple[str, str | None, str]]:
    return [(row[1], row[2], row[3]) for row in history(database)]


def rejects(name: str = "history.csv.rejects.csv") -> list[tuple[int, str, str]]:
    limit = csv.field_size_limit(1_000_000)
    with Path(name).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        header, *rejected = csv.reader(file)
    csv.field_size_limit(limit)
    assert header == ["line", "reason", "row"]
    return [(int(line), reason, row) for line, reason, row in rejected]


class TestWhatIsTaken:
    def test_a_row_is_recorded_with_all_that_it_says(
        self, database: Database, imported: Import
    ) -> None:
        row = 'B 1,,pending,"anna, desk","two\nlines","{""b"": 1, ""a"": [null]}",'
        imported([HEADER, row + "2026-01-01T12:00:00.123456+02:00"])
        (entry,) = history(database)
        assert entry[1:8] == (
            "B 1",
            None,
            "pending",
            "anna, desk",
            "two\nlines",
            '{"b":1,"a":[null]}',
            datetime(2026, 1, 1, 10, 0, 0, 123000),  # noqa: DTZ001
        )
        assert entry[11:] == ("import", "import:history.csv", None, False)

    def test_the_counts_are_those_of_the_rows(self, imported: Import) -> None:
        again = "A,pending,pending,,,,2026-01-01T11:00:00Z"
        summary = imported([HEADER, PENDING, again, CONFIRMED])
        kinds = ("rows", "opened", "changed", "unchanged", "known", "disputed", "rejected")
        assert [summary[kind] for kind in kinds] == [3, 1, 1, 1, 0, 0, 0]
        assert (summary["position"], summary["complete"]) == (2, True)
        assert summary["rejectsFile"] is None

    def test_the_read_model_has_it_too(self, database: Database, imported: Import) -> None:
        imported([HEADER, PENDING, CONFIRMED])
        report = audit(database)
        assert report.sound
        assert report.position == 2

    def test_columns_may_have_any_order_and_optional_ones_may_be_missing(
        self, database: Database, imported: Import
    ) -> None:
        imported(["createdAt,toStatus,bookingId", "2026-01-01T10:00:00Z,pending,A"])
        assert statuses(database) == [("A", None, "pending")]

    def test_the_past_is_not_held_to_the_transitions(
        self, database: Database, imported: Import
    ) -> None:
        imported([HEADER, "A,,cancelled,,,,2026-01-01T10:00:00Z", PENDING])
        assert statuses(database) == [("A", None, "cancelled"), ("A", "cancelled", "pending")]

    def test_order_within_a_booking_is_the_files_and_not_the_times(
        self, database: Database, imported: Import
    ) -> None:
        imported([HEADER, PENDING, "A,,confirmed,,,,2020-01-01T00:00:00Z"])
        assert statuses(database) == [("A", None, "pending"), ("A", "pending", "confirmed")]

    def test_a_disputed_from_status_is_kept_beside_the_true_one(
        self, database: Database, imported: Import
    ) -> None:
        summary = imported([HEADER, PENDING, CANCELLED, "B,lost,pending,,,,2026-01-01T10:00:00Z"])
        assert summary["disputed"] == 2
        assert [(entry[2], entry[13]) for entry in history(database)] == [
            (None, None),
            ("pending", "confirmed"),
            (None, "lost"),
        ]

    def test_csv_ndjson_and_gzip_say_the_same(self, database: Database, imported: Import) -> None:
        document = {
            "bookingId": "A",
            "fromStatus": None,
            "toStatus": "pending",
            "changedBy": "anna",
            "reason": "",
            "metadata": {"b": 1.5, "a": "ü"},
            "createdAt": "2026-01-01T10:00:00Z",
        }
        as_text = {**document, "metadata": json.dumps(document["metadata"])}
        row = 'A,,pending,anna,,"{""a"":""ü"",""b"":1.5}",2026-01-01T12:00:00+02:00'
        crlf = f"\ufeff{HEADER}\r\n{row}\r\n".encode()
        assert imported(crlf)["opened"] == 1
        for name, content in {
            "history.ndjson": json.dumps(document).encode(),
            "history.jsonl": b"\xef\xbb\xbf\n" + json.dumps(as_text).encode() + b"\n\n",
            "history.csv.gz": gzip.compress(crlf),
            "history.ndjson.gz": gzip.compress(json.dumps(document).encode()),
        }.items():
            assert imported(content, name=name)["known"] == 1, name
        assert len(history(database)) == 1

    def test_standard_input_needs_a_format_and_is_its_own_source(self, database: Database) -> None:
        assert run(database, "-", input="").exit_code == 2
        text = f"{HEADER}\n{PENDING}\n"
        result = run(database, "-", "--format", "csv", input=text)
        assert result.exit_code == 0
        assert history(database)[0][12] == "import:stdin"

    def test_a_source_can_be_named_and_is_no_part_of_a_rows_identity(
        self, database: Database, imported: Import
    ) -> None:
        imported([HEADER, PENDING], "--source", "old system")
        assert imported([HEADER, PENDING], "--source", "another")["known"] == 1
        assert history(database)[0][12] == "import:old system"

    def test_the_summary_for_people_names_every_count(self, database: Database) -> None:
        Path("history.csv").write_text(f"{HEADER}\n{PENDING}\n")
        result = run(database, "history.csv")
        for name in ("rows", "opened", "already known", "disputed", "rejected", "rows/s"):
            assert name in result.stdout
        assert result.stderr == ""


class TestImportedAgain:
    def test_the_same_file_writes_nothing(self, database: Database, imported: Import) -> None:
        lines = [HEADER, PENDING, CONFIRMED]
        imported(lines)
        before = history(database)
        assert imported(lines, name="renamed.csv")["known"] == 2
        assert history(database) == before

    def test_a_file_that_has_grown_writes_what_is_new(
        self, database: Database, imported: Import
    ) -> None:
        imported([HEADER, PENDING])
        summary = imported([HEADER, PENDING, CONFIRMED])
        assert (summary["known"], summary["changed"]) == (1, 1)
        assert len(history(database)) == 2

    def test_a_file_that_overlaps_writes_what_is_new(
        self, database: Database, imported: Import
    ) -> None:
        imported([HEADER, PENDING, CONFIRMED])
        summary = imported([HEADER, CONFIRMED, CANCELLED])
        assert (summary["known"], summary["changed"]) == (1, 1)
        assert len(history(database)) == 3

    def test_identical_rows_in_one_file_count_each(
        self, database: Database, imported: Import
    ) -> None:
        there = "A,,confirmed,,,,2026-01-01T10:00:00Z"
        back = "A,,pending,,,,2026-01-01T10:00:00Z"
        lines = [HEADER, there, back, there]
        assert imported(lines)["changed"] == 2
        assert imported(lines)["known"] == 3
        assert imported([HEADER, there, back])["known"] == 2
        assert [status for _, _, status in statuses(database)] == [
            "confirmed",
            "pending",
            "confirmed",
        ]

    def test_rejected_rows_are_taken_once_they_can_be(
        self, database: Database, imported: Import
    ) -> None:
        assert imported([HEADER, "A,,Booked,,,,2026-01-01T10:00:00Z"], exit_code=3)["rejected"] == 1
        Path("workflow.toml").write_text('name = "w"\nstatuses = ["Booked"]\ninitial = "Booked"\n')
        result = run(database, "history.csv", "--workflow", "workflow.toml")
        assert result.exit_code == 0
        assert statuses(database) == [("A", None, "Booked")]

    @pytest.mark.parametrize(
        "time",
        [
            *(
                f"2026-01-01T10:00:00{sign}00:{minutes}"
                for sign in "+-"
                for minutes in (59, 60, 99)
            ),
            *(f"2026-01-01T10:00:00{sign}{hours}:00" for sign in "+-" for hours in (23, 24, 99)),
            *("1899-12-31T23:30:00-01:00", "1900-01-01T00:30:00+01:00", "1900-01-01T00:00:00Z"),
            *("2999-12-31T23:59:59-01:00", "3000-01-01T00:30:00+01:00", "2999-12-31T23:59:59Z"),
            *("0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-12:00"),
        ],
    )
    def test_the_service_takes_the_same_times(self, time: str) -> None:
        def of_service() -> datetime | None:
            try:
                return ChangeBody(status="pending", occurredAt=time).occurredAt
            except ValidationError:
                return None

        def of_import() -> datetime | None:
            try:
                return datetime.fromisoformat(utc_time(time, assume_utc=False))
            except InvalidField:
                return None

        assert of_import() == of_service()

    @given(
        st.lists(
            st.tuples(st.integers(0, 19), st.sampled_from('0129TZtz+-:. \x00"\\é\ud800')),
            max_size=6,
        )
    )
    @example([(14, "Z"), (15, "\x00"), (18, '"')])
    def test_no_text_but_a_time_gets_into_an_event(self, changes: list[tuple[int, str]]) -> None:
        """It is put into the JSON of the event as it is."""
        signs = list("2026-01-01T10:13:59Z")
        for place, sign in changes:
            signs[place] = sign
        rows = ImportedRows()
        values = ("A", None, "pending", None, None, None, "".join(signs))
        try:
            RowReader(bytes(32), DEFAULT).read(values, rows)
        except InvalidField:
            return
        (occurred_at,) = rows.occurred_at
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", occurred_at, re.ASCII)
        datetime.fromisoformat(occurred_at)

    def test_the_fingerprint_of_a_row_never_changes(self) -> None:
        """They are stored for ever: with others, an import that is repeated would write twice."""
        values = ("A", None, "pending", "ü", None, '{"b":1,"a":1e20}', "2026-01-01T10:00:00.5Z")
        rows, reader = ImportedRows(), RowReader(bytes(32), DEFAULT)
        for _ in range(2):
            reader.read(values, rows)
        assert rows.fingerprints == FINGERPRINTS

    def test_occurrences_are_counted_in_flat_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fingerprints, "OCCURRENCES_MAX", 2)
        reader = RowReader(bytes(32), DEFAULT)

        def fingerprint(booking_id: str) -> int:
            rows = ImportedRows()
            values = (booking_id, None, "pending", None, None, None, "2026-01-01T10:00:00Z")
            reader.read(values, rows)
            return rows.fingerprints[0]

        assert fingerprint("A") != fingerprint("A")
        fingerprint("B")
        assert len({fingerprint("A") for _ in range(3)}) == 3
        for number in range(10):
            fingerprint(f"C{number}")
        kept = reader._fingerprints
        assert len(kept._occurrences) + len(kept._older_occurrences) <= 5


FINGERPRINTS = [-5359783548740212831, 412330472493360934]

GOOD = '{"bookingId":"A","toStatus":"pending","createdAt":"2026-01-01T10:00:00Z"}'
WRONG_ROWS = {
    "too few cells": ("A,pending", "has 2 cells where the header has 7"),
    "too many cells": (f"{PENDING},more", "has 8 cells where the header has 7"),
    "text after a quote": ('"A"x,,pending,,,,2026-01-01T10:00:00Z', "is not CSV"),
    "text after a quote in a later line": ('A,,,"two\nor\nthree"x,"4', "is not CSV"),
    "a huge cell": (f"A,,pending,,{'x' * 200_000},,2026-01-01T10:00:00Z", "reason: must"),
    "no id": (",,pending,,,,2026-01-01T10:00:00Z", "bookingId: is missing"),
    "a long id": (f"{'x' * 201},,pending,,,,2026-01-01T10:00:00Z", "bookingId: must have"),
    "a control character": ("A\tB,,pending,,,,2026-01-01T10:00:00Z", "bookingId: must not contain"),
    "NUL": ("A,,pending,,a\x00b,,2026-01-01T10:00:00Z", "reason: must not contain NUL"),
    "no status": ("A,,,,,,2026-01-01T10:00:00Z", "toStatus: is missing"),
    "an unknown status": ("A,,Gone,,,,2026-01-01T10:00:00Z", "'Gone' is no status"),
    "a long from status": (f"A,{'x' * 101},pending,,,,2026-01-01T10:00:00Z", "fromStatus: must"),
    "a long name": (f"A,,pending,{'x' * 201},,,2026-01-01T10:00:00Z", "changedBy: must have"),
    "a long reason": (f"A,,pending,,{'x' * 2001},,2026-01-01T10:00:00Z", "reason: must have"),
    "metadata no JSON": ("A,,pending,,,{broken,2026-01-01T10:00:00Z", "metadata: is not JSON"),
    "metadata a list": ("A,,pending,,,[],2026-01-01T10:00:00Z", "metadata: must be a JSON object"),
    "metadata a text": ('A,,pending,,,"""x""",2026-01-01T10:00:00Z', "metadata: must be a JSON"),
    "NUL in metadata": (
        'A,,pending,,,"{""a"":""\\u0000""}",2026-01-01T10:00:00Z',
        "metadata: must not contain NUL",
    ),
    "a surrogate in metadata": (
        'A,,pending,,,"{""a"":""\\ud800""}",2026-01-01T10:00:00Z',
        "metadata: is not JSON",
    ),
    "a number that would change": (
        'A,,pending,,,"{""a"":123456789012345678901234567890}",2026-01-01T10:00:00Z',
        "metadata: cannot be stored",
    ),
    "large metadata": (
        f'A,,pending,,,"{{""a"":""{"x" * 66_000}""}}",2026-01-01T10:00:00Z',
        "metadata: must be at most",
    ),
    "no time": ("A,,pending,,,,", "createdAt: is missing"),
    "no offset": ("A,,pending,,,,2026-01-01T10:00:00", "has no offset"),
    "a date": ("A,,pending,,,,2026-01-01", "is no RFC 3339 time"),
    "seconds since 1970": ("A,,pending,,,,1767261600", "is no RFC 3339 time"),
    "another calendar": ("A,,pending,,,,01.02.2026 10:00", "is no RFC 3339 time"),
    "a day that is none": ("A,,pending,,,,2026-02-30T10:00:00Z", "is no time"),
    "a leap second": ("A,,pending,,,,2016-12-31T23:59:60Z", "is no time"),
    "the hour 24": ("A,,pending,,,,2026-01-01T24:00:00Z", "is no"),
    "a second too many": ("A,,pending,,,,2026-01-01T10:00:60+00:00", "is no time"),
    "other digits": ("A,,pending,,,,２０２６-01-01T10:00:00Z", "is no RFC 3339 time"),
    "other digits, with an offset": ("A,,pending,,,,２０２６-01-01T10:00:00+00:00", "is no RFC"),
    # Python takes what stands before a NUL for the whole.
    "a NUL behind a Z": ("A,,pending,,,,2026-01-01T10:Z\x00:00Z", "is no RFC"),
    "a NUL behind the minutes": ("A,,pending,,,,2026-01-01T10:00:Z\x00Z", "is no RFC"),
    "a space for a digit": ("A,,pending,,,,2026-01- 1T10:00:00Z", "is no RFC"),
    "a sign for a digit": ("A,,pending,,,,2026-01-01T+1:00:00Z", "is no RFC"),
    "an offset of minutes that are none": ("A,,pending,,,,2026-01-01T10:00:00+00:60", "is no RFC"),
    "an offset of a day": ("A,,pending,,,,2026-01-01T10:00:00-24:00", "is no RFC"),
    "a year too late in UTC": ("A,,pending,,,,2999-12-31T23:59:59-01:00", "createdAt: must be"),
    "a year too early in UTC": ("A,,pending,,,,1900-01-01T00:30:00+01:00", "createdAt: must be"),
    "the last year": ("A,,pending,,,,9999-12-31T23:00:00-12:00", "createdAt: must be between"),
    "the year 1": ("A,,pending,,,,0001-01-01T00:00:00+14:00", "createdAt: must be between"),
}


class TestRejects:
    @pytest.mark.parametrize("wrong", WRONG_ROWS)
    def test_a_wrong_row_is_rejected_and_those_around_it_are_taken(
        self, database: Database, imported: Import, wrong: str
    ) -> None:
        row, reason = WRONG_ROWS[wrong]
        summary = imported([HEADER, PENDING, row, CONFIRMED], exit_code=3)
        assert (summary["opened"], summary["changed"], summary["rejected"]) == (1, 1, 1)
        assert summary["rejectsFile"] == "history.csv.rejects.csv"
        ((line, why, text),) = rejects()
        assert line == 3
        assert reason in why
        assert text == row
        assert statuses(database) == [("A", None, "pending"), ("A", "pending", "confirmed")]

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ("{", "is not JSON"),
            ("[]", "is not a JSON object"),
            ('{"bookingId":"A","status":"pending"}', "has unknown fields: 'status'"),
            ('{"bookingId":1,"toStatus":"pending"}', "bookingId: must be a text"),
            ('{"bookingId":"A"}', "toStatus: is missing"),
            (GOOD.replace("00:00Z", r"Z\u0000:00Z"), "createdAt: '2026-01-01T10:Z"),
            (
                '{"bookingId":"A","toStatus":"pending","createdAt":1767261600}',
                "createdAt: must be a text",
            ),
            (
                f'{GOOD[:-1]},"metadata":{{"a":-123456789012345678901234567890}}}}',
                "metadata: cannot be stored",
            ),
            (
                f'{GOOD[:-1]},"metadata":[1]}}',
                "metadata: must be a JSON object",
            ),
        ],
    )
    def test_a_wrong_ndjson_row_is_rejected(self, imported: Import, row: str, reason: str) -> None:
        summary = imported(["", row, GOOD], name="history.ndjson", exit_code=3)
        assert (summary["opened"], summary["rejected"]) == (1, 1)
        ((line, why, text),) = rejects("history.ndjson.rejects.csv")
        assert (line, text) == (2, row)
        assert reason in why

    def test_bytes_that_are_not_utf8_are_rejected_and_kept(self, imported: Import) -> None:
        row = b"A,,pending,J\xfcrgen,,,2026-01-01T10:00:00Z"
        imported(b"\n".join([HEADER.encode(), row, CONFIRMED.encode()]), exit_code=3)
        ((line, why, text),) = rejects()
        assert (line, text.encode("utf-8", "surrogateescape")) == (2, row)
        assert "changedBy: must not contain" in why

    def test_lines_are_counted_as_an_editor_counts_them(self, imported: Import) -> None:
        two_lines = 'A,,pending,,"two\nlines",,2026-01-01T10:00:00Z'
        imported([HEADER, two_lines, "", "wrong", two_lines + "x", "wrong"], exit_code=3)
        assert [(line, row) for line, _, row in rejects()] == [
            (5, "wrong"),
            (6, two_lines + "x"),
            (8, "wrong"),
        ]

    def test_rejects_of_all_kinds_stand_in_the_order_of_lines(self, imported: Import) -> None:
        unknown = "A,,Gone,,,,2026-01-01T10:00:00Z"
        imported([HEADER, unknown, "wrong", unknown, "wrong"], exit_code=3)
        assert [line for line, _, _ in rejects()] == [2, 3, 4, 5]

    def test_the_rejects_file_can_be_named_and_is_made_only_where_there_are_any(
        self, imported: Import
    ) -> None:
        imported([HEADER, PENDING], "--rejects", "bad.csv")
        assert not Path("bad.csv").exists()
        imported([HEADER, "wrong"], "--rejects", "bad.csv", exit_code=3)
        assert len(rejects("bad.csv")) == 1

    def test_the_rejects_file_is_never_the_one_that_is_imported(self, database: Database) -> None:
        Path("history.csv").write_text(f"{HEADER}\nwrong\n")
        result = run(database, "history.csv", "--rejects", "./history.csv")
        assert result.exit_code == 2
        assert "wrong" in Path("history.csv").read_text()

    def test_assume_utc_takes_times_without_offset(
        self, database: Database, imported: Import
    ) -> None:
        imported([HEADER, "A,,pending,,,,2026-01-01 10:00:00"], "--assume-utc")
        assert history(database)[0][7].isoformat() == "2026-01-01T10:00:00"


class TestFilesThatAreNone:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "lacks the columns: bookingId, toStatus, createdAt"),
            (f"{HEADER},status,who\n{PENDING},a,b\n", "unknown columns: 'status', 'who'"),
            ("bookingId;toStatus;createdAt\n", "unknown columns"),
            ("bookingId,createdAt\n", "lacks the columns: toStatus"),
            (f"{HEADER},reason\n", "has a column twice"),
        ],
    )
    def test_a_wrong_header_is_refused_before_anything_is_written(
        self, database: Database, content: str, message: str
    ) -> None:
        Path("history.csv").write_text(content)
        result = run(database, "history.csv")
        assert result.exit_code == 1
        assert message in result.stderr
        assert history(database) == []

    @pytest.mark.parametrize("cut", [1, 40])
    def test_a_damaged_archive_says_so_and_what_was_read_is_kept(
        self, database: Database, cut: int
    ) -> None:
        Path("history.csv.gz").write_bytes(gzip.compress(f"{HEADER}\n{PENDING}\n".encode())[:-cut])
        result = run(database, "history.csv.gz")
        assert result.exit_code == 1
        assert "The compressed file is damaged" in result.stderr
        assert "Run the same command again" in result.stderr

    def test_a_quote_that_is_never_closed_is_said_and_what_stands_before_it_is_kept(
        self, database: Database, imported: Import
    ) -> None:
        """Not rejected: the file of rejects would hold all the rest, and the import seem done."""
        Path("history.csv").write_text(f'{HEADER}\n{PENDING}\nB,,pending,"anna,,,\n{CONFIRMED}\n')
        result = run(database, "history.csv", "--json")
        assert result.exit_code == 1
        assert "The row that begins in line 3 has a quote that is never closed" in result.stderr
        assert "Run the same command again" in result.stderr
        assert json.loads(result.stdout)["rows"] == 1
        assert not json.loads(result.stdout)["complete"]
        assert not Path("history.csv.rejects.csv").exists()
        assert statuses(database) == [("A", None, "pending")]
        assert imported([HEADER, PENDING, CONFIRMED])["known"] == 1

    def test_a_format_that_is_not_known_is_asked_for(self, database: Database) -> None:
        Path("history.txt").write_text(f"{HEADER}\n{PENDING}\n")
        assert "give --format" in run(database, "history.txt").stderr
        assert run(database, "history.txt", "--format", "csv").exit_code == 0

    def test_a_source_of_many_lines_is_refused(self, database: Database) -> None:
        Path("history.csv").write_text(f"{HEADER}\n{PENDING}\n")
        result = run(database, "history.csv", "--source", "a\nb")
        assert result.exit_code == 1
        assert "--source: must not contain control characters" in result.stderr


def _long_file(bookings: int) -> Path:
    """Bookings whose rows are far apart, each three statuses, with pairs of identical rows."""
    path = Path("long.csv")
    with path.open("w") as file:
        print(HEADER, file=file)
        for day, status in enumerate(("pending", "confirmed", "pending", "confirmed")):
            for number in range(bookings):
                print(
                    f"booking-{number:072},,{status},,,,2026-01-0{day % 2 + 1}T10:00:00Z", file=file
                )
    return path


@pytest.fixture(autouse=True)
def not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the tests is not, however many threads it has."""
    monkeypatch.setattr(import_reading, "_can_fork", lambda: False)


ANOTHER_THREAD = "import threading as t; t.Thread(target=t.Event().wait, daemon=True).start()"
"""Where there is one, the process that reads is not forked."""
both_methods = pytest.mark.parametrize("before", ["", ANOTHER_THREAD], ids=["fork", "spawn"])


def _start(
    database: Database, *arguments: str, before: str = "", **options: Any
) -> "subprocess.Popen[str]":
    """The command in a process of its own, after what is to be done there before."""
    return subprocess.Popen(
        [
            *(sys.executable, "-c", f"{before}\nfrom api.cli import main; main()", "import"),
            *("--database-url", database.url, "--json", *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def _wait_for_events(database: Database, count: int) -> None:
    deadline = time.monotonic() + 30
    with database.connect() as connection:
        while time.monotonic() < deadline:
            row = connection.execute("SELECT count(*) FROM ledger_events").fetchone()
            if row is not None and row[0] >= count:
                return
            time.sleep(0.005)
    raise AssertionError("no import was seen")


@pytest.fixture
def large(directory: Path) -> Path:
    """Large enough to be read by another process."""
    path = _long_file(5_000)
    assert path.stat().st_size > SMALL_BYTES
    return path


TRACKER = "resource_tracker"
"""Of what is spawned, in a process of its own."""


def _readers(process: "subprocess.Popen[str] | psutil.Process") -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    # What has been started this moment may have no command line yet.
    commands = {one: " ".join(one.cmdline()) for one in children}
    return [one for one, command in commands.items() if command and TRACKER not in command]


class TestTheReadingProcess:
    def test_it_gives_what_is_read_in_one_process(
        self, database: Database, imported: Import, large: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines = [*large.read_text().splitlines(), "wrong", 'A,,pending,"x"y,,,2026-01-01T10:00:00Z']
        there = imported(lines, exit_code=3)
        rejected = rejects()
        monkeypatch.setattr(import_reading, "SMALL_BYTES", 10**9)
        here = imported(lines, exit_code=3)
        assert rejects() == rejected
        assert [line for line, _, _ in rejected] == [20_002, 20_003]
        assert (there["opened"], there["changed"]) == (5_000, 15_000)
        assert (here["known"], here["rejected"]) == (20_000, 2)
        assert audit(database).sound

    @pytest.mark.usefixtures("directory")
    def test_a_small_file_has_none_and_of_a_compressed_one_less_is_small(self) -> None:
        def has_one(length: int, *, gzipped: bool) -> bool:
            Path("file").write_bytes(b" " * length)
            how = import_reading.Reading("csv", gzipped, DEFAULT)
            with Path("file").open("rb") as binary, import_reading.reading(binary, how):
                return bool(_readers(psutil.Process()))

        compressed = SMALL_BYTES // import_reading.GZIPPED
        assert [has_one(SMALL_BYTES - more, gzipped=False) for more in (1, 0)] == [False, True]
        assert [has_one(compressed - more, gzipped=True) for more in (1, 0)] == [False, True]

    @both_methods
    def test_it_lets_others_go_first(self, database: Database, before: str) -> None:
        process = _start(database, "-", "--format", "csv", before=before, stdin=subprocess.PIPE)
        expected = min(19, psutil.Process().nice() + import_reading.NICENESS)
        deadline = time.monotonic() + 30
        while [reader.nice() for reader in _readers(process)] != [expected]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (reader,) = _readers(process)
        assert ("spawn_main" in " ".join(reader.cmdline())) is bool(before)
        process.communicate(f"{HEADER}\n{PENDING}\n", timeout=30)
        assert process.returncode == 0
        assert statuses(database) == [("A", None, "pending")]

    def test_what_damages_the_file_is_said_and_what_stands_before_it_is_taken(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, large: Path
    ) -> None:
        monkeypatch.setattr(import_reading, "SMALL_BYTES", 0)
        Path("cut.csv.gz").write_bytes(gzip.compress(large.read_bytes())[:-9])
        result = run(database, "cut.csv.gz", "--json")
        assert result.exit_code == 1
        assert "The compressed file is damaged" in result.stderr
        # The last of its bytes, and so perhaps of its rows, is gone.
        assert 19_990 < json.loads(result.stdout)["rows"] == len(history(database)) <= 20_000

    def test_a_wrong_header_is_refused(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(import_reading, "SMALL_BYTES", 0)
        Path("history.csv").write_text("bookingId;toStatus\n")
        result = run(database, "history.csv")
        assert result.exit_code == 1
        assert "unknown columns" in result.stderr

    @both_methods
    def test_its_death_is_said_and_the_next_run_goes_on(
        self, database: Database, large: Path, before: str
    ) -> None:
        arguments = ("-", "--format", "csv")
        with _start(database, *arguments, before=before, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write("".join(large.read_text().splitlines(keepends=True)[:12_001]))
            process.stdin.flush()
            _wait_for_events(database, 2_000)
            (reader,) = _readers(process)
            reader.kill()
            stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "The process that reads the file has ended (exit code -9)" in stderr
        assert json.loads(stdout)["rows"] == len(history(database))
        assert json.loads(run(database, str(large), "--json").stdout)["rows"] == 20_000
        assert len(history(database)) == 20_000
        assert audit(database).sound

    @both_methods
    def test_it_ends_with_an_import_that_is_killed_while_it_waits_for_input(
        self, database: Database, before: str
    ) -> None:
        arguments = ("-", "--format", "csv")
        with _start(database, *arguments, before=before, stdin=subprocess.PIPE) as process:
            deadline = time.monotonic() + 30
            while not (children := _readers(process)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            _wait_until_it_can_be_stopped(process)
            process.kill()
            gone, alive = psutil.wait_procs(children, timeout=20)
            assert process.stdin is not None
            process.stdin.close()
        assert (len(gone), alive) == (1, [])


def _wait_until_it_can_be_stopped(process: "subprocess.Popen[str]") -> None:
    """It then handles SIGTERM, and at once waits for the first chunk."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = Path(f"/proc/{process.pid}/status").read_text()
        handled = int(status.split("SigCgt:")[1].split()[0], 16)
        if handled >> (signal.SIGTERM - 1) & 1:
            time.sleep(0.2)
            return
        time.sleep(0.01)
    raise AssertionError("the import did not begin")


class _Proxy(CuttingProxy):
    """Takes it calmly when an end that was told goodbye hangs up before the other."""

    def _pass_on(self, source: socket.socket, client: socket.socket, server: socket.socket) -> bool:
        try:
            return super()._pass_on(source, client, server)
        except BrokenPipeError:
            return False


class TestBrokenOff:
    def test_killed_and_run_again_gives_the_same_as_one_run(self, database: Database) -> None:
        path = _long_file(10_000)
        with _start(database, str(path)) as process:
            _wait_for_events(database, 3_000)
            process.kill()
        before = len(history(database))
        assert 3_000 <= before < 40_000
        result = run(database, str(path), "--json")
        assert json.loads(result.stdout)["known"] == before
        expected = [
            (f"booking-{number:072}", from_status, to_status)
            for from_status, to_status in (
                (None, "pending"),
                ("pending", "confirmed"),
                ("confirmed", "pending"),
                ("pending", "confirmed"),
            )
            for number in range(10_000)
        ]
        assert statuses(database) == expected
        assert audit(database).sound

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_it_finishes_what_is_submitted_and_says_how_to_go_on(
        self, database: Database, number: signal.Signals
    ) -> None:
        path = _long_file(10_000)
        with _start(database, str(path)) as process:
            _wait_for_events(database, 1_000)
            process.send_signal(number)
            stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 130
        assert stderr == (
            "Interrupted. Run the same command again to go on: nothing is written twice.\n"
        )
        summary = json.loads(stdout)
        assert not summary["complete"]
        assert summary["opened"] + summary["changed"] == len(history(database)) < 40_000

    def test_interrupted_while_it_waits_for_input(self, database: Database) -> None:
        with _start(database, "-", "--format", "csv", stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(f"{HEADER}\n{PENDING}\n")
            process.stdin.flush()
            _wait_until_it_can_be_stopped(process)
            process.send_signal(signal.SIGINT)
            stdout, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert json.loads(stdout)["rows"] == 0

    def test_why_the_database_refuses_rows_is_said_and_those_before_are_counted(
        self, database: Database
    ) -> None:
        path = _long_file(2_000)
        with database.connect() as connection:
            connection.execute(
                """
                CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
                    AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
                CREATE TRIGGER refuse BEFORE INSERT ON ledger_events FOR EACH ROW
                    WHEN (NEW.originator_version = 3) EXECUTE FUNCTION refuse()
                """
            )
        result = run(database, str(path), "--json")
        assert result.exit_code == 1
        assert "not this one" in result.stderr
        assert "Run the same command again" in result.stderr
        assert json.loads(result.stdout)["rows"] == CHUNK_ROWS == len(history(database))
        with database.connect() as connection:
            connection.execute("DROP TRIGGER refuse ON ledger_events")
        assert json.loads(run(database, str(path), "--json").stdout)["known"] == CHUNK_ROWS
        assert len(history(database)) == 8_000

    def test_a_full_disk_is_said_and_what_was_recorded_is_counted(self, database: Database) -> None:
        Path("history.csv").write_text(f"{HEADER}\n{PENDING}\nwrong\n")
        result = run(database, "history.csv", "--json", "--rejects", "/dev/full")
        assert result.exit_code == 1
        assert "No space left on device" in result.stderr
        assert "Run the same command again" in result.stderr
        summary = json.loads(result.stdout)
        assert (summary["rows"], summary["opened"], summary["rejected"]) == (1, 1, 0)
        assert not summary["complete"]
        assert json.loads(run(database, "history.csv", "--json").stdout)["known"] == 1

    @pytest.mark.parametrize("reaches_server", [True, False])
    def test_a_lost_database_is_said_and_the_next_run_goes_on(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, reaches_server: bool
    ) -> None:
        path = _long_file(2_000)
        with _Proxy(database) as proxy:

            def cut_writer(*given: Any) -> ImportWriter:
                writer = ImportWriter(*given, reconnect_seconds=0.2)
                proxy.cut_next_commit(reaches_server=reaches_server, stay_down=True)
                return writer

            with monkeypatch.context() as patched:
                patched.setattr("api.cli.import_.ImportWriter", cut_writer)
                result = run(proxy.database, str(path), "--json")
        assert result.exit_code == 1
        assert "database" in result.stderr
        assert "Nothing was recorded" not in result.stderr
        assert "Idempotency-Key" not in result.stderr
        assert "Run the same command again" in result.stderr
        assert json.loads(result.stdout)["rows"] == 0
        known = json.loads(run(database, str(path), "--json").stdout)["known"]
        assert known == (CHUNK_ROWS if reaches_server else 0)
        assert len(history(database)) == 8_000 > CHUNK_ROWS
        assert audit(database).sound
