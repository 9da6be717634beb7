"""The keys that sign checkpoints: kept sealed, rotated, and known for verification for ever."""

from collections.abc import Sequence

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.database import Database
from ledger.errors import LedgerError
from ledger.master_key import MasterKey, MasterKeyError
from projections.log.notes import Signer, Verifier, require_key_name

ACTIVE = """
    SELECT id, name, public_key, private_key_sealed FROM log_key
    WHERE retired_at IS NULL ORDER BY id
"""
ALL = "SELECT name, public_key FROM log_key ORDER BY id DESC"
INSERT = "INSERT INTO log_key (name, public_key, private_key_sealed) VALUES (%s, %s, %s)"
RETIRE = """
    UPDATE log_key SET retired_at = now(), private_key_sealed = NULL
    WHERE id = ANY (%s) AND retired_at IS NULL
"""


class LogOriginChanged(LedgerError):
    """The log has another origin"""


def ensure(database: Database, master_key: MasterKey, origin: str) -> None:
    """Make the first key where there is none, and see that the keys there are can sign.

    Raises LogOriginChanged where the log was begun under another origin, MasterKeyError where
    the master key does not open its keys, BadNote for an origin that a note cannot have.
    """
    require_key_name(origin)
    with database.connect() as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (database.lock_key("log setup"),))
        if not connection.execute(ALL).fetchone():
            _make(connection, master_key, origin)
        signers(connection, master_key, origin)


def signers(connection: psycopg.Connection, master_key: MasterKey, origin: str) -> list[Signer]:
    """Those that sign the next checkpoint, the newest last."""
    return [signer for _, signer in _active(connection, master_key, origin)]


def retire_replaced(connection: psycopg.Connection, signed_by: Sequence[Signer]) -> None:
    """After a checkpoint that old and new keys signed: the old ones have done their part."""
    replaced = [signer.verifier.public_key for signer in signed_by[:-1]]
    if replaced:
        rows = connection.execute(
            "SELECT id FROM log_key WHERE public_key = ANY (%s)", (replaced,)
        ).fetchall()
        connection.execute(RETIRE, ([key_id for (key_id,) in rows],))


def rotate(database: Database, master_key: MasterKey, origin: str) -> Verifier:
    """Make a new key. The next checkpoint is signed by it and the old one, later ones by it."""
    ensure(database, master_key, origin)
    with database.connect() as connection:
        return _make(connection, master_key, origin)


def verifiers(connection: psycopg.Connection) -> list[Verifier]:
    """All keys that ever signed, the newest first."""
    return [Verifier(name, public_key) for name, public_key in connection.execute(ALL)]


def _make(connection: psycopg.Connection, master_key: MasterKey, origin: str) -> Verifier:
    private_key = Ed25519PrivateKey.generate().private_bytes_raw()
    signer = Signer(origin, private_key)
    sealed = master_key.seal(private_key, _purpose(origin))
    connection.execute(INSERT, (origin, signer.verifier.public_key, sealed))
    return signer.verifier


def _active(
    connection: psycopg.Connection, master_key: MasterKey, origin: str
) -> list[tuple[int, Signer]]:
    found = []
    for key_id, name, public_key, sealed in connection.execute(ACTIVE):
        if name != origin:
            raise LogOriginChanged(
                f"The log was begun as {name!r} and cannot go on as {origin!r}: set "
                f"LEDGER_LOG_ORIGIN to {name!r}."
            )
        signer = Signer(name, master_key.open(sealed, _purpose(name)))
        if signer.verifier.public_key != public_key:
            raise MasterKeyError(f"Key {key_id} of the log does not fit its public key.")
        found.append((key_id, signer))
    return found


def _purpose(name: str) -> bytes:
    return f"log key {name}".encode()
