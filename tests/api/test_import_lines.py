"""The lines of a file, however it is cut into blocks."""

import csv
import io
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.imports import lines as import_lines
from api.imports.csv_quotes import OpenQuote
from api.imports.csv_rows import CsvRows
from api.imports.formats import UnreadableFile
from api.imports.lines import Lines, RowTooLong, may_be_too_long


def lines_of(content: str) -> Lines:
    return Lines(io.BytesIO(content.encode("utf-8", "surrogateescape")))


@pytest.mark.parametrize("block", [1, 2, 3, 5, 64])
@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "a",
        "a\nb",
        "a\r\nb\r\n",
        "a\rb\r",
        "\r\n\r\n",
        "a\n\rb\r\r\n\nc",
        "ä\u2028b\x0bc\nd",
        "\udcfcä\udce2\n\udc82",
    ],
)
def test_lines_end_where_a_text_file_says_so(
    monkeypatch: pytest.MonkeyPatch, block: int, content: str
) -> None:
    monkeypatch.setattr(import_lines, "BLOCK_LENGTH", block)
    lines = lines_of(content)
    expected = io.StringIO(content, newline="").readlines()

    assert list(lines) == expected
    assert lines.number == len(expected)


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert list(lines_of("\ufeffa\n\ufeffb")) == ["a\n", "\ufeffb"]


@pytest.mark.parametrize("block", [1, 3, 4, 5, 6, 7, 64])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_the_rest_of_a_line_that_is_too_long_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, block: int, end: str
) -> None:
    monkeypatch.setattr(import_lines, "BLOCK_LENGTH", block)
    monkeypatch.setattr(import_lines, "LINE_LENGTH_MAX", 8)
    monkeypatch.setattr(import_lines, "ROW_LENGTH_MAX", 8)
    for length in range(8, 40):
        for is_asked_for in (True, False):
            lines = lines_of(f"a{end}{'x' * length}{end}b{end}{'y' * length}")
            taken = iter(lines)
            assert next(taken) == f"a{end}"
            lines.begin_row()
            with pytest.raises(RowTooLong):
                next(taken)
            assert (lines.row(), lines.number) == ("x" * 8, 2)
            if is_asked_for:
                assert "".join(lines.last_line()) == "x" * length + end
            assert lines.take(1) == [f"b{end}"]
            (last,) = lines.take(1)
            assert may_be_too_long([last])
            assert last + "".join(lines.rest_of_line()) == "y" * length
            assert lines.take(1) == []


def test_lines_that_are_taken_and_given_back_are_read_again() -> None:
    lines = lines_of("1\n2\n3\n")
    taken = iter(lines)
    assert next(taken) == "1\n"
    assert lines.take(5) == ["2\n", "3\n"]
    assert lines.number == 3
    lines.give_back(["2\n", "3\n"])
    lines.begin_row()
    assert (next(taken), lines.first) == ("2\n", 2)
    assert lines.take(1) == ["3\n"]
    assert lines.take(1) == []


@pytest.mark.parametrize(
    "rest_of_lines", [b"x" * 60_000 + b"\n", b'x"' * 30_000, b'""' * 30_000, b"x" * 60_000]
)
@pytest.mark.parametrize("begins", ['"', 'A,"two\n', "A,"])
def test_what_is_too_long_is_not_kept_in_memory(rest_of_lines: bytes, begins: str) -> None:
    class Long(io.BytesIO):
        blocks = 500

        def read1(self, size: int | None = -1, /) -> bytes:
            self.blocks -= 1
            return super().read1(size) or (rest_of_lines if self.blocks > 0 else b"")

    rows = CsvRows(Lines(Long(f"bookingId,toStatus,createdAt\n{begins}".encode()))).one_by_one()
    tracemalloc.start()
    try:
        with suppress(UnreadableFile):
            for _ in rows:
                pass
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


@given(
    st.lists(st.text('",ab \x00', max_size=6), max_size=4),
    st.sampled_from(["", "\n", "\r", "\r\n"]),
    st.booleans(),
)
def test_a_quote_is_open_where_the_csv_module_wants_another_line(
    pieces: list[str], end: str, is_open: bool
) -> None:
    is_more_wanted = False

    def lines() -> Iterator[str]:
        nonlocal is_more_wanted
        yield '"' * is_open + "".join(pieces) + end
        is_more_wanted = True

    with suppress(csv.Error):
        next(csv.reader(lines(), strict=True))
    assert OpenQuote(is_open=is_open).is_open_after([*pieces, end]) == is_more_wanted
