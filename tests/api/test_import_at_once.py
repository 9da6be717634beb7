"""Rows that are read many at once say what they say one by one, whatever is among them."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.imports import chunks, fingerprints, lines
from api.imports.chunks import Chunk, read_chunks
from api.imports.csv_rows import CsvRows
from api.imports.fingerprints import Fingerprints
from api.imports.formats import COLUMNS, EXPORTED, Format, OneByOne, Reject, UnreadableFile
from api.imports.ndjson_rows import NdjsonRows
from api.imports.rows import RowReader
from ledger.workflow import DEFAULT

KEY = bytes(32)
TIME = "2026-01-01T10:00:00Z"

PLAIN_VALUES = {
    "bookingId": ["A", "B", "ü", "a b"],
    "fromStatus": ["", "pending", "Elsewhere"],
    "toStatus": ["pending", "confirmed"],
    "changedBy": ["", "anna", "agent\u00a0007"],
    "reason": ["", "late, again", '"so"'],
    "metadata": ["", "{}", '{"b":1,"a":[null,true]}', "null"],
    "createdAt": [TIME, "2026-12-31T23:59:59Z", "1900-01-01T00:00:00Z"],
}


def nested(depth: int) -> str:
    return '{"a":' + "[" * depth + "]" * depth + "}"


ODD_VALUES = {
    "bookingId": ["", "x" * 201, "a\tb", "\x00", "a\u200b", "\udcfc", "x" * 200],
    "fromStatus": ["x" * 101, "a\x1f", "x" * 100],
    "toStatus": ["", "Gone", "Pending", "a\nb"],
    "changedBy": ["x" * 201, "two\nlines", "\udcfc", "x" * 200],
    "reason": ["x" * 2_001, "two\nlines", "a\x00", "\ud83d", "a\rb", "x" * 2_000, "a\n" * 4],
    "metadata": [
        *("{", "[1]", '"x"', "{},{}", '{"a":1}]', "1", " {} ", '{"a":{}', '{"a":0.1,"a":1}'),
        *('{"a":"\\u0000"}', '{"a":"\\\\u0000"}', '{"a":"\\ud800"}', '{"a":NaN}', '{"a":"1e5"}'),
        *('{"a":1e20}', '{"a":1E400}', '{"a":18446744073709551616}', f'{{"a":{10**65}}}'),
        *(f'{{"a":"{"x" * length}"}}' for length in (65_528, 65_529)),
        *(nested(depth) for depth in (99, 100, 300)),
        '{"a":"' + "[" * 101 + '"}',
    ],
    "createdAt": [
        *("", "2026-01-01", "2026-02-30T10:00:00Z", "2026-01-01T24:00:00Z"),
        *("2026-01-01T23:60:00Z", "1899-12-31T23:59:59Z", "3000-01-01T00:00:00Z"),
        *("2026-01-01T10:00:00", "2026-01-01 10:00:00z", "2026-01-01T10:00:00.5+02:00"),
        *("2999-12-31T23:59:59-01:00", "2026-01-01T10:00:0٠Z", "2026-01-01T10:00:00Z "),
        *("1900-01-01T00:30:00+01:00", "1899-12-31T23:30:00-01:00", "2026-01-01T10:00:00+00:99"),
    ],
}
plain_rows = st.fixed_dictionaries({n: st.sampled_from(v) for n, v in PLAIN_VALUES.items()})


@st.composite
def odd_rows(draw: st.DrawFn) -> dict[str, str]:
    row = draw(plain_rows)
    column = draw(st.sampled_from(COLUMNS))
    return {
        **row,
        column: draw(st.sampled_from([odd for odd in ODD_VALUES[column] if len(odd) < 1_000])),
    }


def csv_lines(row: dict[str, str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(row[name] for name in COLUMNS)
    return text.getvalue()


def ndjson_line(row: dict[str, str]) -> str:
    """Empty values left out or null; metadata as an object where it is one."""
    document: dict[str, object] = {name: row[name] or None for name in COLUMNS}
    if row["fromStatus"] == "":
        del document["fromStatus"]
    with suppress(ValueError):
        document["metadata"] = json.loads(row["metadata"])
    return json.dumps(document) + "\n"


CSV_NOISE = [
    *("\n", "A,pending\n", f"A,,pending,,,,{TIME},more\n", f'A,,pending,"anna,,,{TIME}\n', '"\n'),
    f'A,,pending,,"two\nlines",,{TIME}\n',
    f'A,,pending,,"two\nor\nthree\nlines",,{TIME}\n',
    f'A,,pending,,"two\nlines",,"{TIME}"x\n',
    f'A,,pending,"anna,,,{TIME}\nA,,confirmed,"bo"",,,{TIME}\n"\n',
]
GOOD = f'{{"bookingId":"A","toStatus":"pending","createdAt":"{TIME}"'
NDJSON_NOISE = [
    *("\n", "{\n", "[]\n", " {} \n", "1\n"),
    *(
        f"{GOOD},{more}}}\n"
        for more in (
            *('"bookingId":1', '"toStatus":[]', '"fromStatus":{}', '"createdAt":7', '"reason":0'),
            *('"metadata":false', '"metadata":0', '"metadata":""', '"metadata":[]'),
            *('"id":7,"version":{}', '"other":1', '"metadata":{"a":NaN}'),
            *(f'"metadata":{{"a":{number}}}' for number in (10**18, 2**64, 10**22)),
        )
    ),
]

csv_files = st.lists(
    plain_rows.map(csv_lines) | odd_rows().map(csv_lines) | st.sampled_from(CSV_NOISE), max_size=12
)
ndjson_files = st.lists(
    plain_rows.map(ndjson_line) | odd_rows().map(ndjson_line) | st.sampled_from(NDJSON_NOISE),
    max_size=12,
)


def read(content: bytes, format_: Format, *, gzipped: bool = False) -> list[Any]:
    """The chunks; at their end the error, where there was one."""
    reader = RowReader(KEY, DEFAULT)
    found: list[Any] = []
    with io.BytesIO(content) as binary:
        try:
            found.extend(read_chunks(binary, format_, reader, gzipped=gzipped))
        except UnreadableFile as error:
            found.append(error)
    return found


@contextmanager
def only_one_by_one() -> Iterator[None]:
    with (
        mock.patch.object(CsvRows, "at_once", side_effect=OneByOne),
        mock.patch.object(NdjsonRows, "at_once", side_effect=OneByOne),
    ):
        yield


def read_one_by_one(content: bytes, format_: Format) -> list[Any]:
    with only_one_by_one():
        return read(content, format_)


def together(read: list[Any]) -> tuple[list[list[Any]], list[Reject]]:
    """All rows and all rejects, wherever chunks end."""
    columns: list[list[Any]] = [[] for _ in range(6)]
    found = [chunk for chunk in read if isinstance(chunk, Chunk)]
    for chunk in found:
        for column, more in zip(columns, chunk.rows.columns(), strict=True):
            column.extend(more)
    return columns, [reject for chunk in found for reject in chunk.rejects]


def require_the_same(content: bytes, format_: Format, block: int) -> None:
    with (
        mock.patch.object(lines, "BLOCK_LENGTH", block),
        mock.patch.object(lines, "ROW_LINES_MAX", 3),
        mock.patch.object(chunks, "CHUNK_ROWS", 5),
    ):
        with only_one_by_one():
            expected = read(content, format_)
        found = read(content, format_)
    assert together(found) == together(expected)
    ends = [one for one in found if isinstance(one, UnreadableFile)]
    assert list(map(str, ends)) == [str(one) for one in expected if isinstance(one, UnreadableFile)]
    assert all(len(chunk) <= 5 for chunk in found if isinstance(chunk, Chunk))
    assert all(map(len, found[: len(found) - 2 * len(ends)]))


class TestTheSameAsOneByOne:
    @given(csv_files, st.sampled_from([40, 150, 65_536]))
    @example([csv_lines(dict.fromkeys(COLUMNS, ""))], 65_536)
    def test_csv(self, rows: list[str], block: int) -> None:
        content = ",".join(COLUMNS) + "\n" + "".join(rows)
        require_the_same(content.encode("utf-8", "surrogatepass"), "csv", block)

    @given(ndjson_files, st.sampled_from([40, 150, 65_536]))
    def test_ndjson(self, rows: list[str], block: int) -> None:
        require_the_same("".join(rows).encode("utf-8", "surrogatepass"), "ndjson", block)

    @given(csv_files, st.sampled_from([7, 40, 150]))
    def test_csv_with_rows_that_are_too_long(self, rows: list[str], block: int) -> None:
        content = ",".join(COLUMNS) + "\n" + "".join(rows)
        with (
            mock.patch.object(lines, "LINE_LENGTH_MAX", 180),
            mock.patch.object(lines, "ROW_LENGTH_MAX", 180),
        ):
            require_the_same(content.encode("utf-8", "surrogatepass"), "csv", block)

    @given(
        st.lists(
            st.dictionaries(
                st.sampled_from(["a", "stage1e5", "1e5", ":1e5", "ü", "Suite2"]),
                st.recursive(
                    st.uuids().map(str)
                    | st.text('0123456789e-+:,[".é', max_size=8)
                    | st.integers(-(10**20), 10**20)
                    | st.floats(allow_nan=False, allow_infinity=False)
                    | st.sampled_from([-0.0, 0, 1e16, 1e15, 1e-5, 0.0001, None]),
                    lambda inner: (
                        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab1"), inner)
                    ),
                    max_leaves=6,
                ),
            ),
            min_size=1,
            max_size=8,
        ),
        st.sampled_from([json.dumps, lambda one: json.dumps(one).replace("e+", "E").upper()]),
    )
    def test_metadata_with_what_looks_like_a_float(
        self, documents: list[dict[str, object]], write: Callable[[object], str]
    ) -> None:
        plain = {name: values[0] for name, values in PLAIN_VALUES.items()}
        texts = [write(one) for one in documents]
        rows = "".join(csv_lines(plain | {"metadata": text}) for text in texts)
        require_the_same(f"{','.join(COLUMNS)}\n{rows}".encode(), "csv", 65_536)
        lines_of_text = (f'{GOOD},"metadata":{text}}}\n' for text in texts)
        require_the_same("".join(lines_of_text).encode(), "ndjson", 65_536)

    @pytest.mark.parametrize("column", COLUMNS)
    def test_each_odd_value_among_plain_ones(self, column: str) -> None:
        plain = {name: values[0] for name, values in PLAIN_VALUES.items()}
        for odd in ODD_VALUES[column]:
            self._csv_among_plain_ones(csv_lines(plain | {column: odd}))
            self._ndjson_among_plain_ones(ndjson_line(plain | {column: odd}))

    def test_all_else_that_is_odd_among_plain_ones(self) -> None:
        for noise in CSV_NOISE:
            self._csv_among_plain_ones(noise)
        for noise in NDJSON_NOISE:
            self._ndjson_among_plain_ones(noise)

    def _csv_among_plain_ones(self, odd: str) -> None:
        content = f"{','.join(COLUMNS)}\n" + odd.join([f"A,,pending,,,,{TIME}\n"] * 2)
        require_the_same(content.encode("utf-8", "surrogatepass"), "csv", 65_536)

    def _ndjson_among_plain_ones(self, odd: str) -> None:
        content = odd.join([GOOD + "}\n"] * 2)
        require_the_same(content.encode("utf-8", "surrogatepass"), "ndjson", 65_536)

    @given(
        st.lists(st.lists(st.sampled_from([b"[1]", b"[2]", b"[3]", b"[4]"]), max_size=4)),
        st.integers(1, 5),
    )
    def test_fingerprints(self, parts: list[list[bytes]], occurrences_max: int) -> None:
        with mock.patch.object(fingerprints, "OCCURRENCES_MAX", occurrences_max):
            at_once, one_by_one = Fingerprints(KEY), Fingerprints(KEY)
            for part in parts:
                assert at_once.of_all(part) == [one_by_one.of(content) for content in part]


FORGED = f"\nVICTIM,cancelled,{TIME},manager,\n"
HEADER = ["bookingId", "toStatus", "createdAt", "changedBy", "reason"]

texts = st.lists(
    st.sampled_from([FORGED, FORGED, "\n", "\r\n", "\r", '"', '",', "x" * 50, "ü,"]), max_size=8
).map("".join)


def written(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


class TestALineWithinQuotesIsNoRow:
    @given(st.lists(st.tuples(texts, texts), max_size=6), st.sampled_from([7, 40, 65_536]))
    def test_what_a_csv_writer_writes_as_one_row_is_one(
        self, given_texts: list[tuple[str, str]], block: int
    ) -> None:
        rows = [
            [note, f"B{number}", "pending", TIME, "guest", reason]
            for number, (note, reason) in enumerate(given_texts)
        ]
        begin = [
            len(io.StringIO(written(rows[:number]), newline="").readlines()) + 2
            for number in range(len(rows))
        ]
        with (
            mock.patch.object(lines, "BLOCK_LENGTH", block),
            mock.patch.object(lines, "ROW_LINES_MAX", 3),
            mock.patch.object(lines, "ROW_LENGTH_MAX", 120),
            mock.patch.object(lines, "LINE_LENGTH_MAX", 120),
        ):
            found = read(written([["id", *HEADER], *rows]).encode(), "csv")
        (booking_ids, *_), rejects = together(found)
        assert all(isinstance(chunk, Chunk) for chunk in found)
        rejected = [begin.index(reject.line) for reject in rejects]
        assert booking_ids == [f"B{n}" for n in range(len(rows)) if n not in rejected]
        for number, reject in zip(rejected, rejects, strict=True):
            row = written([rows[number]])
            assert len(row) >= 120 or row.count("\n") + row.count("\r") > 3, reject
            assert row.startswith(reject.row)
            assert len(reject.row) <= 120

    @pytest.mark.parametrize(
        ("reason", "why"),
        [
            ("x\n" * 1_001, "has more than 1,000 lines"),
            ("x" * 2_100_000, "has 2,097,152 characters or more"),
            ("x" * 2_200_000, "has 2,097,152 characters or more"),
            (("x" * 2_000 + "\n") * 1_050, "has more than 1,000 lines"),
            (("x" * 2_500 + "\n") * 1_000, "has 2,097,152 characters or more"),
            ("x" * 140_000, "reason: must have at most 2000 characters"),
            (("x" * 200 + "\n") * 900, "reason: must have at most 2000 characters"),
        ],
    )
    @pytest.mark.parametrize("more", ["", '"', "\n\n"])
    def test_nor_where_the_row_is_too_long(self, reason: str, why: str, more: str) -> None:
        rows = [
            ["A", "pending", TIME, "guest", f"hello{FORGED}{reason}{FORGED}{more}"],
            ["B", "pending", TIME, "guest", f"{reason}{FORGED}"],
            ["C", "pending", TIME, "guest", f"{more}{FORGED}"],
        ]
        for find in (read, read_one_by_one):
            (booking_ids, *_), rejects = together(find(written([HEADER, *rows]).encode(), "csv"))
            assert booking_ids == ["C"]
            assert [reject.reason for reject in rejects] == [why] * 2
            assert rejects[0].line == 2
            assert all(len(reject.row) <= lines.ROW_LENGTH_MAX for reject in rejects)

    def test_nor_the_lines_of_a_row_to_where_it_is_no_csv(self) -> None:
        row = f'A,pending,{TIME},"guest{FORGED}"x,'
        content = f"{written([HEADER])}{row}\nB,pending,{TIME},,\n"
        for find in (read, read_one_by_one):
            (booking_ids, *_), rejects = together(find(content.encode(), "csv"))
            assert booking_ids == ["B"]
            assert [(reject.line, reject.row) for reject in rejects] == [(2, row)]

    @pytest.mark.parametrize("lines_behind", [0, 1, 10, 2_000])
    def test_nor_what_stands_behind_a_quote_that_is_never_closed(self, lines_behind: int) -> None:
        content = f'{written([HEADER])}A,pending,{TIME},,\n\nB,pending,{TIME},guest,"x{FORGED}'
        for find in (read, read_one_by_one):
            *found, error = find((content + "x\n" * lines_behind).encode(), "csv")
            assert together(found) == together(
                read(content[: content.index("\nB,")].encode(), "csv")
            )
            assert isinstance(error, UnreadableFile)
            assert "The row that begins in line 4 has a quote that is never closed" in str(error)

    def test_a_header_that_is_too_long_is_none(self) -> None:
        (error,) = read(b'"' + b"x\n" * 2_000, "csv")
        assert str(error) == "The header has more than 1,000 lines."

    def test_a_line_that_is_too_long_is_no_row_though_its_beginning_is(self) -> None:
        for content, format_ in (
            (f"{GOOD}}}{' ' * 2_097_152}more\n{GOOD}}}\n", "ndjson"),
            (f"bookingId,toStatus,createdAt,id\nA,pending,{TIME},{'x' * 2_097_152}\n", "csv"),
        ):
            found = together(read(content.encode(), format_))
            assert len(found[0][0]) == (format_ == "ndjson")
            assert [reject.reason for reject in found[1]] == ["has 2,097,152 characters or more"]


class TestWhatIsReadAtOnce:
    @pytest.mark.parametrize("format_", ["csv", "ndjson"])
    def test_plain_rows_all_are(self, format_: Format, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = [
            {
                "bookingId": f"B{number}", "fromStatus": "Elsewhere", "toStatus": "pending",
                "changedBy": "ünal\u00a0k", "reason": "late, again", "createdAt": TIME,
                "metadata": '{"a":null,"b":"' + "{" * 90 + '"}',
            }
            for number in range(10_000)
        ]  # fmt: skip
        if format_ == "csv":
            content = ",".join(COLUMNS) + "\n" + "".join(map(csv_lines, rows))
        else:
            content = "".join(map(ndjson_line, rows))
        monkeypatch.setattr(RowReader, "read", None)
        assert [len(chunk) for chunk in read(content.encode(), format_)] == [4_000, 4_000, 2_000]

    @pytest.mark.parametrize("format_", ["csv", "ndjson"])
    def test_metadata_with_what_only_looks_like_a_float_is(
        self, format_: Format, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And is known by the same as when it is read alone."""
        plain = {name: values[0] for name, values in PLAIN_VALUES.items()}
        looks = ("7e4a", "stage1", "91e5-3e-7", "Suite2", "x, 1e5", "ü1e5")
        rows = [plain | {"metadata": json.dumps({look: [look], "b": 1.5})} for look in looks]
        if format_ == "csv":
            content = ",".join(COLUMNS) + "\n" + "".join(map(csv_lines, rows))
        else:
            content = "".join(map(ndjson_line, rows))
        expected = read_one_by_one(content.encode(), format_)
        monkeypatch.setattr(RowReader, "read", None)
        assert together(read(content.encode(), format_)) == together(expected)

    def test_columns_that_a_ledger_adds_and_lacks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(RowReader, "read", None)
        content = f"{EXPORTED[0]},createdAt,toStatus,bookingId\n7,{TIME},pending,A\n"
        (chunk,) = read(content.encode(), "csv")
        assert [column[0] for column in chunk.rows.columns()[:5]] == [
            "A",
            "pending",
            None,
            TIME,
            None,
        ]

    def test_other_times_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(RowReader, "read", None)
        content = "bookingId,toStatus,createdAt\nA,pending,2026-01-01T10:00:00.5+02:00\n"
        (chunk,) = read(content.encode(), "csv")
        assert chunk.rows.occurred_at == ["2026-01-01T08:00:00.500000Z"]

    @pytest.mark.parametrize(("every", "alone_max"), [(10_000, 2_000), (200, 6_000)])
    def test_an_odd_row_takes_few_others_along(self, every: int, alone_max: int) -> None:
        rows = [f"B{number},pending,{TIME}\n" for number in range(10_000)]
        rows[every // 2 :: every] = ["odd\n"] * (10_000 // every)
        with mock.patch.object(RowReader, "read", autospec=True, side_effect=RowReader.read) as one:
            found = read("".join(("bookingId,toStatus,createdAt\n", *rows)).encode(), "csv")
        assert sum(map(len, found)) == 10_000
        assert sum(len(chunk.rejects) for chunk in found) == 10_000 // every
        assert 0 < one.call_count <= alone_max

    def test_long_rows_come_in_smaller_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chunks, "CHUNK_CHARACTERS", 100_000)
        rows = [f"B{number},pending,{TIME},{'x' * 1_000}\n" for number in range(1_000)]
        found = read("".join(("bookingId,toStatus,createdAt,reason\n", *rows)).encode(), "csv")
        assert sum(map(len, found)) == 1_000
        assert max(map(len, found)) < 200

    @pytest.mark.parametrize("format_", ["csv", "ndjson"])
    def test_so_do_rows_that_are_read_one_by_one(
        self, monkeypatch: pytest.MonkeyPatch, format_: Format
    ) -> None:
        """Though rows have many lines, are rejected, or stand behind many blank lines."""
        monkeypatch.setattr(chunks, "CHUNK_CHARACTERS", 100_000)
        if format_ == "csv":
            lines_of_text = "two\nlines\n" * 180
            row, wrong = f'A,pending,{TIME},"{lines_of_text}"\n', f'A,pending,"{lines_of_text}"\n'
        else:
            row, wrong = GOOD + "}\n", '{"x":"' + "x" * 2_000 + '"}\n'
        header = "bookingId,toStatus,createdAt,reason\n" if format_ == "csv" else ""
        for one in (row, wrong, "\n" * 1_900 + row):
            found = read((header + one * 1_000).encode(), format_)
            assert sum(map(len, found)) == 1_000
            assert max(map(len, found)) <= 100_000 / len(one) + 1
            assert min(map(len, found)) >= 1

    def test_behind_many_blank_lines_are_rows_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chunks, "CHUNK_CHARACTERS", 1_000)
        content = "bookingId,toStatus,createdAt\n" + "\n" * 200_000 + f"A,pending,{TIME}\n"
        (chunk,) = read(content.encode(), "csv")
        assert chunk.rows.booking_ids == ["A"]

    @pytest.mark.parametrize("format_", ["csv", "ndjson"])
    def test_a_file_that_grows_ends_where_its_end_was_seen(self, format_: Format) -> None:
        """Also where the rows before it were read one by one, and others stand behind it."""
        header = "bookingId,toStatus,createdAt\n" if format_ == "csv" else ""
        line = f"A,pending,{TIME}\n" if format_ == "csv" else GOOD + "}\n"
        first, more = f"{header}{line}\n".encode(), f"{line}{line[:9]}".encode()

        class Growing(io.BytesIO):
            ends = 0

            def read1(self, size: int | None = -1, /) -> bytes:
                found = super().read1(size)
                if not found:
                    self.ends += 1
                    if self.ends == 1:
                        self.write(more)
                        self.seek(len(first))
                return found

        with Growing(first) as binary:
            reader = RowReader(KEY, DEFAULT)
            found = list(read_chunks(binary, format_, reader, gzipped=False))
            assert binary.getvalue() == first + more
        assert [(chunk.rows.booking_ids, chunk.rejects) for chunk in found] == [(["A"], [])]

    def test_what_is_nested_too_deeply_is_rejected(self) -> None:
        deep = f'{GOOD},"id":{"[" * 1_000}12345678901234567890{"]" * 1_000}}}\n'
        with only_one_by_one():
            (chunk,) = read(f"{GOOD}}}\n{deep}".encode(), "ndjson")
        assert [(reject.line, reject.reason) for reject in chunk.rejects] == [
            (2, "is nested too deeply")
        ]

    @pytest.mark.parametrize("behind", [0, 1])
    def test_the_line_after_one_that_is_too_long_is_read(self, behind: int) -> None:
        """Also where a return, which a newline may follow, is the last that a block has."""
        header = "bookingId,toStatus,createdAt\r"
        block = lines.BLOCK_LENGTH
        long = "x" * (lines.LINE_LENGTH_MAX + block - len(header) - 1 + behind) + "\r"
        rows = "".join(f"{booking},pending,{TIME}\r" for booking in "AB")
        found = read(f"{header}{long}{rows}".encode(), "csv")
        assert together(found)[0][0] == ["A", "B"]
        assert [(one.line, len(one.row)) for one in together(found)[1]] == [
            (2, lines.LINE_LENGTH_MAX)
        ]

    @pytest.mark.parametrize("count", [100, 1_000])
    @pytest.mark.parametrize("format_", ["csv", "ndjson"])
    def test_no_row_before_the_damage_of_an_archive_is_lost(
        self, count: int, format_: Format
    ) -> None:
        header, row = "", GOOD + "}\n"
        if format_ == "csv":
            header, row = "bookingId,toStatus,createdAt\n", f"A,pending,{TIME}\n"
        archive = gzip.compress((header + row * count).encode())
        *found, error = read(archive[:-1], format_, gzipped=True)
        assert isinstance(error, UnreadableFile)
        assert sum(len(chunk.rows) for chunk in found) == count

    def test_all_before_the_damage_of_an_archive_is_read(self) -> None:
        rows = "".join(f"B{number},pending,{TIME}\n" for number in range(20_000))
        archive = gzip.compress(f"bookingId,toStatus,createdAt\n{rows}".encode())
        for damaged in (archive[: len(archive) // 2], archive[:-8] + bytes(8)):
            with only_one_by_one():
                *expected, why = read(damaged, "csv", gzipped=True)
            *found, error = read(damaged, "csv", gzipped=True)
            assert isinstance(error, UnreadableFile)
            assert str(error) == str(why)
            assert together(found) == together(expected)
            assert len(together(found)[0][0]) > 1_000
