"""The questions of docs/analytics.md, run as they stand, by an analyst."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hotel import load_hotel, read_source

from ledger.database import Database

PAGE = (Path(__file__).parents[2] / "docs/analytics.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"^\*\*(\d+)\. (.+?)\*\*.*?^```sql\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture(name="analyst")
def _analyst(database: Database) -> Iterator[psycopg.Connection]:
    load_hotel(database)
    with database.connect() as connection:
        connection.execute("SET ROLE ledger_analyst")
        yield connection


def ask(connection: psycopg.Connection, number: int) -> list[dict[str, object]]:
    (query,) = (query for given, _, query in QUESTIONS if int(given) == number)
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(query).fetchall()


def test_there_are_ten_and_each_has_an_answer(analyst: psycopg.Connection) -> None:
    assert [int(number) for number, _, _ in QUESTIONS] == list(range(1, 11))
    for number, question, _ in QUESTIONS:
        rows = ask(analyst, int(number))
        assert rows, question
        assert any(value is not None for value in rows[-1].values()), question


def test_answers_agree_with_the_source(analyst: psycopg.Connection) -> None:
    bookings = read_source().values()
    ends = [entries[-1].to_status for entries in bookings]

    funnel = {row["to_status"]: row["converted"] for row in ask(analyst, 2)}
    before_arrival = ask(analyst, 4)
    months = ask(analyst, 6)
    paths = ask(analyst, 9)
    (wrong,) = ask(analyst, 10)

    assert funnel == {
        "Check-In": ends.count("Check-Out"),
        "Check-Out": ends.count("Check-Out"),
        "Canceled": ends.count("Canceled"),
        "No-Show": ends.count("No-Show"),
    }
    assert sum(int(str(row["bookings"])) for row in before_arrival) == ends.count("Canceled")
    assert sum(int(str(row["booked"] or 0)) for row in months) == len(ends)
    assert sum(int(str(row["bookings"])) for row in paths) == len(ends)
    assert len(paths) == len({tuple(one.to_status for one in entries) for entries in bookings})
    assert set(wrong.values()) == {0}
