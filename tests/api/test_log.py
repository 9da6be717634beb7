"""The transparency log over HTTP, read as an auditor does who knows only C2SP's documents."""

import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import httpx
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from ledger_service import ADMIN_KEY, Service
from log_scenes import MASTER_KEY, ORIGIN, log_all, logging_on, open_many, root_of_events, tampering
from scenes import eventually

from projections.log import signing_keys
from projections.log.merkle import EMPTY_ROOT, verify_consistency
from projections.log.notes import parse_vkey
from projections.log.proofs import parse_proof
from projections.log.reading import read_entry


class Auditor:
    """An own reader of C2SP checkpoints and tiles: nothing of the project is used here."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str) -> bytes:
        answer = self._client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.content

    def verified_checkpoint(self) -> tuple[str, int, bytes]:
        """Origin, size and root, after the signature of the key in /log/vkey was verified."""
        name, key_id, key = self.get("/log/vkey").decode().strip().split("+", 2)
        raw = base64.b64decode(key)
        assert raw[0] == 1
        digest = hashlib.sha256(name.encode() + b"\n" + raw).digest()
        assert digest[:4].hex() == key_id
        text, _, lines = self.get("/log/checkpoint").decode().rpartition("\n\n")
        (line,) = [one for one in lines.splitlines() if one.startswith(f"\u2014 {name} ")]
        signature = base64.b64decode(line.split(" ")[2])
        assert signature[:4].hex() == key_id
        Ed25519PublicKey.from_public_bytes(raw[1:]).verify(signature[4:], (text + "\n").encode())
        origin, size, root = text.split("\n")[:3]  # lines may follow, which are opaque
        assert origin == name
        return origin, int(size), base64.b64decode(root)

    def entries(self, size: int) -> Iterator[bytes]:
        for tile in range(-(-size // 256)):
            width = min(256, size - tile * 256)
            bundle = self.get(f"/log/tile/entries/{self.path(tile, width)}")
            for _ in range(width):
                length = int.from_bytes(bundle[:2], "big")
                yield bundle[2 : 2 + length]
                bundle = bundle[2 + length :]
            assert bundle == b""

    def path(self, tile: int, width: int) -> str:
        assert tile < 1_000
        return f"{tile:03}" if width == 256 else f"{tile:03}.p/{width}"

    def hashed(self, hashes: list[bytes]) -> bytes:
        """MTH of RFC 6962 over leaf hashes, by its definition."""
        if len(hashes) == 1:
            return hashes[0]
        k = 1
        while k * 2 < len(hashes):
            k *= 2
        joined = b"\x01" + self.hashed(hashes[:k]) + self.hashed(hashes[k:])
        return hashlib.sha256(joined).digest()


@pytest.fixture
def logged(unprojected: Service) -> Service:
    """600 events and checkpoints of 0, 300 and 600."""
    for part in range(2):
        log_all(unprojected.database)
        open_many(unprojected.database, 300, f"part-{part}")
    log_all(unprojected.database)
    return unprojected


@pytest.fixture
def auditor(logged: Service) -> Iterator[Auditor]:
    with logged.as_role("auditor") as client:
        yield Auditor(client)


def test_a_reader_that_knows_only_c2sp_recomputes_the_root(auditor: Auditor) -> None:
    _, size, root = auditor.verified_checkpoint()
    leaves = [hashlib.sha256(b"\0" + one).digest() for one in auditor.entries(size)]

    assert size == 600
    assert auditor.hashed(leaves) == root
    assert auditor.get("/log/tile/0/000") == b"".join(leaves[:256])
    assert auditor.get("/log/tile/0/002.p/88") == b"".join(leaves[512:])
    level_1 = [auditor.hashed(leaves[at : at + 256]) for at in (0, 256)]
    assert auditor.get("/log/tile/1/000.p/2") == b"".join(level_1)


def test_partial_tiles_of_earlier_checkpoints_stay(auditor: Auditor) -> None:
    assert auditor.get("/log/tile/0/001.p/44") == auditor.get("/log/tile/0/001")[: 44 * 32]
    assert auditor.get("/log/tile/1/000.p/1") == auditor.get("/log/tile/1/000.p/2")[:32]
    whole = auditor.get("/log/tile/entries/001")
    assert whole.startswith(auditor.get("/log/tile/entries/001.p/44"))


@pytest.mark.parametrize(
    "path",
    [
        *("0/002", "0/002.p/89", "0/003.p/1", "1/000", "1/000.p/3", "2/000.p/1", "63/000.p/1"),
        *("0/x999/x999/x999/x999/x999/999", "0/0", "0/2", "0/000.p/0", "0/000.p/256", "0/000.p/01"),
        *("00/000", "64/000", "-1/000", "x/000", "0/x000/000", "0/000/", "0/000%2Fp", "0/", "0"),
        *("entries/002", "entries/003.p/1", "entries/2", "entries/"),
    ],
)
def test_what_is_no_tile_of_the_newest_checkpoint_is_not_found(logged: Service, path: str) -> None:
    answer = logged.client.get(f"/log/tile/{path}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_events_beyond_the_newest_checkpoint_are_not_shown(logged: Service) -> None:
    open_many(logged.database, 10, "later")

    assert logged.client.get("/log/tile/entries/002.p/89").status_code == 404
    assert logged.client.get("/log/proof/inclusion?position=601").status_code == 404


def test_headers(logged: Service) -> None:
    checkpoint = logged.client.get("/log/checkpoint")
    tile = logged.client.get("/log/tile/0/000")
    plain = logged.client.get("/log/tile/entries/000", headers={"Accept-Encoding": "identity"})
    packed = logged.client.get("/log/tile/entries/000", headers={"Accept-Encoding": "gzip"})

    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint.headers["cache-control"] == "private, no-cache"
    assert tile.headers["content-type"] == "application/octet-stream"
    assert tile.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content


def test_an_inclusion_proof_is_verified_offline(
    logged: Service, connection: psycopg.Connection
) -> None:
    vkey = parse_vkey(logged.client.get("/log/vkey").text.strip())
    for position, size in [(1, None), (600, None), (300, 300), (257, 600)]:
        asked = {"position": position} | ({} if size is None else {"size": size})
        proof = parse_proof(logged.client.get("/log/proof/inclusion", params=asked).text)

        assert (proof.index, proof.checkpoint.size) == (position - 1, size or 600)
        proof.verify(read_entry(connection, position), [vkey])


def test_consistency_proofs_lead_from_checkpoint_to_checkpoint(
    logged: Service, connection: psycopg.Connection
) -> None:
    for old, new in [(0, 300), (300, 600), (600, 600), (1, 600), (123, 456)]:
        answer = logged.client.get("/log/proof/consistency", params={"from": old, "to": new})
        hashes = [base64.b64decode(one) for one in answer.json()["hashes"]]

        assert (answer.json()["from"], answer.json()["to"]) == (old, new)
        roots = (root_of_events(connection, old), root_of_events(connection, new))
        assert verify_consistency(old, new, *roots, hashes)
    assert logged.client.get("/log/proof/consistency?from=300").json()["to"] == 600


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("inclusion", 422, "position"),
        ("inclusion?position=0", 422, "position"),
        ("inclusion?position=x", 422, "position"),
        ("inclusion?position=5&size=299", 404, "the next one is of 300"),
        ("inclusion?position=5&size=601", 404, "beyond the newest"),
        ("inclusion?position=301&size=300", 404, "no event at position 301"),
        ("inclusion?position=601", 404, "no event at position 601"),
        ("consistency", 422, "from"),
        ("consistency?from=-1", 422, "from"),
        ("consistency?from=300&to=601", 404, "of size 600"),
        ("consistency?from=301&to=300", 422, "at most 300"),
    ],
)
def test_a_proof_that_cannot_be_made_says_why(
    logged: Service, query: str, status: int, said: str
) -> None:
    answer = logged.client.get(f"/log/proof/{query}")

    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_proofs_wait_for_tiles_that_are_being_made_anew(
    logged: Service, connection: psycopg.Connection
) -> None:
    connection.execute("DELETE FROM log_tile")

    for path in ("tile/0/000", "proof/inclusion?position=5", "proof/consistency?from=3"):
        answer = logged.client.get(f"/log/{path}")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["type"] == "/problems/log-behind"
    assert logged.client.get("/log/checkpoint").status_code == 200


def test_all_checkpoints_are_listed_page_by_page(logged: Service) -> None:
    first = logged.client.get("/log/checkpoints?limit=2").json()
    rest = logged.client.get(f"/log/checkpoints?limit=2&after={first['next']}").json()
    found = [*first["checkpoints"], *rest["checkpoints"]]

    assert [one["size"] for one in found] == [0, 300, 600]
    assert rest["next"] is None
    assert base64.b64decode(found[0]["root"]) == EMPTY_ROOT
    assert found[-1]["note"] == logged.client.get("/log/checkpoint").text


def test_keys_of_the_past_stay_known(logged: Service) -> None:
    first = logged.client.get("/log/vkey").text
    signing_keys.rotate(logged.database, MASTER_KEY, ORIGIN)
    newest = logged.client.get("/log/vkey").text

    assert newest != first
    assert logged.client.get("/log/vkey?all=true").text == newest + first


def test_before_a_projector_has_begun_the_log_it_is_not_there(unprojected: Service) -> None:
    for path in ("checkpoint", "vkey", "tile/0/000", "proof/inclusion?position=1"):
        answer = unprojected.client.get(f"/log/{path}")
        assert answer.status_code == 404
        assert answer.json()["type"] == "/problems/not-in-log"
    assert unprojected.client.get("/log/checkpoints").json() == {"checkpoints": [], "next": None}


def test_any_key_may_read_the_log_and_nobody_without(logged: Service) -> None:
    paths = ("checkpoint", "vkey", "checkpoints", "tile/0/000", "tile/entries/000")
    for path in paths:
        with logged.without_key() as client:
            assert client.get(f"/log/{path}").status_code == 401
        with logged.as_role("reader") as client:
            assert client.get(f"/log/{path}").status_code == 200


def test_a_write_is_in_a_checkpoint_soon(
    unprojected: Service, logging_in_a_thread: Future[None]
) -> None:
    unprojected.open("4711")

    def size() -> int:
        answer = unprojected.client.get("/log/checkpoint")
        return int(answer.text.split("\n")[1]) if answer.status_code == 200 else 0

    eventually(lambda: size() == 1, "a checkpoint")
    log = unprojected.client.get("/readyz").json()["projections"]["log"]
    assert (log["position"], log["failure"]) == (1, None)
    assert "ledger_log_position 1.0" in unprojected.client.get("/metrics").text


@pytest.fixture
def logging_in_a_thread(unprojected: Service) -> Iterator[Future[None]]:
    with logging_on(unprojected.database) as running:
        yield running


def test_the_check_by_hand_in_the_documents_runs_as_it_stands(logged: Service) -> None:
    document = (Path(__file__).parents[2] / "docs/log.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)

    def check() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, logged.url, ADMIN_KEY]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    said = f"{ORIGIN}: 600 entries of 600 bookings, signed and whole\n"
    assert check().stdout == said
    with tampering(logged.database) as superuser:
        superuser.execute("UPDATE ledger_events SET topic = 'x' WHERE notification_id = 7")
    assert "not those that were signed" in check().stderr
