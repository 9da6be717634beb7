"""Where a ledger lives: one schema of one PostgreSQL database, and the key to what is sealed."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ledger.errors import StoreUnavailable
from ledger.master_key import MasterKey, MasterKeyError

SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")
SILENCE = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",  # milliseconds
}
"""A network that says nothing any more is a lost connection after half a minute, and so is a server
that takes nothing in. Of itself, the system waits for a quarter of an hour where something was
sent, and for two hours where not."""


@dataclass(frozen=True)
class Database:
    """A connection string, the schema that holds one ledger, and the ledger's master key.

    Every connection has the schema as its whole search path, so SQL names its tables bare and
    many ledgers can share a database. Raises ValueError for a schema name that is not a plain
    lower-case identifier of at most 48 characters (the rest of PostgreSQL's 63 is for suffixes).
    """

    url: str
    schema: str = "ledger"
    master_key: MasterKey | None = field(default=None, repr=False)
    """What opens the personal parts of events; not every use of a ledger needs it."""

    def __post_init__(self) -> None:
        if not SCHEMA_NAME.fullmatch(self.schema):
            raise ValueError(
                f"schema {self.schema!r} must be 1 to 48 of a-z, 0-9 and _, "
                "not starting with a digit"
            )

    @property
    def conninfo(self) -> str:
        given = conninfo_to_dict(self.url)
        options = f"{given.get('options') or ''} -c search_path={self.schema} -c timezone=UTC"
        # Whoever waits for a lock must then see what its last holder committed.
        options += r" -c default_transaction_isolation=read\ committed"
        return make_conninfo(
            self.url,
            options=options.strip(),
            application_name=given.get("application_name") or "booking-ledger",
            **{name: given.get(name) or value for name, value in SILENCE.items()},
        )

    def require_master_key(self) -> MasterKey:
        """Raises MasterKeyError where none was given."""
        if self.master_key is None:
            raise MasterKeyError(
                "The master key of this ledger is not here: set LEDGER_MASTER_KEY, or name the "
                "--data-dir that has the file master.key."
            )
        return self.master_key

    @property
    def shown(self) -> str:
        """The connection string as people may see it: without its password."""
        parameters = conninfo_to_dict(self.url)
        if "password" not in parameters:
            return self.url
        return make_conninfo("", **{**parameters, "password": None})

    def connect(self) -> psycopg.Connection:
        """A new connection in autocommit mode. Raises StoreUnavailable."""
        try:
            return psycopg.connect(self.conninfo, autocommit=True, connect_timeout=10)
        except psycopg.OperationalError as error:
            raise StoreUnavailable(f"The database cannot be reached: {error}") from error

    def lock_key(self, purpose: str) -> int:
        """The key of an advisory lock of this ledger: 64 bits of a hash of schema and purpose."""
        digest = hashlib.blake2b(
            f"booking-ledger {self.schema} {purpose}".encode(), digest_size=8
        ).digest()
        return int.from_bytes(digest, "big", signed=True)

    @contextmanager
    def try_lock(self, connection: psycopg.Connection, purpose: str) -> Iterator[bool]:
        """Whether we are the one in this ledger who holds the lock for a purpose.

        It is let go of at the end; after an error that is left to the end of the connection,
        which the server may notice only a moment after we have closed it.
        """
        key = self.lock_key(purpose)
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
        yield row == (True,)
        if row == (True,):
            connection.execute("SELECT pg_advisory_unlock(%s)", (key,))

    def channel(self, topic: str) -> str:
        """The name of a NOTIFY channel of this ledger: channels are shared by a whole database."""
        return f"{self.schema}_{topic}"
