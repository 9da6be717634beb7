"""The converters under examples/ turn public data into rows that `booking-ledger import` takes."""

import csv
import gzip
import importlib.util
import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
DATA = REPOSITORY.parent / "shared" / "data"
SAMPLE = EXAMPLES / "hotel" / "sample.csv"
HEADER = "bookingId,fromStatus,toStatus,changedBy,reason,metadata,createdAt"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the full data is not in {DATA}")


def load(name: str) -> ModuleType:
    path = EXAMPLES / name / "convert.py"
    spec = importlib.util.spec_from_file_location(f"convert_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hotel = load("hotel")
incidents = load("incidents")


def workflow(name: str) -> dict:
    return tomllib.loads((EXAMPLES / name / "workflow.toml").read_text(encoding="utf-8"))


def csv_lines(*records: dict[str, str]) -> list[str]:
    return [",".join(records[0]), *(",".join(record.values()) for record in records)]


def stay(**changes: str) -> dict[str, str]:
    """A source line of the hotel data; ten days ahead, two nights, checked out."""
    return {
        "hotel": "Resort Hotel",
        "lead_time": "10",
        "arrival_date_year": "2016",
        "arrival_date_month": "March",
        "arrival_date_day_of_month": "5",
        "stays_in_weekend_nights": "1",
        "stays_in_week_nights": "1",
        "country": "PRT",
        "market_segment": "Online TA",
        "distribution_channel": "TA/TO",
        "deposit_type": "No Deposit",
        "agent": "9",
        "company": "NULL",
        "adr": "107.42",
        "reservation_status": "Check-Out",
        "reservation_status_date": "2016-03-07",
        **changes,
    }


def canceled(day: str, **changes: str) -> dict[str, str]:
    return stay(reservation_status="Canceled", reservation_status_date=day, **changes)


def hotel_rows(*records: dict[str, str]) -> list:
    return [row for rows in hotel.convert(csv_lines(*records)) for row in rows]


def steps(rows: list) -> list[tuple]:
    return [(row.from_status, row.to_status, row.created_at) for row in rows]


class TestHotel:
    def test_check_out_gives_three_rows(self):
        """A stay is booked lead-time days before arrival (over a leap day), then in, then out."""
        assert steps(hotel_rows(stay())) == [
            (None, "Booked", "2016-02-24T12:00:00Z"),
            ("Booked", "Check-In", "2016-03-05T13:00:00Z"),
            ("Check-In", "Check-Out", "2016-03-07T14:00:00Z"),
        ]

    @pytest.mark.parametrize("final", ["Canceled", "No-Show"])
    def test_other_endings_give_two_rows(self, final: str):
        """Who cancels or stays away never checks in."""
        record = stay(reservation_status=final, reservation_status_date="2016-03-05")

        assert steps(hotel_rows(record)) == [
            (None, "Booked", "2016-02-24T12:00:00Z"),
            ("Booked", final, "2016-03-05T14:00:00Z"),
        ]

    @pytest.mark.parametrize(
        "record",
        [
            canceled("2016-02-24"),
            stay(lead_time="0", reservation_status_date="2016-03-05"),
        ],
        ids=["canceled when booked", "booked, in and out in a day"],
    )
    def test_one_day_keeps_the_order(self, record: dict[str, str]):
        """Rows of one day have increasing times."""
        times = [row.created_at for row in hotel_rows(record)]

        assert len({time[:10] for time in times}) == 1
        assert times == sorted(set(times))

    def test_the_line_number_makes_the_id(self):
        """Exact duplicates stay two bookings, and the number counts over both hotels."""
        rows = hotel_rows(stay(), stay(), stay(hotel="City Hotel"))

        ids = [booking_id for booking_id, _ in groupby(row.booking_id for row in rows)]
        assert ids == ["H1-000001", "H1-000002", "H2-000003"]

    @pytest.mark.parametrize(
        ("agent", "company", "channel", "expected"),
        [
            ("9", "40", "TA/TO", "agent:9"),
            ("NULL", "40", "Corporate", "company:40"),
            ("NULL", "NULL", "Direct", "channel:Direct"),
            ("NULL", "NULL", "Undefined", None),
        ],
    )
    def test_who_brought_the_booking_opens_it(self, agent, company, channel, expected):
        """Nothing says who acted later, so later rows name nobody."""
        record = stay(agent=agent, company=company, distribution_channel=channel)

        assert [row.changed_by for row in hotel_rows(record)] == [expected, None, None]

    def test_metadata_is_compact_json_on_the_first_row(self):
        """A missing country leaves no key; numbers are numbers."""
        first, *later = hotel_rows(stay(country="NULL"))

        assert first.metadata == (
            '{"hotel":"Resort Hotel","market_segment":"Online TA","deposit_type":"No Deposit",'
            '"arrival_date":"2016-03-05","nights":2,"adr":107.42}'
        )
        assert [row.metadata for row in later] == [None, None]

    @pytest.mark.parametrize(
        "bad",
        [
            {"hotel": "Motel"},
            {"arrival_date_month": "Mars"},
            {"reservation_status": "Gone"},
            {"reservation_status_date": "7/3/2016"},
        ],
        ids=lambda bad: next(iter(bad)),
    )
    def test_a_bad_line_stops_with_its_number(self, bad: dict[str, str]):
        with pytest.raises(ValueError, match=r"^booking 2: "):
            hotel_rows(stay(), stay(**bad))


class TestHotelCommand:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        path = tmp_path / "hotel_bookings.csv.gz"
        lines = csv_lines(stay(), canceled("2016-02-24"))
        path.write_bytes(gzip.compress("\r\n".join(lines).encode()))
        return path

    def test_csv_on_standard_output(self, source: Path, capsys: pytest.CaptureFixture[str]):
        """The header comes first, nulls are empty cells, and the totals go to standard error."""
        assert hotel.main([str(source)]) == 0

        out, err = capsys.readouterr()
        lines = out.split("\n")
        assert lines[0] == HEADER
        assert lines[2] == "H1-000001,Booked,Check-In,,,,2016-03-05T13:00:00Z"
        assert len(lines) == 1 + 5 + 1
        assert err == "5 rows for 2 bookings: Check-Out 1, Canceled 1\n"

    def test_ndjson_to_a_file(self, source: Path, tmp_path: Path):
        """A line an object, with the columns as keys and null for what is missing."""
        output = tmp_path / "hotel.ndjson"
        assert hotel.main([str(source), "--format", "ndjson", "--output", str(output)]) == 0

        records = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
        assert len(records) == 5
        assert list(records[0]) == HEADER.split(",")
        assert json.loads(records[0]["metadata"])["country"] == "PRT"
        assert records[1] == {
            "bookingId": "H1-000001",
            "fromStatus": "Booked",
            "toStatus": "Check-In",
            "changedBy": None,
            "reason": None,
            "metadata": None,
            "createdAt": "2016-03-05T13:00:00Z",
        }

    def test_limit(self, source: Path, capsys: pytest.CaptureFixture[str]):
        assert hotel.main([str(source), "--limit", "1"]) == 0

        assert capsys.readouterr().out.count("\n") == 1 + 3

    @pytest.mark.parametrize("converter", [hotel, incidents], ids=["hotel", "incidents"])
    def test_the_wrong_file_is_refused(self, converter, tmp_path: Path, capsys):
        """The message names the file and the column that it lacks."""
        path = tmp_path / "other.csv"
        path.write_text("a,b\n1,2\n", encoding="utf-8")

        assert converter.main([str(path)]) == 1
        assert "other.csv" in (err := capsys.readouterr().err)
        assert "KeyError" in err


class TestHotelSample:
    @pytest.fixture
    def bookings(self) -> dict[str, list[dict[str, str]]]:
        with SAMPLE.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            return {key: list(group) for key, group in groupby(rows, lambda row: row["bookingId"])}

    def test_header_and_size(self):
        content = SAMPLE.read_bytes()

        assert content.split(b"\n", 1)[0].decode() == HEADER
        assert len(content) < 200_000

    def test_every_history_is_a_chain_that_the_workflow_allows(self, bookings):
        """The first row comes from nothing, each next from the one before, and time agrees."""
        rules = workflow("hotel")
        for booking_id, rows in bookings.items():
            states = [row["toStatus"] for row in rows]
            assert [row["fromStatus"] for row in rows] == ["", *states[:-1]], booking_id
            assert states[0] == rules["initial"]
            assert all(to in rules["transitions"][of] for of, to in pairwise(states))
            times = [row["createdAt"] for row in rows]
            assert times == sorted(set(times))

    def test_it_is_varied(self, bookings):
        """Both hotels, every ending, and bookings that were cancelled on the day they were made."""
        kinds = Counter(
            (key[:2], rows[-1]["toStatus"], rows[0]["createdAt"][:10] == rows[-1]["createdAt"][:10])
            for key, rows in bookings.items()
        )

        assert len(bookings) == 300
        assert {(prefix, final) for prefix, final, _ in kinds} == {
            (prefix, final)
            for prefix in ("H1", "H2")
            for final in ("Check-Out", "Canceled", "No-Show")
        }
        assert kinds["H1", "Canceled", True] >= 10
        assert kinds["H2", "Canceled", True] >= 10

    def test_metadata_is_json_on_first_rows_only(self, bookings):
        for first, *later in bookings.values():
            assert json.loads(first["metadata"])["hotel"] in {"Resort Hotel", "City Hotel"}
            assert {row["metadata"] for row in later} == {""}

    def test_the_pick_does_not_depend_on_the_run(self):
        """The same bookings, in the order of the file, whatever order they are met in."""
        bookings = list(hotel.convert(csv_lines(*[stay(), canceled("2016-02-24")] * 100)))

        picked = hotel.sample(bookings, 60)
        assert picked == hotel.sample(reversed(bookings), 60)
        assert picked == sorted(picked)
        assert len({rows[0].booking_id for rows in picked}) == 60


def edit(state: str, at: str = "29/2/2016 11:29", **changes: str) -> dict[str, str]:
    """A source line of the incident log; resolved on 29 February, closed on 5 March."""
    return {
        "number": "INC0000045",
        "incident_state": state,
        "active": "true",
        "opened_at": "29/2/2016 01:16",
        "sys_created_by": "Created by 6",
        "sys_updated_by": "Updated by 21",
        "sys_updated_at": at,
        "cmdb_ci": "?",
        "closed_code": "code 5",
        "resolved_by": "Resolved by 149",
        "resolved_at": "29/2/2016 11:29",
        "closed_at": "5/3/2016 12:00",
        **changes,
    }


def incident_row(record: dict[str, str]):
    (row,) = incidents.convert(csv_lines(record))
    return row


class TestIncidents:
    def test_columns(self):
        """The day comes first, UTC is assumed, and the state before is left to the ledger."""
        row = incident_row(edit("New", at="3/12/2016 09:05"))

        assert row[:5] == ("INC0000045", None, "New", "Updated by 21", None)
        assert row.created_at == "2016-12-03T09:05:00Z"

    def test_the_strange_state_is_taken(self):
        assert incident_row(edit("-100")).to_status == "-100"
        assert "-100" in workflow("incidents")["statuses"]

    def test_a_question_mark_is_missing(self):
        """No actor, no reason, no key in metadata."""
        row = incident_row(edit("Closed", sys_updated_by="?", closed_code="?", resolved_at="?"))

        assert (row.changed_by, row.reason) == (None, None)
        assert "?" not in json.loads(row.metadata).values()
        assert not {"cmdb_ci", "resolved_at"} & json.loads(row.metadata).keys()

    @pytest.mark.parametrize(
        ("state", "at", "reason", "known"),
        [
            ("Active", "29/2/2016 11:29", None, set()),
            ("-100", "6/3/2016 12:00", None, set()),
            ("Resolved", "29/2/2016 11:28", "code 5", set()),
            ("Resolved", "29/2/2016 11:29", "code 5", {"resolved_at", "resolved_by"}),
            ("Resolved", "6/3/2016 12:00", "code 5", {"resolved_at", "resolved_by"}),
            ("Closed", "4/3/2016 12:00", "code 5", {"resolved_at", "resolved_by"}),
            ("Closed", "5/3/2016 12:00", "code 5", {"resolved_at", "resolved_by", "closed_at"}),
        ],
    )
    def test_no_line_knows_the_future(self, state, at, reason, known):
        """Final values copied onto every line count only where they can have been true."""
        row = incident_row(edit(state, at=at))

        assert row.reason == reason
        traps = {"resolved_at", "resolved_by", "closed_at", "closed_code"}
        assert traps & json.loads(row.metadata).keys() == known

    def test_the_rest_is_metadata_unaltered(self):
        """What has a column of its own is not told twice."""
        assert incident_row(edit("New")).metadata == (
            '{"active":"true","opened_at":"29/2/2016 01:16","sys_created_by":"Created by 6"}'
        )

    def test_the_order_of_the_file_stands(self, tmp_path: Path):
        """Even where the clock ran backwards, and for lines that change nothing."""
        source = tmp_path / "log.csv"
        lines = csv_lines(edit("New"), edit("Active", at="28/2/2016 10:00"), edit("Active"))
        source.write_text("\n".join(lines), encoding="utf-8")
        output = tmp_path / "out.csv"

        assert incidents.main([str(source), "--output", str(output)]) == 0
        with output.open(encoding="utf-8", newline="") as written:
            rows = list(csv.DictReader(written))
        assert list(rows[0]) == HEADER.split(",")
        assert [row["toStatus"] for row in rows] == ["New", "Active", "Active"]
        assert {row["fromStatus"] for row in rows} == {""}

    def test_a_bad_line_stops_with_its_number(self):
        lines = csv_lines(edit("New"), edit("New", at="2016-02-29 11:29"))

        with pytest.raises(ValueError, match=r"^row 2: "):
            list(incidents.convert(lines))


@needs_data
class TestFullData:
    @pytest.fixture
    def lines(self, request: pytest.FixtureRequest) -> Iterator[object]:
        with gzip.open(DATA / request.param, "rt", encoding="utf-8", newline="") as lines:
            yield lines

    @pytest.mark.parametrize("lines", ["hotel_bookings.csv.gz"], indirect=True)
    def test_hotel(self, lines):
        """The totals are exact, time agrees with sequence, and the sample is of this data."""
        rules = workflow("hotel")
        moves: Counter[tuple] = Counter()
        finals: Counter[str] = Counter()
        ids = set()

        def watched():
            for rows in hotel.convert(lines):
                assert all(a.created_at < b.created_at for a, b in pairwise(rows))
                assert [row.from_status for row in rows] == [
                    None,
                    *(row.to_status for row in rows[:-1]),
                ]
                moves.update((row.from_status, row.to_status) for row in rows)
                finals[rows[-1].to_status] += 1
                ids.add(rows[0].booking_id)
                yield rows

        picked = hotel.sample(watched(), 300)

        assert moves.total() == 313_946
        assert len(ids) == 119_390
        assert finals == {"Check-Out": 75_166, "Canceled": 43_017, "No-Show": 1_207}
        assert moves.keys() == {(None, rules["initial"])} | {
            (of, to) for of, targets in rules["transitions"].items() for to in targets
        }
        with SAMPLE.open(encoding="utf-8", newline="") as shipped:
            expected = [[cell or "" for cell in row] for rows in picked for row in rows]
            assert list(csv.reader(shipped))[1:] == expected

    @pytest.mark.parametrize("lines", ["uci_incident_event_log.csv.gz"], indirect=True)
    def test_incidents(self, lines):
        """The totals are exact, every case ends Closed, and the workflow lists these states."""
        now: dict[str, str] = {}
        moves: Counter[tuple] = Counter()
        for row in incidents.convert(lines):
            moves[now.get(row.booking_id), row.to_status] += 1
            now[row.booking_id] = row.to_status

        first = sum(count for (of, _), count in moves.items() if of is None)
        unchanged = sum(count for (of, to), count in moves.items() if of == to)
        assert moves.total() == 141_712
        assert (first, unchanged) == (24_918, 52_761)
        assert moves.total() - first - unchanged == 64_033
        assert len([move for move in moves if move[0] is not None]) == 49
        assert Counter(now.values()) == {"Closed": 24_918}
        assert {to for _, to in moves} == set(workflow("incidents")["statuses"])
