"""Erasure and legal hold over HTTP and on the command line, and what is seen afterwards."""

import json
import threading
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from ledger_service import Service
from web_pages import HTML

from api.cli.group import main
from ledger.database import Database
from projections.catch_up import catch_up

SAID: dict[str, Any] = {
    "changedBy": "Zoë Quackenbush",
    "reason": "in hospital",
    "metadata": {"phone": "0170"},
}
PERSONAL = "/api/bookings/4711/personal-data"
HOLD = "/api/bookings/4711/hold"
WHY = {"reason": "request 7"}


def erase(service: Service, **more: Any) -> httpx.Response:
    return service.client.delete(PERSONAL, params=WHY, **more)


def test_an_erasure_leaves_statuses_and_times(service: Service) -> None:
    service.open("4711", **SAID)
    service.change("4711", "confirmed", **SAID)
    before = service.history("4711")

    answer = erase(service)

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"bookingId": "4711", "changed": True}
    assert answer.headers["Ledger-Position"] == "3"
    nothing = {"changedBy": None, "reason": None, "metadata": None, "erased": True}
    assert service.history("4711") == [{**entry, **nothing} for entry in before]
    assert service.client.get("/api/bookings/4711").json()["version"] == 2
    listed = service.client.get("/api/status-history", params={"bookingId": "4711"}).json()
    assert [entry["erased"] for entry in listed["history"]] == [True, True]
    by_who = {"changedBy": SAID["changedBy"]}
    assert service.client.get("/api/status-history", params=by_who).json()["history"] == []


def test_whoever_has_the_history_is_not_told_that_it_is_unchanged(service: Service) -> None:
    service.open("4711", **SAID)
    address = "/api/bookings/4711/status-history"
    tag = service.client.get(address).headers["ETag"]
    erase(service)

    again = service.client.get(address, headers={"If-None-Match": tag})
    assert again.status_code == 200
    assert "Quackenbush" not in again.text
    changed = {"If-Match": again.headers["ETag"]}
    answer = service.client.patch(
        "/api/bookings/4711", json={"status": "confirmed"}, headers=changed
    )
    assert answer.status_code == 200, answer.text


def test_the_feed_tells_of_it_and_no_more_of_what_was_erased(service: Service) -> None:
    service.open("4711", **SAID)
    got: list[str] = []
    listening, ended = threading.Event(), threading.Event()

    def listen() -> None:
        with service.client.stream("GET", "/api/events/stream", params={"after": 0}) as stream:
            for line in stream.iter_lines():
                got.append(line)
                if line.startswith("data:"):
                    listening.set()
                if "PersonalData.Erased" in line:
                    break
        ended.set()

    thread = threading.Thread(target=listen)
    thread.start()
    assert listening.wait(10)
    erase(service)
    assert ended.wait(10)
    thread.join()

    events = service.client.get("/api/events").json()["events"]
    assert [event["type"] for event in events] == ["Booking.Created", "PersonalData.Erased"]
    assert events[0]["erased"] is True
    assert events[1]["reason"] == "request 7"
    assert events[1]["bookingId"] == "4711"
    with service.client.stream("GET", "/api/events/stream", params={"after": 0}) as stream:
        lines = []
        for line in stream.iter_lines():
            lines.append(line)
            if "PersonalData.Erased" in line:
                break
    assert "Quackenbush" in "".join(got)
    assert "Quackenbush" not in "".join(lines)


def test_a_hold_refuses_and_is_shown_with_all_that_was_decided(service: Service) -> None:
    service.open("4711", **SAID)
    assert service.client.put(HOLD, json={"reason": "lawsuit"}).json()["changed"] is True
    assert service.client.put(HOLD, json={"reason": "again"}).json()["changed"] is False
    assert service.client.get(PERSONAL).json()["held"] is True

    refused = erase(service)
    assert refused.status_code == 409
    assert refused.json()["type"] == "/problems/personal-data-held"
    assert service.history("4711")[0]["reason"] == "in hospital"

    assert service.client.delete(HOLD, params={"reason": "settled"}).json()["changed"] is True
    assert erase(service).json()["changed"] is True
    assert erase(service).json()["changed"] is False
    found = service.client.get(PERSONAL).json()
    assert found["held"] is False
    assert [(one["type"].split(".")[1], one["reason"]) for one in found["decisions"]] == [
        ("HoldPlaced", "lawsuit"),
        ("HoldReleased", "settled"),
        ("Erased", "request 7"),
    ]


@pytest.mark.parametrize("params", [{}, {"reason": ""}, {"reason": "x" * 2001}])
def test_a_reason_is_needed(service: Service, params: dict[str, str]) -> None:
    service.open("4711", **SAID)
    answer = service.client.delete(PERSONAL, params=params)

    assert answer.status_code == 422
    assert answer.json()["field"] == "reason"
    assert service.history("4711")[0]["erased"] is False


def test_only_an_admin_decides(service: Service) -> None:
    service.open("4711", **SAID)
    made = service.client.post("/api/keys", json={"name": "desk", "role": "writer"}).json()
    desk = {"Authorization": f"Bearer {made['secret']}"}

    assert erase(service, headers=desk).status_code == 403
    assert service.client.put(HOLD, json=WHY, headers=desk).status_code == 403
    assert service.client.delete(HOLD, params=WHY, headers=desk).status_code == 403
    assert service.client.get(PERSONAL, headers=desk).json()["decisions"] == []


def test_sent_again_with_its_key_it_erases_once(service: Service) -> None:
    service.open("4711", **SAID)
    key = {"Idempotency-Key": "erase-4711"}
    first = erase(service, headers=key)
    service.change("4711", "confirmed", reason="called")
    again = erase(service, headers=key)

    assert first.json() == again.json()
    assert service.history("4711")[1]["reason"] == "called"


def test_an_unknown_booking_is_not_found(service: Service) -> None:
    for answer in (erase(service), service.client.get(PERSONAL)):
        assert answer.status_code == 404
        assert answer.json()["type"] == "/problems/booking-not-found"


def test_the_page_shows_what_was_decided_and_nothing_that_was_erased(service: Service) -> None:
    service.open("4711", **SAID)
    erase(service)
    page = service.client.get("/bookings/4711", headers=HTML).text

    assert "request 7" in page
    assert "erased" in page
    assert "Quackenbush" not in page
    assert "Quackenbush" not in service.client.get("/", headers=HTML).text


def test_the_command_line_does_the_same(service: Service, database: Database) -> None:
    service.open("4711", **SAID)

    def run(*arguments: str) -> Any:
        place = ("--database-url", database.url, "--reason", "request 7")
        return CliRunner().invoke(main, [*arguments, *place], input="n\n")

    assert run("hold", "4711").exit_code == 0
    held = run("erase", "4711", "--yes")
    assert (held.exit_code, "legal hold" in held.stderr) == (1, True)
    assert run("release", "4711").exit_code == 0
    assert run("erase", "4711").exit_code == 1  # asked, and answered no
    assert service.history("4711")[0]["erased"] is False
    assert json.loads(run("erase", "4711", "--yes", "--json").stdout)["changed"] is True
    assert "Nothing to do" in run("erase", "4711", "--yes").stdout
    assert run("hold", "nobody").exit_code == 1
    shown = CliRunner().invoke(main, ["history", "4711", "--database-url", database.url])
    assert "(erased)" in shown.stdout
    assert service.history("4711")[0]["erased"] is True


def test_without_a_projector_the_command_scrubs_the_read_model(database: Database) -> None:
    place = ("--database-url", database.url)
    with_rows = CliRunner().invoke(
        main,
        ["import", "-", "--format", "ndjson", *place],
        input='{"bookingId":"A","toStatus":"pending","reason":"in hospital",'
        '"createdAt":"2026-01-01T10:00:00Z"}\n',
    )
    assert with_rows.exit_code == 0, with_rows.output
    catch_up(database)
    answer = CliRunner().invoke(main, ["erase", "A", "--yes", "--reason", "request", *place])

    assert answer.exit_code == 0, answer.output
    with database.connect() as connection:
        rows = connection.execute('SELECT reason, erased FROM "BookingStatusHistory"').fetchall()
    assert rows == [(None, True)]
