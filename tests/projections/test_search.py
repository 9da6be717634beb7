"""Search: what fits is found, each booking once, page by page."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hotel import load_hotel, read_source

from ledger.database import Database
from projections import search
from projections.search import Search, after_all, find_bookings


@pytest.fixture(name="hotel")
def _hotel(database: Database) -> Database:
    load_hotel(database)
    return database


def found(connection: psycopg.Connection, asked: Search) -> list[str]:
    """All that fits, by pages of 7, as a browser goes through them."""
    ids: list[str] = []
    after = None
    while True:
        rows = find_bookings(connection, asked, 7, after)
        ids += [row.booking.id for row in rows[:7]]
        if len(rows) <= 7:
            return ids
        after = (rows[6].at, rows[6].tie_breaker)


@pytest.mark.parametrize("looked_through", [search.LOOKED_THROUGH, 20])
def test_it_finds_what_the_source_has(
    hotel: Database, monkeypatch: pytest.MonkeyPatch, looked_through: int
) -> None:
    monkeypatch.setattr(search, "LOOKED_THROUGH", looked_through)
    source = read_source()
    middle = datetime(2016, 7, 1, tzinfo=UTC)
    by_agent = {
        name for name, rows in source.items() if any(row.changed_by == "agent:9" for row in rows)
    }
    cancelled = {
        name
        for name, rows in source.items()
        if any((row.from_status, row.to_status) == ("Booked", "Canceled") for row in rows)
    }
    late = {name for name, rows in source.items() if rows[-1].created_at >= middle}
    early = {name for name, rows in source.items() if rows[0].created_at < middle}
    day = timedelta(days=30)
    that_day = {
        name
        for name, rows in source.items()
        if any(middle <= row.created_at < middle + day for row in rows)
    }
    h2_that_day = {name for name in that_day if name.startswith("H2")}
    h2 = {name for name in source if name.startswith("H2-0")}
    no_show = {name for name, rows in source.items() if rows[-1].to_status == "No-Show"}
    wanted = [
        (Search(), set(source)),
        (Search(prefix="H2-0"), h2),
        (Search(status="No-Show"), no_show),
        (Search(prefix="H2-0", status="No-Show"), h2 & no_show),
        (Search(changed_by="agent:9"), by_agent),
        (Search(changed_by="agent:9", status="No-Show"), by_agent & no_show),
        (Search(to_status="Check-In", status="Canceled"), set()),
        (Search(to_status="Booked", status="No-Show"), no_show),
        (Search(changed_by="agent:9", prefix="H2-0"), by_agent & h2),
        (Search(from_status="Booked", to_status="Canceled"), cancelled),
        (Search(since=middle), late),
        (Search(until=middle, any_change=True), early),
        (Search(any_change=True), set(source)),
        (Search(since=middle, until=middle + day, any_change=True), that_day),
        (Search(since=middle, until=middle + day, any_change=True, prefix="H2"), h2_that_day),
        (Search(until=middle), set(source) - late),
        (Search(changed_by="nobody"), set()),
        (Search(prefix="h2-0"), set()),
    ]
    with hotel.connect() as connection:
        for asked, expected in wanted:
            ids = found(connection, asked)
            assert len(ids) == len(set(ids)), asked
            assert set(ids) == expected, asked
            if asked.prefix is not None:
                assert ids == sorted(ids)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        *(("a", "b"), ("H2-", "H2."), ("\ud7ff", "\ue000"), ("a\U0010ffff", "b")),
        ("\U0010ffff", None),
    ],
)
def test_a_beginning_ends_before_the_next_text(prefix: str, end: str | None) -> None:
    assert after_all(prefix) == end
