"""Tokens of an issuer: what is accepted, and every forgery that is not."""

import base64
import hashlib
import hmac
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

from api.keys import Principal
from api.oidc import TokenVerifier
from api.settings import SettingsError

ISSUER = "https://id.example.org/realms/hotel"
AUDIENCE = "booking-ledger"
ROLE_CLAIM = "booking_ledger_role"
KIDS = {"rsa": "RS256", "p256": "ES256", "p384": "ES384", "p521": "ES512", "ed": "EdDSA"}
PRIVATE: dict[str, Any] = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "ed": ed25519.Ed25519PrivateKey.generate(),
}
STRANGER = rsa.generate_private_key(65537, 2048)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def public_jwk(private: Any, kid: str | None, algorithm: str, **more: str) -> dict[str, Any]:
    jwk: dict[str, Any] = get_default_algorithms()[algorithm].to_jwk(
        private.public_key(), as_dict=True
    )
    jwk.pop("key_ops", None)
    return {**jwk, **({} if kid is None else {"kid": kid}), **more}


JWKS = {"keys": [public_jwk(PRIVATE[kid], kid, algorithm) for kid, algorithm in KIDS.items()]}


def claims(**changed: Any) -> dict[str, Any]:
    """Valid claims with these changed; None takes one away."""
    given = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "anna",
        "exp": int(time.time()) + 300,
        ROLE_CLAIM: "writer",
        **changed,
    }
    return {name: value for name, value in given.items() if value is not None}


def token(kid: str | None = "rsa", private: Any = None, alg: str = "", **changed: Any) -> str:
    key = private or PRIVATE[str(kid)]
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(**changed), key, alg or KIDS.get(str(kid), "RS256"), headers)


def segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def forged(header: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token as nobody's library would make it."""
    signed = f"{segment(json.dumps(header).encode())}.{segment(json.dumps(claims()).encode())}"
    return f"{signed}.{segment(sign(signed.encode()))}"


class Issuer:
    """Serves documents by path on loopback, and counts what is asked for."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {"/jwks": JWKS}
        self.asked: list[str] = []
        self.redirects: dict[str, str] = {}
        self.delay_seconds = 0.0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                time.sleep(issuer.delay_seconds)
                if self.path in issuer.redirects:
                    self.send_response(302)
                    self.send_header("Location", issuer.redirects[self.path])
                    self.end_headers()
                    return
                document = issuer.documents.get(self.path)
                self.send_response(500 if document is None else 200)
                self.end_headers()
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    running = Issuer()
    yield running
    running.stop()


@pytest.fixture
def jwks_file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(JWKS), encoding="utf-8")
    return path


@pytest.fixture
def verifier(jwks_file: Path) -> TokenVerifier:
    return TokenVerifier(ISSUER, AUDIENCE, str(jwks_file), ROLE_CLAIM)


def served(issuer: Issuer, clock: Clock | None = None) -> TokenVerifier:
    return TokenVerifier(
        ISSUER, AUDIENCE, f"{issuer.url}/jwks", ROLE_CLAIM, clock=clock or time.monotonic
    )


def role_of(verifier: TokenVerifier, claim: Any) -> str:
    found = verifier.verify(token(**{ROLE_CLAIM: claim}))
    assert found is not None
    return found.role


def test_token_speaks_for_its_subject(verifier: TokenVerifier) -> None:
    assert verifier.verify(token()) == Principal(
        "anna", "writer", "oidc:id.example.org", f"oidc:{ISSUER}|anna", "anna"
    )


def test_issuer_that_is_no_address_is_its_own_source(jwks_file: Path) -> None:
    found = TokenVerifier("hotel", AUDIENCE, str(jwks_file), ROLE_CLAIM).verify(token(iss="hotel"))

    assert found is not None
    assert (found.source, found.scope) == ("oidc:hotel", "oidc:hotel|anna")


@pytest.mark.parametrize(
    ("kid", "alg"),
    [*KIDS.items(), *(("rsa", a) for a in ("RS384", "RS512", "PS256", "PS384", "PS512"))],
)
def test_asymmetric_algorithms_are_accepted(verifier: TokenVerifier, kid: str, alg: str) -> None:
    assert verifier.verify(token(kid, alg=alg)) is not None


@pytest.mark.parametrize(
    ("claim", "role"),
    [
        ("admin", "admin"),
        (["reader", "writer", "manager"], "writer"),
        (["auditor", "analyst"], "auditor"),
        (["writer", "auditor"], "writer"),
        (["analyst", "admin", "reader"], "admin"),
        (None, "reader"),
        ("manager", "reader"),
        ("ADMIN", "reader"),
        ("administrator", "reader"),
        ([], "reader"),
        ([["admin"], {"admin": True}, 1], "reader"),
        ({"admin": True}, "reader"),
    ],
)
def test_role_is_the_strongest_that_is_known(
    verifier: TokenVerifier, claim: Any, role: str
) -> None:
    assert role_of(verifier, claim) == role


def test_role_claim_has_the_name_that_is_set(jwks_file: Path) -> None:
    verifier = TokenVerifier(ISSUER, AUDIENCE, str(jwks_file), "roles")

    found = verifier.verify(token(roles=["auditor"]))

    assert found is not None
    assert found.role == "auditor"


def test_audience_may_be_one_of_several(verifier: TokenVerifier) -> None:
    assert verifier.verify(token(aud=["account", AUDIENCE])) is not None


REFUSED_CLAIMS: dict[str, dict[str, Any]] = {
    "other issuer": {"iss": "https://evil.example.org"},
    "issuer with a slash": {"iss": f"{ISSUER}/"},
    "issuers as a list": {"iss": None, "issuer": ISSUER},
    "no issuer": {"iss": None},
    "other audience": {"aud": "someone-else"},
    "other audiences": {"aud": ["someone", "else"]},
    "no audience": {"aud": None},
    "empty audience": {"aud": []},
    "expired": {"exp": int(time.time()) - 3600},
    "no expiry": {"exp": None},
    "expiry is no number": {"exp": "tomorrow"},
    "not yet valid": {"nbf": int(time.time()) + 3600},
    "issued in the future": {"iat": int(time.time()) + 3600},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "subject is a number": {"sub": 7},
    "long subject": {"sub": "a" * 201},
    "subject of two lines": {"sub": "anna\nadmin"},
    "subject with a NUL": {"sub": "anna\0"},
}


@pytest.mark.parametrize("changed", REFUSED_CLAIMS.values(), ids=REFUSED_CLAIMS.keys())
def test_claims_that_are_not_right_are_refused(
    verifier: TokenVerifier, changed: dict[str, Any]
) -> None:
    assert verifier.verify(token(**changed)) is None


def test_clocks_may_differ_by_half_a_minute(verifier: TokenVerifier) -> None:
    now = int(time.time())

    assert verifier.verify(token(exp=now - 20)) is not None
    assert verifier.verify(token(nbf=now + 20, iat=now + 20)) is not None
    assert verifier.verify(token(exp=now - 31)) is None
    assert verifier.verify(token(nbf=now + 40)) is None


def test_longest_subject_is_taken(verifier: TokenVerifier) -> None:
    assert verifier.verify(token(sub="a" * 200)) is not None


def test_token_without_signature_is_refused(verifier: TokenVerifier) -> None:
    for name in ("none", "None", "NONE", "nOnE", "", None):
        for kid in ({"kid": "rsa"}, {}):
            assert verifier.verify(forged({"alg": name, **kid}, lambda _: b"")) is None
    assert verifier.verify(forged({"kid": "rsa"}, lambda _: b"")) is None
    assert verifier.verify(token().rpartition(".")[0] + ".") is None


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_public_key_is_not_the_secret_of_an_hmac(verifier: TokenVerifier, alg: str) -> None:
    public = PRIVATE["rsa"].public_key()
    digest = getattr(hashlib, f"sha{alg[2:]}")
    for encoding, form in (
        (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        (Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        (Encoding.PEM, PublicFormat.PKCS1),
    ):
        secret = public.public_bytes(encoding, form)

        def sign(signed: bytes, secret: bytes = secret) -> bytes:
            return hmac.new(secret, signed, digest).digest()

        assert verifier.verify(forged({"alg": alg, "kid": "rsa"}, sign)) is None
        assert verifier.verify(forged({"alg": alg}, sign)) is None


def test_hmac_keys_of_the_issuer_are_no_keys(tmp_path: Path) -> None:
    secret = b"s" * 32
    shared = {"kty": "oct", "kid": "shared", "k": segment(secret)}
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [shared, *JWKS["keys"]]}), encoding="utf-8")
    verifier = TokenVerifier(ISSUER, AUDIENCE, str(path), ROLE_CLAIM)

    signed = forged(
        {"alg": "HS256", "kid": "shared"}, lambda s: hmac.new(secret, s, hashlib.sha256).digest()
    )

    assert verifier.verify(signed) is None
    assert verifier.verify(token()) is not None
    path.write_text(json.dumps({"keys": [shared]}), encoding="utf-8")
    with pytest.raises(SettingsError, match="LEDGER_OIDC_JWKS"):
        TokenVerifier(ISSUER, AUDIENCE, str(path), ROLE_CLAIM)


@pytest.mark.parametrize("kid", KIDS)
def test_changed_tokens_are_refused(verifier: TokenVerifier, kid: str) -> None:
    header, payload, signature = token(kid).split(".")
    flipped = bytearray(base64.urlsafe_b64decode(signature + "=="))
    flipped[len(flipped) // 2] ^= 1
    admin = segment(json.dumps(claims(**{ROLE_CLAIM: "admin"})).encode())

    assert verifier.verify(f"{header}.{payload}.{segment(bytes(flipped))}") is None
    assert verifier.verify(f"{header}.{admin}.{signature}") is None
    assert verifier.verify(f"{header}.{payload}.{signature}") is not None


def test_key_of_a_stranger_is_refused(verifier: TokenVerifier) -> None:
    own = public_jwk(STRANGER, "rsa", "RS256")
    header = {"kid": "rsa", "jwk": own, "jku": "https://evil.example.org/jwks"}

    assert verifier.verify(token("rsa", STRANGER)) is None
    assert verifier.verify(token("unknown", STRANGER)) is None
    assert verifier.verify(jwt.encode(claims(), STRANGER, "RS256", header)) is None


def test_key_is_used_for_its_own_algorithm_only(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    keys = [
        public_jwk(STRANGER, "for encryption", "RS256", use="enc"),
        public_jwk(PRIVATE["rsa"], "rsa", "RS256", alg="RS256"),
        {"kty": "RSA", "kid": "rsa"},
        {"kty": "of the future"},
        "not a key",
    ]
    path.write_text(json.dumps({"keys": keys}), encoding="utf-8")
    verifier = TokenVerifier(ISSUER, AUDIENCE, str(path), ROLE_CLAIM)

    assert verifier.verify(token("rsa", alg="RS256")) is not None
    assert verifier.verify(token("rsa", alg="PS256")) is None
    assert verifier.verify(token("for encryption", STRANGER)) is None


def test_weak_key_is_refused(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [public_jwk(weak, "weak", "RS256")]}), encoding="utf-8")
    verifier = TokenVerifier(ISSUER, AUDIENCE, str(path), ROLE_CLAIM)

    with pytest.warns(jwt.InsecureKeyLengthWarning):
        signed = token("weak", weak)

    assert verifier.verify(signed) is None


def test_only_a_single_key_needs_no_name(tmp_path: Path, verifier: TokenVerifier) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"keys": [public_jwk(PRIVATE["rsa"], None, "RS256")]}), "utf-8")
    single = TokenVerifier(ISSUER, AUDIENCE, str(path), ROLE_CLAIM)

    assert single.verify(token(None, PRIVATE["rsa"])) is not None
    assert single.verify(token(None, STRANGER)) is None
    assert verifier.verify(token(None, PRIVATE["rsa"])) is None


@pytest.mark.parametrize(
    "garbage",
    [
        "", ".", "..", "...", "a.b.c", "é.é.é", "\udc80.a.b", "=.=.=", token() + ".x",
        f" {token()}x", f"{segment(b'[]')}.e30.e30", f"{segment(b'{')}.e30.e30",
        f"{segment(b'{}')}.e30.e30", f"{segment(b'[' * 100_000)}.e30.e30",
    ],
    ids=lambda garbage: ascii(garbage[:12]),
)  # fmt: skip
def test_garbage_is_refused(verifier: TokenVerifier, garbage: str) -> None:
    assert verifier.verify(garbage) is None


@pytest.mark.parametrize(
    "header",
    [
        {"alg": ["RS256"]}, {"alg": {"RS256": 1}}, {"alg": 256}, {"alg": "RS256", "kid": ["rsa"]},
        {"alg": "RS256", "kid": None}, {"alg": "RS256", "kid": "rsa", "crit": ["exp"]},
        {"alg": "RS256", "kid": "rsa", "b64": False, "crit": ["b64"]}, {"alg": "ES256K"},
    ],
)  # fmt: skip
def test_odd_headers_are_refused(verifier: TokenVerifier, header: dict[str, Any]) -> None:
    assert verifier.verify(forged(header, lambda _: b"x" * 256)) is None


def test_keys_are_fetched_once(issuer: Issuer) -> None:
    verifier = served(issuer)
    assert issuer.asked == []

    assert [verifier.verify(token(kid)) is not None for kid in KIDS] == [True] * len(KIDS)

    assert issuer.asked == ["/jwks"]


def test_new_key_is_fetched_when_it_appears(issuer: Issuer) -> None:
    clock = Clock()
    verifier = served(issuer, clock)
    assert verifier.verify(token()) is not None
    issuer.documents["/jwks"] = {"keys": [public_jwk(STRANGER, "new", "RS256")]}

    assert verifier.verify(token("new", STRANGER)) is None
    clock.now += 30
    assert verifier.verify(token("new", STRANGER)) is not None
    assert verifier.verify(token()) is None
    assert issuer.asked == ["/jwks", "/jwks"]


def test_withdrawn_key_dies_though_nobody_brings_a_new_one(issuer: Issuer) -> None:
    clock = Clock()
    verifier = served(issuer, clock)
    assert verifier.verify(token()) is not None
    issuer.documents["/jwks"] = {"keys": [public_jwk(STRANGER, "new", "RS256")]}

    clock.now += 599
    assert verifier.verify(token()) is not None
    clock.now += 1
    assert verifier.verify(token()) is None


def test_forged_key_ids_cause_no_flood(issuer: Issuer) -> None:
    clock = Clock()
    verifier = served(issuer, clock)
    assert verifier.verify(token()) is not None
    clock.now += 60

    with ThreadPoolExecutor(16) as pool:
        forgeries = [token(f"forged-{n}", STRANGER) for n in range(64)]
        assert set(pool.map(verifier.verify, forgeries)) == {None}
    assert issuer.asked == ["/jwks"] * 2
    assert len(verifier._keys._keys) == len(KIDS)

    clock.now += 29
    verifier.verify(token("forged", STRANGER))
    assert len(issuer.asked) == 2
    clock.now += 1
    verifier.verify(token("forged", STRANGER))
    assert len(issuer.asked) == 3


def test_failing_issuer_gets_no_flood_and_loses_no_keys(issuer: Issuer) -> None:
    clock = Clock()
    verifier = served(issuer, clock)
    assert verifier.verify(token()) is not None
    useless = {"keys": ["x", {"kty": "RSA"}]}
    documents: list[Any] = [None, b"not json", [], {}, {"keys": []}, useless]
    for document in documents:
        issuer.documents["/jwks"] = document
        issuer.asked.clear()
        clock.now += 700

        for n in range(10):
            assert verifier.verify(token(f"forged-{n}", STRANGER)) is None
            assert verifier.verify(token()) is not None
        assert issuer.asked == ["/jwks"]


def test_stopped_issuer_loses_no_keys() -> None:
    clock = Clock()
    issuer = Issuer()
    verifier = served(issuer, clock)
    assert verifier.verify(token()) is not None
    issuer.stop()
    clock.now += 700

    assert verifier.verify(token("new", STRANGER)) is None
    assert verifier.verify(token()) is not None


def test_issuer_may_start_after_the_ledger(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    issuer.documents.clear()
    verifier = served(issuer, clock)
    assert [verifier.verify(token()) for _ in range(5)] == [None] * 5
    assert len(issuer.asked) == 1
    assert "could not be read" in caplog.text

    issuer.documents["/jwks"] = JWKS
    clock.now += 5
    assert verifier.verify(token()) is not None


def test_known_key_does_not_wait_for_a_slow_fetch(issuer: Issuer) -> None:
    clock = Clock()
    verifier = served(issuer, clock)
    assert verifier.verify(token()) is not None
    clock.now += 700
    issuer.delay_seconds = 2.0

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(verifier.verify, token("new", STRANGER))
        while len(issuer.asked) < 2:
            time.sleep(0.001)
        began = time.monotonic()
        assert verifier.verify(token()) is not None
        assert time.monotonic() - began < 1.0
        assert slow.result() is None


def test_crowd_with_a_new_key_is_let_in_by_one_fetch(issuer: Issuer) -> None:
    verifier = served(issuer)
    issuer.delay_seconds = 0.2

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(verifier.verify, [token()] * 8))

    assert None not in found
    assert issuer.asked == ["/jwks"]


def test_keys_are_discovered(issuer: Issuer) -> None:
    path = "/realms/hotel/.well-known/openid-configuration"
    for written in (f"{issuer.url}/realms/hotel", f"{issuer.url}/realms/hotel/"):
        issuer.asked.clear()
        issuer.documents[path] = {"issuer": written, "jwks_uri": f"{issuer.url}/jwks"}
        verifier = TokenVerifier(written, AUDIENCE, None, ROLE_CLAIM)

        assert verifier.verify(token(iss=written)) is not None
        assert issuer.asked == [path, "/jwks"]


def test_discovery_that_leads_elsewhere_is_refused(issuer: Issuer, jwks_file: Path) -> None:
    path = "/.well-known/openid-configuration"
    for document in (
        {"issuer": ISSUER, "jwks_uri": f"{issuer.url}/jwks"},
        {"jwks_uri": f"{issuer.url}/jwks"},
        {"issuer": issuer.url, "jwks_uri": "http://id.example.org/jwks"},
        {"issuer": issuer.url, "jwks_uri": jwks_file.as_uri()},
        {"issuer": issuer.url},
    ):
        issuer.documents[path] = document
        issuer.asked.clear()
        verifier = TokenVerifier(issuer.url, AUDIENCE, None, ROLE_CLAIM)

        assert verifier.verify(token(iss=issuer.url)) is None
        assert issuer.asked == [path]


def test_redirects_are_not_followed(issuer: Issuer) -> None:
    issuer.redirects["/jwks"] = f"{issuer.url}/elsewhere"
    issuer.documents["/elsewhere"] = JWKS

    assert served(issuer).verify(token()) is None
    assert issuer.asked == ["/jwks"]


def test_endless_document_is_not_read(issuer: Issuer) -> None:
    issuer.documents["/jwks"] = json.dumps(JWKS).encode() + b" " * 1_000_000

    assert served(issuer).verify(token()) is None


def test_keys_on_this_machine_are_fetched_past_any_proxy(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)

        assert served(issuer).verify(token()) is not None


@pytest.mark.parametrize(
    ("issuer_url", "audience", "jwks", "named"),
    [
        (ISSUER, None, None, "LEDGER_OIDC_AUDIENCE"),
        (ISSUER, "", None, "LEDGER_OIDC_AUDIENCE"),
        (ISSUER, AUDIENCE, "http://id.example.org/jwks", "LEDGER_OIDC_JWKS"),
        (ISSUER, AUDIENCE, "http://127.0.0.1.example.org/jwks", "LEDGER_OIDC_JWKS"),
        (ISSUER, AUDIENCE, "http://127.0.0.1@example.org/jwks", "LEDGER_OIDC_JWKS"),
        (ISSUER, AUDIENCE, "file:///etc/passwd", "LEDGER_OIDC_JWKS"),
        (ISSUER, AUDIENCE, "https://", "LEDGER_OIDC_JWKS"),
        (ISSUER, AUDIENCE, "https://[x/jwks", "LEDGER_OIDC_JWKS"),
        (ISSUER, AUDIENCE, "/no/such/file", "LEDGER_OIDC_JWKS: /no/such/file"),
        ("http://id.example.org", AUDIENCE, None, "LEDGER_OIDC_ISSUER"),
        ("hotel", AUDIENCE, None, "LEDGER_OIDC_ISSUER"),
    ],
)
def test_settings_that_cannot_work_are_named(
    issuer_url: str, audience: str | None, jwks: str | None, named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        TokenVerifier(issuer_url, audience, jwks, ROLE_CLAIM)


@pytest.mark.parametrize(
    "url", ["https://x.org/jwks", "http://localhost/jwks", "http://[::1]/jwks"]
)
def test_nothing_is_fetched_before_a_token_comes(url: str) -> None:
    TokenVerifier(ISSUER, AUDIENCE, url, ROLE_CLAIM)


@pytest.mark.parametrize("missing", ["jwt", "cryptography"])
def test_missing_software_is_named(missing: str) -> None:
    script = f"""
import sys
import api.oidc
assert "jwt" not in sys.modules
sys.modules["{missing}"] = None
try:
    api.oidc.TokenVerifier("https://id.example.org", "ledger", None, "role")
except api.settings.SettingsError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert "LEDGER_OIDC_ISSUER" in done.stdout
    assert "pip install 'booking-ledger[oidc]'" in done.stdout
