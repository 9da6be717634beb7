"""Evidence over HTTP and on the command line: the same file, and it holds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from ledger_service import Service
from log_scenes import logging_on

from api.cli.group import main
from projections.evidence.verify_evidence import verify


@pytest.fixture
def logged(service: Service) -> Iterator[Service]:
    with logging_on(service.database):
        yield service


def test_a_reader_gets_the_file_of_a_booking(logged: Service) -> None:
    service = logged
    service.client.post("/api/bookings", json={"id": "room/12 é", "reason": "by phone"})
    service.client.patch("/api/bookings/room%2F12%20%C3%A9", json={"status": "confirmed"})
    answer = service.client.get("/api/bookings/room%2F12%20%C3%A9/evidence")
    vkey = service.client.get("/log/vkey").text.strip()

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="evidence-room-12.html"'
    found = verify(answer.content.decode(), vkey)
    assert found["booking"] == "room/12 é"
    assert [event["data"]["to_status"] for event in found["events"]] == ["pending", "confirmed"]


def test_an_unknown_booking_has_none(service: Service) -> None:
    answer = service.client.get("/api/bookings/nobody/evidence")

    assert answer.status_code == 404
    assert answer.json()["type"].endswith("/booking-not-found")


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_says_whether_a_file_holds(
    logged: Service, tmp_path: Path, *, as_json: bool
) -> None:
    service = logged
    service.client.post("/api/bookings", json={"id": "room-12"})
    file = tmp_path / "evidence.html"
    file.write_bytes(service.client.get("/api/bookings/room-12/evidence").content)
    options = ["--json"] if as_json else []

    sound = CliRunner().invoke(main, ["verify-evidence", str(file), *options])
    assert sound.exit_code == 0, sound.output
    assert "room-12" in sound.stdout

    file.write_bytes(file.read_bytes().replace(b"pending", b"expired"))
    forged = CliRunner().invoke(main, ["verify-evidence", str(file), *options])
    assert forged.exit_code == 1
    assert "Not sound" in forged.stderr
    assert not as_json or '"sound":false' in forged.stdout


def test_while_no_checkpoint_covers_it_there_is_a_clear_answer(service: Service) -> None:
    with logging_on(service.database):
        service.open("room-12")
        assert service.client.get("/api/bookings/room-12/evidence").status_code == 200
    service.change("room-12", "confirmed")

    answer = service.client.get("/api/bookings/room-12/evidence", timeout=30)

    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/log-behind")
    assert "position 2" in answer.json()["detail"]
    assert int(answer.headers["Retry-After"]) > 0
