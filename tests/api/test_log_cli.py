"""The transparency log on the command line, and a witness on loopback."""

import json
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from log_scenes import open_many, tampering
from tests.support.master_key import MASTER_KEY_TEXT

from api.cli import main
from ledger.database import Database
from projections.catch_up import catch_up
from projections.log import tile_table
from projections.log.checkpoints import parse_checkpoint
from projections.log.merkle import EMPTY_ROOT, verify_consistency
from projections.log.notes import (
    COSIGNATURE,
    Signature,
    Signer,
    Verifier,
    decode_base64,
    parse_vkey,
)
from projections.log.proofs import parse_proof
from projections.log.reading import read_entry

NAME = "witness.example/w1"


class Ledger:
    """A ledger whose master key is in a directory of its own."""

    def __init__(self, database: Database, data_dir: Path) -> None:
        self.database = database
        self.data_dir = data_dir

    def run(self, *arguments: str) -> Result:
        place = ("--database-url", self.database.url, "--data-dir", str(self.data_dir))
        return CliRunner().invoke(main, [*arguments, *place])

    def output(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def error(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        return result.stderr


@pytest.fixture
def ledger(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.delenv("LEDGER_MASTER_KEY")
    open_many(database, 20)
    catch_up(database)
    return Ledger(database, tmp_path / "data")


def test_a_checkpoint_is_written_with_the_log_brought_up_to_date(
    ledger: Ledger, tmp_path: Path
) -> None:
    out = tmp_path / "checkpoint.txt"
    assert ledger.output("checkpoint", "--out", str(out)) == ""
    checkpoint = parse_checkpoint(out.read_bytes())
    vkey = parse_vkey(ledger.output("log", "vkey").strip())

    assert checkpoint.size == 20
    assert checkpoint.origin == "booking-ledger.local/ledger"
    assert checkpoint.verify([vkey]) == [vkey]
    assert ledger.output("log", "checkpoint") == out.read_text()
    assert list(tmp_path.glob(".checkpoint*")) == []


def test_the_master_key_is_made_once_and_for_its_owner_alone(ledger: Ledger) -> None:
    ledger.output("checkpoint")
    path = ledger.data_dir / "master.key"
    before = path.read_bytes()
    ledger.output("checkpoint")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == before
    assert len(decode_base64(before.decode().strip())) == 32


def test_another_master_key_is_refused_in_one_line(ledger: Ledger) -> None:
    ledger.output("checkpoint")
    (ledger.data_dir / "master.key").unlink()

    for command in (["checkpoint"], ["log", "rotate-key"], ["project"], ["serve", "--port", "0"]):
        assert "The master key of this ledger is not here" in ledger.error(*command)
        assert not (ledger.data_dir / "master.key").exists()

    (ledger.data_dir / "master.key").write_text(MASTER_KEY_TEXT)
    for command in (["checkpoint"], ["history", "x"], ["project"], ["serve", "--port", "0"]):
        assert "The master key does not open" in ledger.error(*command)


def test_a_file_that_holds_no_master_key_is_refused(ledger: Ledger) -> None:
    ledger.data_dir.mkdir()
    (ledger.data_dir / "master.key").write_text("not a key\n")

    said = ledger.error("checkpoint")
    assert "master.key: must be 32 bytes in base64" in said
    assert "not a key" not in said


def test_an_origin_cannot_change(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.output("checkpoint")
    monkeypatch.setenv("LEDGER_LOG_ORIGIN", "elsewhere.example")

    assert "set LEDGER_LOG_ORIGIN to 'booking-ledger.local/ledger'" in ledger.error("checkpoint")


def test_proofs(ledger: Ledger, tmp_path: Path) -> None:
    ledger.output("checkpoint")
    open_many(ledger.database, 5, "later")
    ledger.output("checkpoint")
    vkey = parse_vkey(ledger.output("log", "vkey").strip())
    proof = parse_proof(ledger.output("log", "proof", "7"))
    older = parse_proof(ledger.output("log", "proof", "7", "--size", "20"))
    hashes = json.loads(ledger.output("log", "consistency", "20", "25", "--json"))["hashes"]
    ledger.output("log", "proof", "7", "--out", str(tmp_path / "7.tlog-proof"))

    with ledger.database.connect() as connection:
        proof.verify(read_entry(connection, 7), [vkey])
        older.verify(read_entry(connection, 7), [vkey])
    assert (proof.checkpoint.size, older.checkpoint.size) == (25, 20)
    roots = (older.checkpoint.root, proof.checkpoint.root)
    assert verify_consistency(20, 25, *roots, [decode_base64(one) for one in hashes])
    assert ledger.output("log", "consistency", "20", "25").split() == hashes
    assert (tmp_path / "7.tlog-proof").read_text() == str(proof)
    assert "no event at position 26" in ledger.error("log", "proof", "26")
    assert "newest checkpoint is of size 25" in ledger.error("log", "consistency", "1", "26")


def test_a_log_that_was_never_begun_is_said_to_be_so(ledger: Ledger) -> None:
    assert "no checkpoint yet" in ledger.error("log", "vkey")


def test_a_rotated_key_signs_with_the_old_one_once(ledger: Ledger) -> None:
    ledger.output("checkpoint")
    old = parse_vkey(ledger.output("log", "vkey").strip())
    new = parse_vkey(ledger.output("log", "rotate-key").strip())
    open_many(ledger.database, 1, "later")
    both = parse_checkpoint(ledger.output("checkpoint"))
    open_many(ledger.database, 1, "last")
    alone = parse_checkpoint(ledger.output("checkpoint"))

    assert both.verify([old, new]) == [old, new]
    assert alone.verify([old, new]) == [new]
    keys = ledger.output("log", "vkey", "--all").split()
    assert keys == [new.vkey, old.vkey]


def test_verify_holds_the_ledger_against_a_checkpoint_kept_outside(
    ledger: Ledger, tmp_path: Path
) -> None:
    kept, vkey = str(tmp_path / "kept.txt"), None
    ledger.output("checkpoint", "--out", kept)
    vkey = ledger.output("log", "vkey").strip()
    assert "Sound." in ledger.output("verify", "--checkpoint", kept, "--vkey", vkey)
    with tampering(ledger.database) as superuser:
        superuser.execute("UPDATE ledger_events SET state = state || ' '::bytea")
        superuser.execute("DELETE FROM log_checkpoint")
        superuser.execute("DELETE FROM log_key")
        with superuser.transaction():
            tile_table.start_anew(superuser)
    ledger.output("checkpoint")

    assert "Sound." in ledger.output("verify")
    result = ledger.run("verify", "--checkpoint", kept, "--vkey", vkey, "--json")
    assert result.exit_code == 1
    (found,) = json.loads(result.stdout)["findings"]
    assert (found["kind"], found["position"]) == ("wrong_checkpoint_root", 1)
    (tmp_path / "no.txt").write_text("x")
    assert "no.txt: A note ends" in ledger.error("verify", "--checkpoint", str(tmp_path / "no.txt"))
    assert "verifier key" in ledger.error("verify", "--vkey", "x")


def test_verify_computes_a_certificate_of_the_read_model_anew(
    ledger: Ledger, tmp_path: Path
) -> None:
    honest, forged = str(tmp_path / "honest.certificate"), str(tmp_path / "forged.certificate")
    ledger.output("log", "certificate", "--out", honest)
    with tampering(ledger.database) as superuser:
        superuser.execute("""UPDATE "BookingStatusHistory" SET source = 'me'""")
    ledger.output("log", "certificate", "--out", forged)
    ledger.output("rebuild")

    assert "Sound." in ledger.output("verify", "--projection", honest)
    result = ledger.run("verify", "--projection", forged, "--json")
    assert result.exit_code == 1
    assert [one["kind"] for one in json.loads(result.stdout)["findings"]] == ["wrong_certificate"]


# --- a witness ------------------------------------------------------------------------------


@dataclass
class LoopbackWitness:
    """C2SP tlog-witness, as far as a log sees of it."""

    log: Verifier | None = None
    signer: Signer = field(default_factory=lambda: Signer(NAME, b"w" * 32))
    size: int = 0
    root: bytes = EMPTY_ROOT
    asked: list[str] = field(default_factory=list)
    answer: tuple[int, str] | None = None
    url: str = ""

    @property
    def verifier(self) -> Verifier:
        return Verifier(NAME, self.signer.verifier.public_key, COSIGNATURE)

    def add_checkpoint(self, body: str) -> tuple[int, str]:
        self.asked.append(body.partition("\n")[0])
        if self.answer is not None:
            return self.answer
        head, _, note = body.partition("\n\n")
        old, *lines = head.split("\n")
        checkpoint = parse_checkpoint(note)
        if self.log is None or checkpoint.origin != self.log.name:
            return 404, ""
        checkpoint.verify([self.log])
        if old != f"old {self.size}":
            return 409, f"{self.size}\n"
        proof = [decode_base64(line) for line in lines]
        sizes = (self.size, checkpoint.size)
        if not verify_consistency(*sizes, self.root, checkpoint.root, proof):
            return 422, ""
        self.size, self.root = checkpoint.size, checkpoint.root
        return 200, self.cosign(checkpoint.note.text, 1_700_000_000)

    def cosign(self, text: str, time: int) -> str:
        signed = self.signer.sign(f"cosignature/v1\ntime {time}\n{text}").signature
        content = time.to_bytes(8, "big") + signed
        return Signature(NAME, self.verifier.key_id, content).line


@pytest.fixture
def witness() -> Iterator[LoopbackWitness]:
    found = LoopbackWitness()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/prefix/add-checkpoint"
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, answer = found.add_checkpoint(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer.encode())))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}/prefix"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def test_a_witness_cosigns_and_its_signature_is_kept(
    ledger: Ledger, witness: LoopbackWitness
) -> None:
    ask = ("checkpoint", "--witness", witness.url, "--witness-key", witness.verifier.vkey)
    ledger.output("checkpoint")
    witness.log = parse_vkey(ledger.output("log", "vkey").strip())
    first = parse_checkpoint(ledger.output(*ask))
    open_many(ledger.database, 30, "later")
    second = parse_checkpoint(ledger.output(*ask))

    assert witness.asked == ["old 0", "old 20"]
    for checkpoint in (first, second):
        assert checkpoint.note.verify([witness.verifier]) == [witness.verifier]
    assert (first.size, second.size) == (20, 50)
    assert ledger.output("checkpoint") == str(second.note)
    assert "Sound." in ledger.output("verify")


def test_a_witness_that_has_seen_another_size_is_asked_again_from_there(
    ledger: Ledger, witness: LoopbackWitness
) -> None:
    ask = ("checkpoint", "--witness", witness.url, "--witness-key", witness.verifier.vkey)
    checkpoint = parse_checkpoint(ledger.output("checkpoint"))
    witness.log = parse_vkey(ledger.output("log", "vkey").strip())
    witness.size, witness.root = checkpoint.size, checkpoint.root
    open_many(ledger.database, 30, "later")
    ledger.output(*ask)

    assert witness.asked == ["old 0", "old 20"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, ""), "answered 404: nothing"),
        ((403, "who are you?"), "answered 403: who are you?"),
        ((422, ""), "answered 422"),
        ((500, "x" * 1_000), "answered 500"),
        ((409, "99\n"), "seen this log at size 99"),
        ((409, "5\n"), "answered 409"),
        ((409, "many\n"), "without the size"),
        ((200, ""), "not a cosignature"),
        ((200, "thanks\n"), "not a cosignature"),
        ((200, Signer("other", b"o" * 32).sign("x").line), "sent no signature"),
        (
            (200, LoopbackWitness().cosign("another text\n", 1_700_000_000)),
            "signature of witness.example/w1 is wrong",
        ),
    ],
)
def test_a_witness_that_does_not_sign_is_said_so_and_nothing_is_kept(
    ledger: Ledger, witness: LoopbackWitness, answer: tuple[int, str], said: str
) -> None:
    witness.answer = answer
    before = ledger.output("checkpoint")

    assert said in ledger.error(
        "checkpoint", "--witness", witness.url, "--witness-key", witness.verifier.vkey
    )
    assert ledger.output("checkpoint") == before


def test_a_witness_needs_a_key_of_the_right_kind_and_an_address(
    ledger: Ledger, witness: LoopbackWitness
) -> None:
    def error(url: str, key: str) -> str:
        return ledger.error("checkpoint", "--witness", url, "--witness-key", key)

    assert ledger.run("checkpoint", "--witness", witness.url).exit_code == 2
    assert "cosignatures (type 4)" in error(witness.url, witness.signer.verifier.vkey)
    assert "must begin with https" in error("file:///etc/passwd", witness.verifier.vkey)
    assert "cannot be reached" in error("http://127.0.0.1:1", witness.verifier.vkey)
