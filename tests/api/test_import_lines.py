"""The lines of a file, however it is cut into blocks."""

import io
from collections.abc import Iterator

import pytest

from api.imports import lines as import_lines
from api.imports.csv_rows import CsvRows
from api.imports.formats import Reject
from api.imports.lines import Lines


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


@pytest.mark.parametrize("block", [1, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_the_rest_of_a_line_that_is_too_long_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, block: int, end: str
) -> None:
    monkeypatch.setattr(import_lines, "BLOCK_LENGTH", block)
    monkeypatch.setattr(import_lines, "LINE_LENGTH_MAX", 8)
    for length in range(10, 20):
        lines = list(lines_of(f"a{end}{'x' * length}{end}b{end}c"))

        assert [lines[0], *lines[2:]] == [f"a{end}", f"b{end}", "c"], length
        assert lines[1].startswith("xxxxxxxx")


def test_a_row_that_is_given_back_is_read_once_more() -> None:
    lines = lines_of("1\n2\n3\n4\n")
    taken = iter(lines)
    assert [next(taken) for _ in range(3)] == ["1\n", "2\n", "3\n"]

    assert lines.first == 1
    assert lines.row() == "1\n2\n3"
    assert lines.first_line_again() == "1"
    lines.begin_row()

    assert list(lines) == ["2\n", "3\n", "4\n"]
    assert lines.number == 4


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


def test_a_quote_that_is_never_closed_takes_few_lines_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each such line is rejected by itself, after a look at a few more and not at all the rest."""
    looked_at = 0

    class Counted(Lines):
        def __iter__(self) -> Iterator[str]:
            nonlocal looked_at
            for line in super().__iter__():
                looked_at += 1
                yield line

    monkeypatch.setattr(import_lines, "ROW_LINES_MAX", 3)
    content = "bookingId,toStatus,createdAt\n" + 'b","a\n' * 50 + "L-1,pending,2026-01-05\n"

    *rejects, row = CsvRows(Counted(io.BytesIO(content.encode()))).one_by_one()

    assert [(type(one), getattr(one, "line", None)) for one in rejects] == [
        (Reject, number) for number in range(2, 52)
    ]
    assert "L-1" in row  # type: ignore[operator]
    assert looked_at < 52 * 4
