"""From a real server to somebody who has none of this: evidence, audit, erasure, a full dump."""

import base64
import subprocess
import sys
from pathlib import Path

import httpx
from ledger_processes import Processes, Server, wait_for

from api.embedded.cluster import installation
from projections.evidence import verify_evidence as program

TELLTALE = "Zoë Quackenbush rang from hospital"


def dumped(server: Server) -> bytes:
    """The whole database as pg_dump writes it."""
    pg_dump = installation() / "bin" / "pg_dump"
    done = subprocess.run(
        [pg_dump, "--dbname", server.database_url], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert b"COPY ledger.ledger_events" in done.stdout
    return done.stdout


def traces(dump: bytes) -> list[bytes]:
    """The telltale in a dump: as text, escaped, in hexadecimal or in base64 at any alignment."""
    plain = TELLTALE.encode()
    encoded = [base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)]
    forms = [plain, plain.hex().encode(), TELLTALE.encode("unicode_escape"), *encoded]
    # bytea stands in a dump in hexadecimal, so whatever is text in it is looked for so too.
    return [form for form in [*forms, *(form.hex().encode() for form in forms)] if form in dump]


def evidence(client: httpx.Client, booking_id: str, file: Path) -> Path:
    answer = client.get(f"/api/bookings/{booking_id}/evidence")
    assert answer.status_code == 200, answer.text
    file.write_bytes(answer.content)
    return file


def verified(directory: Path, file: Path, vkey: str) -> str:
    """What the program of one file says, in a directory with nothing of the project."""
    script = directory / "verify_evidence.py"
    script.write_bytes(Path(program.__file__).read_bytes())
    told = [sys.executable, "-I", script, file, "--vkey", vkey]
    done = subprocess.run(told, check=False, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_hotel_booking_is_proven_to_somebody_who_has_none_of_this(
    started: Processes, data_dir: Path, tmp_path: Path
) -> None:
    server = started.serve(data_dir, "--demo")
    server.wait_until("ready")
    with server.client() as client:
        (booking, *_) = client.get("/api/bookings", params={"status": "Canceled"}).json()[
            "bookings"
        ]
        file = evidence(client, booking["id"], tmp_path / "hotel.html")
        vkey = client.get("/log/vkey").text.strip()

    said = verified(tmp_path, file, vkey)

    assert said.startswith(f"Sound: {booking['id']!r}, ")
    assert "'Canceled'\nThese are all changes of the booking up to position 771 of" in said
    done = started.run("verify", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stdout + done.stderr


def signed(client: httpx.Client) -> int:
    """How many events the newest checkpoint covers."""
    return int(client.get("/log/checkpoint").raise_for_status().text.splitlines()[1])


def test_of_what_was_erased_a_full_dump_has_no_trace_and_everything_still_verifies(
    started: Processes, data_dir: Path, tmp_path: Path
) -> None:
    server = started.serve(data_dir)
    with server.client() as client:
        said = {"reason": TELLTALE, "changedBy": TELLTALE, "metadata": {"note": TELLTALE}}
        for method, path, status in (
            ("POST", "/api/bookings", "pending"),
            ("PATCH", "/api/bookings/4711", "confirmed"),
        ):
            body = {"status": status, **said, **({"id": "4711"} if method == "POST" else {})}
            headers = {"Idempotency-Key": f"key-{status}"}
            answer = client.request(method, path, json=body, headers=headers)
            assert answer.is_success, answer.text
        client.get("/api/status-history").raise_for_status()
        before = evidence(client, "4711", tmp_path / "before.html")
        vkey = client.get("/log/vkey").text.strip()
        assert traces(dumped(server)) != []

        erased = client.delete("/api/bookings/4711/personal-data", params={"reason": "asked for"})
        assert erased.is_success, erased.text
        wait_for(lambda: traces(dumped(server)) == [], "a dump without a trace")
        wait_for(lambda: signed(client) == 3, "a checkpoint over the erasure")
        after = evidence(client, "4711", tmp_path / "after.html")

    assert TELLTALE in before.read_text(encoding="utf-8")
    assert traces(after.read_bytes()) == []
    for file, size in ((before, 2), (after, 3)):
        assert f"all changes of the booking up to position {size}" in verified(tmp_path, file, vkey)
    done = started.run("verify", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stdout + done.stderr
