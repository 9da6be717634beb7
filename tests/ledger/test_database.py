"""Where a ledger lives, and what people see of it."""

import pytest

from ledger.database import Database


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:s3cret@db.example:5433/ledger",
        "postgresql://anna@db.example/ledger?password=s3cret",
        "host=db.example user=anna password=s3cret dbname=ledger",
    ],
)
def test_a_password_is_not_shown(url: str) -> None:
    shown = Database(url).shown

    assert "s3cret" not in shown
    assert "db.example" in shown
    assert "anna" in shown


def test_a_url_without_password_is_shown_as_it_is() -> None:
    url = "postgresql://postgres@/postgres?host=%2Ftmp%2Frun&port=5432"

    assert Database(url).shown == url


@pytest.mark.parametrize("schema", ["", "Ledger", "1st", "a-b", "x" * 49, 'a"b'])
def test_a_schema_is_a_plain_name(schema: str) -> None:
    with pytest.raises(ValueError, match="schema"):
        Database("postgresql:///x", schema)
