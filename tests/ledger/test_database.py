"""Where a ledger lives, and what people see of it."""

import os
import socket
import sys

import pytest
from cutting_proxy import CuttingProxy
from psycopg.conninfo import conninfo_to_dict

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


@pytest.mark.skipif(sys.platform != "linux", reason="the options have these names on Linux")
def test_a_silent_network_is_a_lost_connection(database: Database) -> None:
    with (
        CuttingProxy(database) as proxy,
        proxy.database.connect() as connection,
        socket.socket(fileno=os.dup(connection.fileno())) as own,
    ):
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_how_long_a_network_may_be_silent_is_the_urls_to_say() -> None:
    given = "postgresql://db.example/ledger?keepalives_idle=60&tcp_user_timeout=0"
    found = conninfo_to_dict(Database(given).conninfo)

    assert (found["keepalives_idle"], found["tcp_user_timeout"]) == ("60", "0")
    assert found["keepalives_count"] == "3"


@pytest.mark.parametrize("schema", ["", "Ledger", "1st", "a-b", "x" * 49, 'a"b'])
def test_a_schema_is_a_plain_name(schema: str) -> None:
    with pytest.raises(ValueError, match="schema"):
        Database("postgresql:///x", schema)
