"""Exports: what other tools read is what the ledger holds, on the command line and over HTTP."""

import csv
import io
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hotel import load_hotel
from ledger_service import Service
from scenes import ANY_CHANGE, change_status, open_booking, record

from api.cli import main
from ledger.database import Database
from projections.catch_up import catch_up
from projections.exports import source
from projections.exports.formats import FORMATS
from projections.rows import HistoryRow

HOTEL = str(Path(__file__).parents[2] / "examples/hotel/workflow.toml")
HOSTILE = 'a "quoted"\n<b>&amp;</b>,;\t\x0b é 💥'
XES = "{http://www.xes-standard.org/}"
EIGHT = (
    'SELECT id, "bookingId", "fromStatus", "toStatus", "changedBy", reason, metadata, "createdAt"'
    ' FROM "BookingStatusHistory" ORDER BY "bookingId", version'
)


def run(database: Database, *arguments: object) -> Result:
    named = ("--database-url", database.url)
    return CliRunner().invoke(main, ["export", *named, *map(str, arguments)])


def write(database: Database, format_: str, path: Path, *more: object) -> dict[str, Any]:
    result = run(database, "--format", format_, "--output", path, "--json", *more)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def eight_columns(database: Database) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(EIGHT).fetchall()


@pytest.fixture(name="hotel")
def _hotel(database: Database) -> Database:
    load_hotel(database)
    return database


@pytest.fixture(name="small_pages")
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every seam between pages is met."""
    monkeypatch.setattr(source, "PAGE_ROWS", 3)
    monkeypatch.setattr(source, "ROWS", source.ROWS.replace("LIMIT 5000", "LIMIT 3"))


@pytest.fixture(name="hostile")
def _hostile(database: Database) -> Database:
    record(
        database,
        open_booking(f"b<&>'{HOSTILE[2:5]}", reason=HOSTILE, metadata={"note": HOSTILE}),
        open_booking("anna", changed_by="anna"),
        change_status("anna", "confirmed", changed_by="<anna & ben>"),
        change_status("anna", "pending"),
        workflow=ANY_CHANGE,
    )
    catch_up(database)
    return database


@pytest.mark.parametrize("format_", ["csv", "ndjson"])
def test_what_was_exported_can_be_imported(
    hotel: Database, tmp_path: Path, format_: str, empty_database: Database
) -> None:
    """With the same ids, statuses, actors, reasons, metadata and times."""
    path = tmp_path / f"hotel.{format_}"
    assert write(hotel, format_, path)["rows"] == 771

    imported = CliRunner().invoke(
        main,
        ["import", str(path), "--database-url", empty_database.url, "--workflow", HOTEL, "--json"],
    )

    assert imported.exit_code == 0, imported.output
    assert json.loads(imported.stdout)["disputed"] == 0
    assert eight_columns(empty_database) == eight_columns(hotel)


def test_csv_has_the_columns_of_the_table_and_the_order_of_versions(
    hostile: Database, tmp_path: Path, small_pages: None
) -> None:
    path = tmp_path / "history.csv"
    write(hostile, "csv", path)

    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))

    assert tuple(rows[0]) == HistoryRow._fields
    assert [row["version"] for row in rows if row["bookingId"] == "anna"] == ["1", "2", "3"]
    (odd,) = (row for row in rows if row["bookingId"] != "anna")
    assert odd["reason"] == HOSTILE
    assert json.loads(odd["metadata"]) == {"note": HOSTILE}
    assert odd["recordedAt"].endswith("Z")


def test_a_position_gives_the_same_bytes_and_filters_choose_rows(
    hotel: Database, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for format_ in FORMATS:
        write(hotel, format_, first, "--as-of-position", 500)
        record(hotel, open_booking(f"later {format_}"))
        assert write(hotel, format_, second, "--as-of-position", 500)["rows"] == 500
        assert first.read_bytes() == second.read_bytes(), format_

    chosen = ("--to-status", "No-Show", "--since", "2016-01-01T00:00:00Z")
    counted = write(hotel, "ndjson", first, *chosen)["rows"]
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    assert len(lines) == counted > 0
    assert {line["toStatus"] for line in lines} == {"No-Show"}
    assert min(line["createdAt"] for line in lines) >= "2016"


def test_xes_holds_every_text_and_groups_by_booking(
    hostile: Database, tmp_path: Path, small_pages: None
) -> None:
    path = tmp_path / "log.xes"
    write(hostile, "xes", path)

    traces = ET.parse(path).getroot().findall(f"{XES}trace")

    names = [[one.get("value") for one in trace.findall(f"{XES}string")] for trace in traces]
    assert names[0] == ["anna"]
    texts = {
        (one.get("key"), one.get("value"))
        for trace in traces
        for one in trace.findall(f"{XES}event/{XES}string")
    }
    assert ("reason", HOSTILE.replace("\x0b", "\ufffd")) in texts
    assert ("org:resource", "<anna & ben>") in texts
    versions = [
        one.get("value")
        for one in traces[0].findall(f"{XES}event/{XES}int")
        if one.get("key") == "version"
    ]
    assert versions == ["1", "2", "3"]


def test_ocel_keeps_bookings_and_actors_apart(
    hostile: Database, tmp_path: Path, small_pages: None
) -> None:
    path = tmp_path / "log.jsonocel"
    write(hostile, "ocel", path)

    log = json.loads(path.read_bytes())

    objects = {one["id"] for one in log["objects"]}
    assert {"booking:anna", "actor:anna", "actor:<anna & ben>"} < objects
    assert len(log["objects"]) == len(objects) == 4
    assert {one["objectId"] for event in log["events"] for one in event["relationships"]} == objects
    assert {one["type"] for one in log["events"]} == {one["name"] for one in log["eventTypes"]}


@pytest.mark.parametrize("more", [(), ("--partition-by", "month")])
def test_duckdb_reads_the_parquet_as_the_table(
    hotel: Database, tmp_path: Path, more: tuple[str, ...]
) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    path = tmp_path / "history"
    write(hotel, "parquet", path, *more)
    pattern = f"{path}/*/*.parquet" if more else str(path)

    with duckdb.connect() as connection:
        rows = connection.execute(
            'SELECT id, "bookingId", "fromStatus", "toStatus", "changedBy", reason, metadata,'
            f""" "createdAt" AT TIME ZONE 'UTC' FROM read_parquet('{pattern}')"""
            ' ORDER BY "bookingId", version'
        ).fetchall()
        types = dict(
            connection.execute(
                f"SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet('{pattern}'))"
            ).fetchall()
        )

    assert rows == eight_columns(hotel)
    assert types["createdAt"] == types["recordedAt"] == "TIMESTAMP WITH TIME ZONE"
    assert (types["version"], types["position"]) == ("INTEGER", "BIGINT")
    assert ("month" in types) == bool(more)


def test_parquet_memory_is_bounded_by_all_months_together(
    hotel: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_pages: None
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    monkeypatch.setattr("projections.exports.parquet.BUFFERED_ROWS_MAX", 10)
    monkeypatch.setattr("projections.exports.parquet.ROW_GROUP_ROWS", 10)
    write(hotel, "parquet", tmp_path / "months", "--partition-by", "month")
    write(hotel, "parquet", tmp_path / "file")

    assert parquet.read_table(tmp_path / "months").num_rows == 771
    assert parquet.ParquetFile(tmp_path / "file").num_row_groups > 60


@pytest.mark.parametrize("format_", FORMATS)
def test_over_http_it_is_the_same_file(
    service: Service, hotel: Database, tmp_path: Path, format_: str
) -> None:
    path = tmp_path / "file"
    write(hotel, format_, path)

    answer = service.client.get("/api/export", params={"format": format_})

    assert answer.status_code == 200
    assert answer.content == path.read_bytes()
    assert answer.headers["ledger-position"] == "771"
    suffix = FORMATS[format_].suffix
    named = f'attachment; filename="status-history-771.{suffix}"'
    assert answer.headers["content-disposition"] == named


@pytest.mark.parametrize("format_", FORMATS)
def test_an_empty_ledger_gives_a_whole_file(
    database: Database, tmp_path: Path, format_: str
) -> None:
    assert write(database, format_, tmp_path / "file")["rows"] == 0
    assert (tmp_path / "file").exists()


def test_what_cannot_be_answered_is_refused_before_the_first_byte(service: Service) -> None:
    service.open("a")

    ahead = service.client.get("/api/export?format=csv&asOfPosition=2")
    unknown = service.client.get("/api/export?format=xlsx")

    assert (ahead.status_code, ahead.json()["field"]) == (422, "asOfPosition")
    assert (unknown.status_code, unknown.json()["field"]) == (422, "format")


def test_without_pyarrow_the_extra_is_named(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    answer = service.client.get("/api/export?format=parquet")
    result = run(service.database, "--format", "parquet", "--output", tmp_path / "file")

    assert answer.status_code == 501
    assert answer.json()["type"] == "/problems/extra-missing"
    for said in (answer.json()["detail"], result.stderr):
        assert "booking-ledger[export]" in said
    assert result.exit_code == 1


def test_a_file_appears_whole_or_not_at_all(
    hotel: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("the one before")
    monkeypatch.setattr(source, "ROWS", source.ROWS.replace("LIMIT 5000", "LIMIT -1"))

    for more in ((), ("--partition-by", "month")):
        result = run(hotel, "--format", "parquet", "--output", tmp_path / "file", *more)
        assert result.exit_code == 1
    folder = run(hotel, "--format", "parquet", "--output", tmp_path / "f", "--partition-by=month")

    assert folder.exit_code == 1
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "the one before"


def test_standard_output_holds_the_file_and_nothing_else(hotel: Database) -> None:
    result = run(hotel, "--format", "ndjson", "--output", "-")
    both = run(hotel, "--format", "ndjson", "--output", "-", "--json")
    folder = run(hotel, "--format", "csv", "--output", "x", "--partition-by", "month")
    time = run(hotel, "--format", "csv", "--output", "-", "--since", "yesterday")

    assert len(result.stdout.splitlines()) == 771
    assert [both.exit_code, folder.exit_code, time.exit_code] == [2, 2, 2]
    assert "'yesterday' must be an RFC 3339 time" in time.stderr
