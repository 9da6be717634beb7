"""Search: what fits is found, each booking once, page by page."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hotel import load_hotel, read_source
from plans import TWENTY_THOUSAND, Explaining, rows_at_most

from ledger.database import Database
from projections.search import Search, after_all, find_bookings
from projections.stretches import LOOKED_THROUGH


@pytest.fixture(name="hotel")
def _hotel(database: Database) -> Database:
    load_hotel(database)
    return database


def found(connection: psycopg.Connection, asked: Search, looked_through: int) -> list[str]:
    """All that fits, by pages of 7, as a browser goes through them."""
    ids: list[str] = []
    after = None
    while True:
        page = find_bookings(connection, asked, 7, after, looked_through)
        assert len(page.found) <= 7
        ids += [row.booking.id for row in page.found]
        if page.next is None:
            return ids
        after = page.next


@pytest.mark.parametrize("looked_through", [LOOKED_THROUGH, 20, 1])
def test_it_finds_what_the_source_has(hotel: Database, looked_through: int) -> None:
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
            ids = found(connection, asked, looked_through)
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


@pytest.mark.parametrize(
    "asked",
    [
        Search(to_status="s7", status="s8"),
        Search(to_status="s7", changed_by="u8"),
        Search(to_status="s7", changed_by="u8", prefix="b1"),
        Search(any_change=True, status="none"),
        Search(any_change=True, since=datetime(2026, 1, 3, tzinfo=UTC), status="none"),
        Search(prefix="b1", status="none"),
        Search(prefix="b1", changed_by="nobody"),
        Search(prefix="b1", until=datetime(2026, 1, 1, tzinfo=UTC)),
    ],
    ids=repr,
)
def test_where_nothing_fits_so_many_rows_are_looked_through(
    database: Database, asked: Search
) -> None:
    with Explaining.connect(database.conninfo, autocommit=True) as connection:
        psycopg.Connection.execute(connection, TWENTY_THOUSAND)

        first = find_bookings(connection, asked, 5, looked_through=100)
        second = find_bookings(connection, asked, 5, first.next, looked_through=100)

        assert (first.found, second.found) == ([], [])
        assert first.next is not None
        assert second.next not in {None, first.next}
        assert len(connection.plans) >= 4
        for plan in connection.plans:
            assert rows_at_most(plan) <= 100, plan
            assert "Seq Scan" not in plan, plan
