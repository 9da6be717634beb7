"""Limits: what a change may say, whichever door it comes through."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ledger import limits
from ledger.errors import InvalidField


@pytest.mark.parametrize(
    ("check", "length_max"),
    [
        (limits.check_booking_id, 200),
        (limits.check_changed_by, 200),
        (limits.check_status, 100),
        (limits.check_source, 200),
        (limits.check_reason, 2_000),
    ],
)
def test_a_text_may_have_so_many_characters_and_no_more(
    check: Callable[[str, str], str], length_max: int
) -> None:
    longest = "ü" * length_max
    assert check(longest, "it") == longest
    with pytest.raises(InvalidField, match=f"it: must have .*{length_max} characters"):
        check(longest + "x", "it")


@pytest.mark.parametrize("bad", ["", "a\x00b", "a\nb", "a\x7fb", "a\x85b", "a\ud800b"])
def test_an_id_is_one_line_that_can_be_stored(bad: str) -> None:
    with pytest.raises(InvalidField) as error:
        limits.check_booking_id(bad)
    assert error.value.field == "bookingId"


def test_a_reason_may_be_empty_and_have_lines() -> None:
    assert limits.check_reason("") == ""
    assert limits.check_reason("one\n\ttwo") == "one\n\ttwo"


@pytest.mark.parametrize("bad", ["a\x00b", "a\udfffb"])
def test_a_reason_can_be_stored(bad: str) -> None:
    with pytest.raises(InvalidField, match="reason: must not contain"):
        limits.check_reason(bad)


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"in": value}
    return value


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"a": "x\x00"}, "NUL"),
        ({"a": [{"x\x00": 1}]}, "NUL"),
        ({"a": "\ud800"}, "cannot be stored"),
        ({"a": 2**64}, "cannot be stored"),
        ({"a": float("nan")}, "NaN"),
        ({"a": [float("-inf")]}, "NaN or infinite"),
        ({"a": "x" * 65_536}, "65536 bytes"),
        (_nested(101), "nested deeper"),
        (_nested(400), "cannot be stored"),
    ],
)
def test_metadata_that_could_not_be_stored_or_read_is_refused(
    bad: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidField, match=f"metadata: .*{message}"):
        limits.check_metadata(bad)


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"a": None, "b": [1, 1.5, True, "ü"]},
        {"a": "\\u0000"},  # six characters, not the one that they denote
        {"list": [[]] * 200},
        {"a": 2**64 - 1, "b": -(2**63)},
        _nested(100),
    ],
)
def test_other_metadata_is_taken_as_it_is(good: dict[str, Any]) -> None:
    assert limits.check_metadata(good) is good


def test_metadata_of_exactly_the_largest_size_is_taken() -> None:
    assert len(limits.canonical_metadata({"a": "x" * (65_536 - 8)})) == 65_536


def test_canonical_metadata_does_not_depend_on_the_order_of_keys() -> None:
    assert limits.canonical_metadata({"b": 1, "a": 2}) == b'{"a":2,"b":1}'


def test_a_time_is_given_in_utc() -> None:
    time = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert limits.check_time(time) == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert limits.check_time(time).tzinfo is UTC


def test_the_year_of_a_time_is_that_in_utc() -> None:
    first = datetime(1899, 12, 31, 23, tzinfo=timezone(timedelta(hours=-1)))
    last = datetime(3000, 1, 1, 0, 59, 59, tzinfo=timezone(timedelta(hours=1)))
    assert limits.check_time(first) == datetime(1900, 1, 1, tzinfo=UTC)
    assert limits.check_time(last) == datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "bad",
    [
        datetime(2026, 3, 1),  # noqa: DTZ001
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12))),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1899, 12, 31, tzinfo=UTC),
        datetime(1900, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))),
        datetime(2999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-1))),
    ],
)
def test_a_time_has_an_offset_and_a_sensible_year(bad: datetime) -> None:
    with pytest.raises(InvalidField, match="occurredAt: must"):
        limits.check_time(bad)
