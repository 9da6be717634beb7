"""Keys: stored hashed, found fast, dead everywhere as soon as they are revoked."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from api import keys
from api.keys import (
    ROLES,
    KeyNotFound,
    KeyRing,
    Principal,
    create_key,
    ensure_first_key,
    list_keys,
    revoke_key,
)
from ledger.database import Database
from ledger.errors import InvalidField, StoreUnavailable
from ledger.schema import migrate

ADMIN_KEY = "an-admin-key-of-the-environment"
NOWHERE = Database("postgresql://nobody@127.0.0.1:1/nothing")

OpenRing = Callable[..., KeyRing]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def open_ring(database: Database) -> Iterator[OpenRing]:
    rings: list[KeyRing] = []

    def open_one(
        target: Database = database, admin_key: str | None = None, clock: Clock | None = None
    ) -> KeyRing:
        ring = KeyRing(target, admin_key, clock=clock or time.monotonic)
        rings.append(ring)
        if target is database:
            assert eventually(lambda: ring._memory is not None, 5)
        return ring

    yield open_one
    for ring in rings:
        ring.close()


def eventually(condition: Callable[[], bool], seconds: float = 1.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return condition()


def count_queries(ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    asked: list[bytes] = []
    first = ring._lookup.first

    def counted(statement: str, values: tuple[bytes]) -> tuple[object, ...] | None:
        asked.extend(values)
        return first(statement, values)

    monkeypatch.setattr(ring._lookup, "first", counted)
    return asked


def guess() -> str:
    return f"bl_{secrets.token_urlsafe(32)}"


def close_doors(server_url: str, database: Database, *, closed: bool) -> None:
    """Lose all connections to a database and let no new one in, or let them in again."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        name = psycopg.conninfo.conninfo_to_dict(database.url)["dbname"]
        connection.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                sql.Identifier(str(name)), sql.Literal(not closed)
            )
        )
        if closed:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )


def test_secret_is_shown_once_and_never_stored(connection: psycopg.Connection) -> None:
    key = create_key(connection, "front desk", "writer")

    assert keys.SECRET.fullmatch(key.secret)
    (row,) = connection.execute("SELECT to_jsonb(k)::text FROM api_key AS k").fetchone() or ("",)
    assert key.id in row
    for form in (key.secret, key.secret[3:], key.secret.encode().hex()):
        assert form not in row
    assert create_key(connection, "front desk", "writer").secret != key.secret


def test_key_speaks_for_its_name_and_role(
    connection: psycopg.Connection, open_ring: OpenRing
) -> None:
    key = create_key(connection, "front desk", "writer")
    ring = open_ring()

    expected = Principal("front desk", "writer", "key:front desk", f"key:{key.id}", None)
    assert ring.cached(key.secret) is None
    assert ring.find(key.secret) == expected
    assert ring.cached(key.secret) == expected


@pytest.mark.parametrize("name", ["", "   ", "a" * 101, "line\nbreak", "nul\0", "bell\a"])
def test_names_are_printable_and_short(connection: psycopg.Connection, name: str) -> None:
    with pytest.raises(InvalidField) as refused:
        create_key(connection, name, "reader")

    assert refused.value.field == "name"
    assert list_keys(connection) == []


def test_longest_name_and_other_scripts_are_taken(connection: psycopg.Connection) -> None:
    for name in ("a" * 100, "Empfang Süd, Schlüssel 2", "受付"):
        create_key(connection, name, "reader")

    assert {"受付", "a" * 100} < {key.name for key in list_keys(connection)}


def test_role_is_one_of_five_in_code_and_in_the_database(connection: psycopg.Connection) -> None:
    with pytest.raises(InvalidField) as refused:
        create_key(connection, "root", "root")  # type: ignore[arg-type]
    assert refused.value.field == "role"
    assert all(role in refused.value.message for role in ROLES)

    for role in ROLES:
        create_key(connection, role, role)
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("UPDATE api_key SET role = 'root'")
    assert [key.role for key in list_keys(connection)] == list(ROLES)


def test_revoking_twice_keeps_the_first_time(connection: psycopg.Connection) -> None:
    key = create_key(connection, "front desk", "writer")
    kept = create_key(connection, "back office", "reader")

    first = revoke_key(connection, key.id)
    assert first.revoked_at is not None
    assert revoke_key(connection, key.id) == first
    assert list_keys(connection)[0] == first
    assert [k.id for k in list_keys(connection) if k.revoked_at is None] == [kept.id]


@pytest.mark.parametrize("key_id", ["", "unknown", "nul\0"])
def test_unknown_key_cannot_be_revoked(connection: psycopg.Connection, key_id: str) -> None:
    with pytest.raises(KeyNotFound):
        revoke_key(connection, key_id)


def test_revoked_key_dies_in_every_process_at_once(
    connection: psycopg.Connection, open_ring: OpenRing
) -> None:
    key = create_key(connection, "front desk", "writer")
    rings = [open_ring(), open_ring()]
    assert all(ring.find(key.secret) for ring in rings)

    revoke_key(connection, key.id)

    # At once is less than KNOWN_SECONDS, after which memory fades by itself.
    assert eventually(lambda: not any(ring.find(key.secret) for ring in rings), 1.0)
    assert not any(ring.cached(key.secret) for ring in rings)


def test_revocation_counts_when_it_is_committed(
    database: Database, connection: psycopg.Connection, open_ring: OpenRing
) -> None:
    key = create_key(connection, "front desk", "writer")
    ring = open_ring()
    with database.connect() as other, other.transaction(force_rollback=True):
        revoke_key(other, key.id)
        assert ring.find(key.secret) is not None

    assert ring.find(key.secret) is not None


def test_each_ledger_announces_on_its_own_channel(empty_database: Database) -> None:
    for schema in ("ledger", "other_ledger"):
        database = Database(empty_database.url, schema)
        migrate(database)
        with database.connect() as listener, database.connect() as connection:
            for each in ("ledger", "other_ledger"):
                listener.execute(f"LISTEN {Database(empty_database.url, each).channel('keys')}")
            revoke_key(connection, create_key(connection, "front desk", "writer").id)

            heard = {n.channel for n in listener.notifies(timeout=1, stop_after=2)}

        assert heard == {database.channel("keys")}


def test_key_revoked_without_notice_dies_within_seconds(
    connection: psycopg.Connection, open_ring: OpenRing
) -> None:
    clock = Clock()
    key = create_key(connection, "front desk", "writer")
    ring = open_ring(clock=clock)
    assert ring.find(key.secret) is not None
    connection.execute("UPDATE api_key SET revoked_at = now()")

    clock.now += 4.9
    assert ring.cached(key.secret) is not None
    clock.now += 0.2
    assert ring.cached(key.secret) is None
    assert ring.find(key.secret) is None


def test_answer_that_a_revocation_overtook_is_not_kept(
    connection: psycopg.Connection, open_ring: OpenRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = create_key(connection, "front desk", "writer")
    ring = open_ring()
    memory = ring._memory
    first = ring._lookup.first

    def overtaken(statement: str, values: tuple[bytes]) -> tuple[object, ...] | None:
        row = first(statement, values)
        revoke_key(connection, key.id)
        assert eventually(lambda: ring._memory is not memory)
        return row

    monkeypatch.setattr(ring._lookup, "first", overtaken)
    assert ring.find(key.secret) is not None

    assert ring.cached(key.secret) is None


def test_ring_forgets_when_the_database_was_away(
    server_url: str, database: Database, open_ring: OpenRing
) -> None:
    with database.connect() as connection:
        kept = create_key(connection, "kept", "writer")
        lost = create_key(connection, "lost", "writer")
    ring = open_ring(clock=Clock())  # it stands still: nothing fades by itself
    assert ring.find(kept.secret)
    assert ring.find(lost.secret)

    close_doors(server_url, database, closed=True)
    assert eventually(lambda: ring.cached(lost.secret) is None)
    with pytest.raises(StoreUnavailable):
        ring.find(kept.secret)
    close_doors(server_url, database, closed=False)
    with database.connect() as connection:
        connection.execute("UPDATE api_key SET revoked_at = now() WHERE id = %s", (lost.id,))

    assert ring.find(kept.secret)
    assert eventually(lambda: ring._memory is not None, 10)
    assert ring.find(lost.secret) is None
    assert ring.find(kept.secret)
    assert ring.cached(kept.secret)


def test_lost_connection_is_made_again_unnoticed(
    connection: psycopg.Connection, open_ring: OpenRing
) -> None:
    key = create_key(connection, "front desk", "writer")
    ring = open_ring()
    assert ring.find(guess()) is None
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    assert ring.find(key.secret) is not None


def test_memory_is_not_used_while_nobody_listens(
    connection: psycopg.Connection, open_ring: OpenRing
) -> None:
    key = create_key(connection, "front desk", "writer")
    ring = open_ring()
    with ring._swap:  # keeps the listener out
        ring._memory = None
        assert ring.find(key.secret) is not None
        assert ring.cached(key.secret) is None
        connection.execute("UPDATE api_key SET revoked_at = now()")
        assert ring.find(key.secret) is None


def test_admin_key_of_the_environment_needs_no_database(open_ring: OpenRing) -> None:
    ring = open_ring(NOWHERE, ADMIN_KEY)

    for find in (ring.cached, ring.find):
        found = find(ADMIN_KEY)
        assert found is not None
        assert (found.role, found.scope, found.subject) == ("admin", "admin-key", None)
        for other in (
            "",
            ADMIN_KEY[:-1],
            f"{ADMIN_KEY} ",
            ADMIN_KEY.upper(),
            "schlüssel",
            "\udc80",
        ):
            assert find(other) is None
    with pytest.raises(StoreUnavailable):
        ring.find(guess())


def test_nothing_is_admin_without_an_admin_key(open_ring: OpenRing) -> None:
    ring = open_ring()

    assert [ring.find(secret) for secret in ("", "None", ADMIN_KEY, guess())] == [None] * 4


def test_last_use_is_recorded_once_a_minute(
    connection: psycopg.Connection, open_ring: OpenRing
) -> None:
    clock = Clock()
    key = create_key(connection, "front desk", "writer")
    unused = create_key(connection, "back office", "writer")
    ring = open_ring(clock=clock)

    def last_used() -> object:
        return {k.id: k.last_used_at for k in list_keys(connection)}[key.id]

    assert last_used() is None
    ring.find(key.secret)
    assert eventually(lambda: last_used() is not None)
    connection.execute(
        "UPDATE api_key SET last_used_at = now() - interval '90 s' WHERE id = %s", (key.id,)
    )
    back = last_used()

    clock.now += 59
    ring.find(key.secret)
    ring.cached(key.secret)
    time.sleep(3 * keys.POLL_SECONDS)
    assert last_used() == back

    clock.now += 2
    ring.find(key.secret)
    assert eventually(lambda: last_used() != back)
    assert {k.id: k.last_used_at for k in list_keys(connection)}[unused.id] is None


def test_processes_record_the_same_use_once(
    connection: psycopg.Connection, open_ring: OpenRing
) -> None:
    key = create_key(connection, "front desk", "writer")
    open_ring().find(key.secret)
    assert eventually(lambda: list_keys(connection)[0].last_used_at is not None)
    first = list_keys(connection)[0].last_used_at

    ring = open_ring()
    ring.find(key.secret)
    ring.close()

    assert ring._uses.empty()
    assert list_keys(connection)[0].last_used_at == first


def test_use_is_recorded_before_a_ring_closes(
    connection: psycopg.Connection, open_ring: OpenRing
) -> None:
    key = create_key(connection, "front desk", "writer")
    ring = open_ring()
    ring.find(key.secret)
    ring.close()

    assert list_keys(connection)[0].last_used_at is not None


def test_recording_a_use_waits_for_nobody(
    database: Database, connection: psycopg.Connection, open_ring: OpenRing
) -> None:
    held = create_key(connection, "held", "writer")
    key = create_key(connection, "front desk", "writer")
    ring = open_ring()
    assert ring.find(key.secret)
    with database.connect() as other, other.transaction():
        other.execute("SELECT FROM api_key WHERE id = %s FOR UPDATE", (held.id,))
        assert ring.find(held.secret)
        assert eventually(ring._uses.empty)

        revoke_key(connection, key.id)
        assert eventually(lambda: ring.find(key.secret) is None)


def test_use_that_cannot_be_recorded_fails_nothing(
    connection: psycopg.Connection, open_ring: OpenRing, caplog: pytest.LogCaptureFixture
) -> None:
    key = create_key(connection, "front desk", "writer")
    connection.execute("ALTER TABLE api_key RENAME last_used_at TO hidden")
    ring = open_ring()
    memory = ring._memory

    assert ring.find(key.secret) is not None
    assert eventually(lambda: "could not be recorded" in caplog.text)
    assert ring._memory is memory
    assert ring.cached(key.secret) is not None


def test_guessing_costs_no_memory(
    connection: psycopg.Connection, open_ring: OpenRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "UNKNOWN_MAX", 20)
    key = create_key(connection, "front desk", "writer")
    ring = open_ring(clock=Clock())
    ring.find(key.secret)
    memory = ring._memory
    assert memory is not None

    assert [ring.find(guess()) for _ in range(200)] == [None] * 200

    assert ring._memory is memory
    assert (len(memory._known), len(memory._unknown), len(ring._noted)) == (1, 20, 1)
    assert ring.cached(key.secret) is not None


def test_what_is_no_key_is_not_asked_for(
    open_ring: OpenRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = open_ring()
    asked = count_queries(ring, monkeypatch)

    for secret in ("", "bl_", "bl_" + "a" * 42, "bl_" + "a" * 44, "eyJ.eyJ.sig", guess() + "\n"):
        assert ring.find(secret) is None

    assert asked == []


def test_unknown_secret_is_asked_for_once_a_second(
    open_ring: OpenRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    ring = open_ring(clock=clock)
    asked = count_queries(ring, monkeypatch)
    wrong = guess()

    for _ in range(10):
        assert ring.find(wrong) is None
    assert len(asked) == 1
    clock.now += 1
    ring.find(wrong)
    assert len(asked) == 2


def test_crowd_with_one_key_asks_once(
    connection: psycopg.Connection, open_ring: OpenRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = create_key(connection, "front desk", "writer")
    ring = open_ring(clock=Clock())
    asked = count_queries(ring, monkeypatch)
    together = threading.Barrier(16)

    def find(_: int) -> Principal | None:
        together.wait()
        return ring.find(key.secret)

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(find, range(16)))

    assert None not in found
    assert len(asked) == 1


def test_one_first_key_however_many_start(database: Database) -> None:
    together = threading.Barrier(8)

    def start(_: int) -> keys.NewKey | None:
        together.wait()
        return ensure_first_key(database)

    with ThreadPoolExecutor(8) as pool:
        made = [key for key in pool.map(start, range(8)) if key is not None]

    with database.connect() as connection:
        assert [key.id for key in list_keys(connection)] == [key.id for key in made]
    assert [(key.name, key.role) for key in made] == [("first admin", "admin")]


def test_first_key_is_made_where_no_admin_key_is_in_force(
    database: Database, connection: psycopg.Connection
) -> None:
    create_key(connection, "front desk", "writer")
    first = ensure_first_key(database)
    assert first is not None
    assert ensure_first_key(database) is None

    revoke_key(connection, first.id)

    second = ensure_first_key(database)
    assert second is not None
    assert second.id != first.id
