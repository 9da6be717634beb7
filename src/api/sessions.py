"""Who is logged in to the web pages: a random token in a cookie, and its hash in the database."""

import hashlib
import hmac
import secrets

import psycopg

from api.keys import ADMIN, KeyRing, Principal
from api.lookup import Lookup
from ledger.database import Database

SESSION_SECONDS = 12 * 60 * 60
LINK_SECONDS = 60 * 60
TOKEN_BYTES = 32

BEGIN = """
    INSERT INTO web_session (token_hash, kind, key_id, expires_at)
    VALUES (%s, 'session', %s, now() + make_interval(secs => %s))
    ON CONFLICT DO NOTHING RETURNING key_id
"""
OFFER = """
    INSERT INTO web_session (token_hash, kind, key_id, expires_at)
    VALUES (%s, 'link', %s, now() + make_interval(secs => %s))
"""
# In one statement: of two that use a link at once, the second waits for the row and finds none.
USE_LINK = """
    WITH link AS (
        DELETE FROM web_session WHERE token_hash = %s AND kind = 'link'
        RETURNING key_id, expires_at
    )
    INSERT INTO web_session (token_hash, kind, key_id, expires_at)
    SELECT %s, 'session', link.key_id, now() + make_interval(secs => %s)
    FROM link JOIN api_key ON api_key.id = link.key_id
    WHERE link.expires_at > now() AND api_key.revoked_at IS NULL
    RETURNING key_id
"""
FIND = """
    SELECT api_key.id, api_key.name, api_key.role
    FROM web_session LEFT JOIN api_key ON api_key.id = web_session.key_id
    WHERE token_hash = ANY(%s) AND kind = 'session' AND expires_at > now()
        AND api_key.revoked_at IS NULL
"""
END = "DELETE FROM web_session WHERE token_hash = ANY(%s) RETURNING 1"
FORGET = "DELETE FROM web_session WHERE expires_at < now()"


class Sessions:
    """Begins, finds and ends sessions. Each look-up asks the database, so that what is revoked,
    ended or expired is so everywhere at once. All of it may block and raises StoreUnavailable."""

    def __init__(self, database: Database, key_ring: KeyRing, admin_key: str | None) -> None:
        self._lookup = Lookup(database)
        self._key_ring = key_ring
        self._admin_key = admin_key

    def begin(self, secret: str) -> str | None:
        """The token of a new session for whoever has this key; None where it is no key."""
        principal = self._key_ring.find(secret)
        if principal is None:
            return None
        token = secrets.token_urlsafe(TOKEN_BYTES)
        own = principal is not ADMIN
        token_hash = _sha256(token) if own else self._admin_hash(token)
        key_id = principal.scope.removeprefix("key:") if own else None
        with self._lookup.turn() as lookup:
            lookup.first(BEGIN, (token_hash, key_id, SESSION_SECONDS))
        return token

    def use_link(self, link: str) -> str | None:
        """The token of a new session for whoever has this link; None where it does not hold."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with self._lookup.turn() as lookup:
            used = lookup.first(USE_LINK, (_sha256(link), _sha256(token), SESSION_SECONDS))
        return None if used is None else token

    def find(self, token: str) -> Principal | None:
        with self._lookup.turn() as lookup:
            row = lookup.first(FIND, (self._hashes(token),))
        if row is None:
            return None
        key_id, name, role = row
        if key_id is None:
            return ADMIN
        return Principal(name, role, f"key:{name}", f"key:{key_id}", None)

    def end(self, token: str) -> None:
        with self._lookup.turn() as lookup:
            lookup.first(END, (self._hashes(token),))

    def close(self) -> None:
        self._lookup.close()

    def _hashes(self, token: str) -> list[bytes]:
        """What may be stored of a token."""
        return [_sha256(token), *([self._admin_hash(token)] if self._admin_key else [])]

    def _admin_hash(self, token: str) -> bytes:
        assert self._admin_key is not None
        return hmac.digest(self._admin_key.encode(), _bytes(token), "sha256")


def offer_link(connection: psycopg.Connection, key_id: str) -> str:
    """The token of a link that logs in once, with this key, within an hour."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    connection.execute(OFFER, (_sha256(token), key_id, LINK_SECONDS))
    return token


def _sha256(token: str) -> bytes:
    return hashlib.sha256(_bytes(token)).digest()


def _bytes(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")
