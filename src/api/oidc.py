"""Tokens of an OpenID Connect issuer, accepted beside the ledger's own keys.

Only `TokenVerifier` imports PyJWT, so that a ledger without an issuer needs neither it nor
the time to load it.
"""

import http.client
import ipaddress
import json
import logging
import math
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from api.keys import ROLES, Principal, Role
from api.settings import ENVIRONMENT_PREFIX, SettingsError

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPublicKeys

logger = logging.getLogger(__name__)

RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ALGORITHMS = (*RSA_ALGORITHMS, "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric ones only: a public key must never serve as the secret of an HMAC."""
REQUIRED_CLAIMS = ["exp", "iss", "aud", "sub"]
LEEWAY_SECONDS = 30
SUBJECT_LENGTH_MAX = 200

REFRESH_SECONDS = 30.0
"""The least time between two fetches: forged key ids are free to make."""
FIRST_REFRESH_SECONDS = 5.0
"""The same while there are no keys yet: issuer and ledger are often started together."""
KEYS_SECONDS = 600.0
"""How long keys are used without being read again: what an issuer withdraws ends with it."""
FETCH_SECONDS = 5.0
DOCUMENT_BYTES_MAX = 1_000_000
DISCOVERY_PATH = "/.well-known/openid-configuration"

READ_ERRORS = (OSError, ValueError, http.client.HTTPException)


class TokenVerifier:
    """Finds who a token speaks for.

    `jwks` is a file or an address of the issuer's keys; without it they are discovered.
    Raises SettingsError for settings that cannot work. An issuer that is away does not keep a
    ledger from starting: its tokens are refused until its keys have been read.
    """

    def __init__(
        self,
        issuer: str,
        audience: str | None,
        jwks: str | None,
        role_claim: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _require_pyjwt()
        if not audience:
            raise _setting(
                "AUDIENCE", "is required with an issuer, whose tokens are for others too"
            )
        self._issuer = issuer
        self._audience = audience
        self._role_claim = role_claim
        self._source = f"oidc:{urlsplit(issuer).hostname or issuer}"
        self._keys = _open_keys(issuer, jwks, clock)

    def verify(self, token: str) -> Principal | None:
        """None for whatever is not a valid token of the issuer for this audience.

        Blocks where the issuer's keys must be fetched.
        """
        import jwt  # noqa: PLC0415

        if not token.isascii():
            return None
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                return None
            key = self._keys.find(header.get("kid"))
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key.key,
                algorithms=key.algorithms,
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": REQUIRED_CLAIMS, "enforce_minimum_key_length": True},
            )
        except jwt.PyJWTError as error:
            logger.debug("a token was refused: %s", error)
            return None
        return self._principal(claims)

    def _principal(self, claims: dict[str, Any]) -> Principal | None:
        subject: str = claims["sub"]
        # Refused, not cut: two subjects must not become one.
        if not (0 < len(subject) <= SUBJECT_LENGTH_MAX and subject.isprintable()):
            return None
        role = _strongest(claims.get(self._role_claim))
        return Principal(subject, role, self._source, f"oidc:{self._issuer}|{subject}", subject)


@dataclass(frozen=True, slots=True)
class _Key:
    key_id: str | None
    key: "AllowedPublicKeys"
    algorithms: list[str]


class _IssuerKeys:
    """The keys of an issuer, read again when an unknown one is asked for or they are old.

    Not PyJWT's own client: that one loses its keys when it cannot renew them, fetches without
    pause from a server that fails, and lets every caller wait while it fetches.
    """

    def __init__(self, fetch: Callable[[], Any], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: list[_Key] = []
        self._read_at = self._tried_at = -math.inf
        self._refreshing = threading.Lock()

    def find(self, key_id: str | None) -> _Key | None:
        """Without a key id, the only key there is."""
        key = self._select(key_id)
        if key is None or self._clock() - self._read_at >= KEYS_SECONDS:
            # Who has a key goes on with it while another caller fetches.
            self._refresh(wait=key is None)
            key = self._select(key_id)
        return key

    def read(self) -> None:
        """Raises READ_ERRORS, and then the keys are what they were."""
        self._keys = _signing_keys(self._fetch())
        self._read_at = self._clock()

    def _select(self, key_id: str | None) -> _Key | None:
        keys = self._keys
        if key_id is None:
            return keys[0] if len(keys) == 1 else None
        return next((key for key in keys if key.key_id == key_id), None)

    def _refresh(self, *, wait: bool) -> None:
        if not self._refreshing.acquire(blocking=wait):
            return
        try:
            pause = REFRESH_SECONDS if self._keys else FIRST_REFRESH_SECONDS
            if self._clock() - self._tried_at < pause:
                return
            self._tried_at = self._clock()
            self.read()
        except READ_ERRORS as error:
            logger.warning("The keys of the OIDC issuer could not be read: %s", error)
        finally:
            self._refreshing.release()


def _require_pyjwt() -> None:
    try:
        from jwt.algorithms import has_crypto  # noqa: PLC0415
    except ImportError:
        has_crypto = False
    if not has_crypto:
        raise _setting("ISSUER", "needs more software: pip install 'booking-ledger[oidc]'")


def _open_keys(issuer: str, jwks: str | None, clock: Callable[[], float]) -> _IssuerKeys:
    if jwks is None:
        _require_secure(issuer, "ISSUER")
        return _IssuerKeys(partial(_discover, issuer), clock)
    if "://" in jwks:
        _require_secure(jwks, "JWKS")
        return _IssuerKeys(partial(_fetch, jwks), clock)
    keys = _IssuerKeys(lambda: json.loads(Path(jwks).read_bytes()), clock)
    try:
        keys.read()
    except READ_ERRORS as error:
        raise _setting("JWKS", f"{jwks}: {error}") from error
    return keys


def _signing_keys(document: Any) -> list[_Key]:
    """Raises ValueError where there are none."""
    entries = document.get("keys") if isinstance(document, dict) else None
    found = [_signing_key(entry) for entry in entries or () if isinstance(entry, dict)]
    keys = [key for key in found if key is not None]
    if not keys:
        raise ValueError("this is no JWK Set with keys for asymmetric signatures")
    return keys


def _signing_key(entry: dict[str, Any]) -> _Key | None:
    """None for a key of another use or kind: a set may hold those too."""
    from jwt import PyJWK, PyJWTError  # noqa: PLC0415

    try:
        key = PyJWK(entry)
    except (PyJWTError, TypeError) as error:
        logger.debug("a key of the issuer was passed over: %s", error)
        return None
    # PyJWT takes an RSA key that names no algorithm for RS256; RFC 7517 leaves it open.
    of_any_rsa = key.key_type == "RSA" and not entry.get("alg")
    named = RSA_ALGORITHMS if of_any_rsa else (key.algorithm_name,)
    algorithms = [name for name in named if name in ALGORITHMS]
    if not algorithms or entry.get("use", "sig") != "sig":
        return None
    return _Key(key.key_id, key.key, algorithms)


def _discover(issuer: str) -> Any:
    document = _fetch(issuer.rstrip("/") + DISCOVERY_PATH)
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise ValueError(f"the discovery document is not that of {issuer}")
    return _fetch(str(document.get("jwks_uri")))


def _fetch(url: str) -> Any:
    """Raises READ_ERRORS."""
    if not _is_secure(url):
        raise ValueError(f"{url} must be https, or http on this machine")
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if urlsplit(url).scheme == "http":
        handlers.append(urllib.request.ProxyHandler({}))  # it stays on this machine
    opener = urllib.request.build_opener(*handlers)
    with opener.open(url, timeout=FETCH_SECONDS) as response:
        body = response.read(DOCUMENT_BYTES_MAX + 1)
    if len(body) > DOCUMENT_BYTES_MAX:
        raise ValueError(f"{url} is larger than {DOCUMENT_BYTES_MAX} bytes")
    return json.loads(body)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead away from https."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _require_secure(url: str, name: str) -> None:
    if not _is_secure(url):
        raise _setting(name, f"{url!r} must be https, or http on this machine")


def _is_secure(url: str) -> bool:
    try:
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname
    except ValueError:
        return False
    if not host or scheme not in ("http", "https"):
        return False
    return scheme == "https" or host == "localhost" or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _strongest(claim: object) -> Role:
    named = claim if isinstance(claim, list) else [claim]
    return max((role for role in ROLES if role in named), key=ROLES.index, default="reader")


def _setting(name: str, problem: str) -> SettingsError:
    return SettingsError(f"{ENVIRONMENT_PREFIX}OIDC_{name}: {problem}")
