"""Times as callers get them."""

from datetime import datetime

import pytest

from api.answers import rfc3339


@pytest.mark.parametrize(
    ("microseconds", "fraction"),
    [(0, "000"), (1_000, "001"), (120_000, "120"), (500, "000"), (999_999, "999")],
)
@pytest.mark.parametrize("year", [1, 1970, 2026, 9999])
def test_a_time_has_milliseconds_whatever_they_are(
    year: int, microseconds: int, fraction: str
) -> None:
    time = datetime(year, 11, 6, 5, 4, 3, microseconds)  # noqa: DTZ001  # as the tables hold times

    assert rfc3339(time) == f"{year:04}-11-06T05:04:03.{fraction}Z"
