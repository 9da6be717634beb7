"""Access keys: made, listed, revoked, and found again when a caller presents one."""

import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any, Literal, get_args

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from uuid_utils import uuid7

from api.lookup import Lookup
from ledger.database import Database
from ledger.errors import InvalidField, LedgerError, StoreUnavailable

logger = logging.getLogger(__name__)

Role = Literal["reader", "analyst", "auditor", "writer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Weakest first."""

SECRET = re.compile(r"bl_[A-Za-z0-9_-]{43}")
SECRET_BYTES = 32
NAME_LENGTH_MAX = 100
FIRST_KEY_NAME = "first admin"

KNOWN_SECONDS = 5.0
"""How long a revoked key can outlive a notification that was missed."""
UNKNOWN_SECONDS = 1.0
UNKNOWN_MAX = 1_000
USE_SECONDS = 60.0
"""How often the last use of a key is recorded."""
CLOSE_SECONDS = 10.0
POLL_SECONDS = 0.2
BACKOFF_SECONDS = (0.1, 5.0)

# Database.channel("keys"), told from the connection: a key is announced where it is stored.
ANNOUNCE = "SELECT pg_notify(current_schema() || '_keys', '')"
CREATE = "INSERT INTO api_key (id, name, role, secret_sha256) VALUES (%s, %s, %s, %s)"
LIST = """
    SELECT id, name, role, created_at, last_used_at, revoked_at
    FROM api_key ORDER BY created_at, id
"""
REVOKE = """
    UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = %s
    RETURNING id, name, role, created_at, last_used_at, revoked_at
"""
HAS_ADMIN = "SELECT 1 FROM api_key WHERE role = 'admin' AND revoked_at IS NULL LIMIT 1"
FIND = "SELECT id, name, role FROM api_key WHERE secret_sha256 = %s AND revoked_at IS NULL"
# Other processes record the same keys; a row that one of them or a revocation holds is skipped,
# so that the listener never waits.
RECORD_USE = """
    UPDATE api_key SET last_used_at = now() WHERE id IN (
        SELECT id FROM api_key
        WHERE id = ANY(%s)
          AND (last_used_at IS NULL OR last_used_at < now() - make_interval(secs => %s))
        FOR UPDATE SKIP LOCKED
    )
"""


class KeyNotFound(LedgerError):
    """Key not found"""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from.

    `source` is what events record; `scope` is the credential itself, whatever it is called,
    for what belongs to it alone. `subject` is None for a key.
    """

    name: str
    role: Role
    source: str
    scope: str
    subject: str | None


@dataclass(frozen=True)
class NewKey:
    """A key as it is shown once: nothing else ever holds its secret."""

    id: str
    name: str
    role: Role
    secret: str


@dataclass(frozen=True)
class KeyInfo:
    id: str
    name: str
    role: Role
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


def create_key(connection: psycopg.Connection, name: str, role: Role) -> NewKey:
    """Raises InvalidField for a name that is not 1–100 printable characters, or another role."""
    if not (name.strip() and name.isprintable() and len(name) <= NAME_LENGTH_MAX):
        raise InvalidField("name", f"must be 1 to {NAME_LENGTH_MAX} printable characters")
    if role not in ROLES:
        raise InvalidField("role", f"must be one of {', '.join(ROLES)}")
    key = NewKey(str(uuid7()), name, role, f"bl_{secrets.token_urlsafe(SECRET_BYTES)}")
    with connection.transaction():
        connection.execute(CREATE, (key.id, name, role, _sha256(key.secret)))
        connection.execute(ANNOUNCE)
    return key


def list_keys(connection: psycopg.Connection) -> list[KeyInfo]:
    """Oldest first, the revoked ones too."""
    with connection.cursor(row_factory=class_row(KeyInfo)) as cursor:
        return cursor.execute(LIST).fetchall()


def revoke_key(connection: psycopg.Connection, key_id: str) -> KeyInfo:
    """Revoke in every running process at once; what is revoked keeps its time.

    Raises KeyNotFound.
    """
    found = None
    # PostgreSQL's text has no NUL, so no key has it in its id either.
    if "\0" not in key_id:
        with connection.transaction(), connection.cursor(row_factory=class_row(KeyInfo)) as cursor:
            found = cursor.execute(REVOKE, (key_id,)).fetchone()
            connection.execute(ANNOUNCE)
    if found is None:
        raise KeyNotFound(f"There is no key {key_id!r}.")
    return found


def ensure_first_key(database: Database) -> NewKey | None:
    """Make an admin key where none is in force; processes that start at once make one."""
    with database.connect() as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (database.lock_key("first key"),))
        if connection.execute(HAS_ADMIN).fetchone() is not None:
            return None
        return create_key(connection, FIRST_KEY_NAME, "admin")


class KeyRing:
    """Finds who a presented secret belongs to, from memory where it can.

    Memory is used only while a listener hears of revocations, and for 5 seconds at most.
    Close it; the listener is a thread with a connection of its own.
    """

    def __init__(
        self,
        database: Database,
        admin_key: str | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._admin_sha256 = None if admin_key is None else _sha256(admin_key)
        self._clock = clock
        # None while the listener is not connected. What is forgotten is replaced, not emptied,
        # so that a look-up under way keeps its answer in a memory that nobody reads any more.
        self._memory: _Memory | None = None
        self._swap = threading.Lock()
        self._lookup = Lookup(database)
        self._noted: dict[str, float] = {}
        self._uses: SimpleQueue[str] = SimpleQueue()
        self._closing = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="key-listener", daemon=True)
        self._listener.start()

    def find(self, secret: str) -> Principal | None:
        """May query and so block. Raises StoreUnavailable."""
        principal = self.cached(secret)
        if principal is not None or not SECRET.fullmatch(secret):
            return principal
        digest = _sha256(secret)
        with self._lookup.turn() as lookup:
            # The caller before may have asked for the same.
            memory, now = self._memory, self._clock()
            entry = memory.get(digest, now) if memory else None
            if entry is None:
                entry = _entry(lookup.first(FIND, (digest,)), now)
                if memory is not None:
                    memory.keep(digest, entry)
        return self._used(entry)

    def cached(self, secret: str) -> Principal | None:
        """Never blocks; None says only that `find` must be asked."""
        digest = _sha256(secret)
        if self._admin_sha256 is not None and hmac.compare_digest(digest, self._admin_sha256):
            return ADMIN
        memory = self._memory
        entry = memory.get(digest, self._clock()) if memory else None
        return None if entry is None else self._used(entry)

    def forget(self) -> None:
        with self._swap:
            if self._memory is not None:
                self._memory = _Memory()

    def close(self) -> None:
        self._closing.set()
        self._listener.join(CLOSE_SECONDS)
        self._lookup.close()

    def _used(self, entry: "_Entry") -> Principal | None:
        if entry.key_id is not None:
            now = self._clock()
            noted = self._noted.get(entry.key_id)
            if noted is None or now - noted >= USE_SECONDS:
                self._noted[entry.key_id] = now
                self._uses.put(entry.key_id)
        return entry.principal

    def _listen(self) -> None:
        first, longest = BACKOFF_SECONDS
        backoff = first
        while not self._closing.is_set():
            try:
                with self._database.connect() as connection:
                    channel = sql.Identifier(self._database.channel("keys"))
                    connection.execute(sql.SQL("LISTEN {}").format(channel))
                    self._set_memory(_Memory())
                    backoff = first
                    self._follow(connection)
            except (StoreUnavailable, psycopg.Error) as error:
                logger.warning("Revoked keys are not heard of, so each is looked up: %s", error)
            finally:
                self._set_memory(None)
            self._closing.wait(backoff)
            backoff = min(backoff * 2, longest)

    def _follow(self, connection: psycopg.Connection) -> None:
        while not self._closing.is_set():
            for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
                self.forget()
            self._record_uses(connection)

    def _record_uses(self, connection: psycopg.Connection) -> None:
        key_ids = list(_drain(self._uses))
        if not key_ids:
            return
        try:
            connection.execute(RECORD_USE, (key_ids, USE_SECONDS))
        except psycopg.Error as error:
            if connection.closed:
                raise
            logger.warning("The last use of keys could not be recorded: %s", error)

    def _set_memory(self, memory: "_Memory | None") -> None:
        with self._swap:
            self._memory = memory


@dataclass(frozen=True, slots=True)
class _Entry:
    """A look-up and how long it holds; without a principal, no key has this secret."""

    key_id: str | None
    principal: Principal | None
    expires: float


def _entry(row: tuple[Any, ...] | None, now: float) -> _Entry:
    if row is None:
        return _Entry(None, None, now + UNKNOWN_SECONDS)
    key_id, name, role = row
    principal = Principal(name, role, f"key:{name}", f"key:{key_id}", None)
    return _Entry(key_id, principal, now + KNOWN_SECONDS)


class _Memory:
    """Look-ups by the hash of the secret. Kept by one thread at a time, read by any."""

    def __init__(self) -> None:
        # As many as there are keys; the unknown ones are bounded, for guesses are endless.
        self._known: dict[bytes, _Entry] = {}
        self._unknown: dict[bytes, _Entry] = {}

    def get(self, digest: bytes, now: float) -> _Entry | None:
        entry = self._known.get(digest) or self._unknown.get(digest)
        return entry if entry is not None and now < entry.expires else None

    def keep(self, digest: bytes, entry: _Entry) -> None:
        self._known.pop(digest, None)
        self._unknown.pop(digest, None)
        if entry.principal is not None:
            self._known[digest] = entry
            return
        if len(self._unknown) >= UNKNOWN_MAX:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[digest] = entry


ADMIN = Principal("admin key", "admin", "key:admin key", "admin-key", None)
"""Whoever has LEDGER_ADMIN_KEY."""


def _sha256(secret: str) -> bytes:
    # No salt and no slow hash: those protect secrets that people choose. One of 256 random
    # bits cannot be searched for, however fast the hash.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _drain(queue: SimpleQueue[str]) -> Iterator[str]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return
