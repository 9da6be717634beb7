"""The raw feed, page by page and live."""

import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import psycopg
import pytest
from ledger_service import Service
from scenes import eventually, no_garbage_collector

from projections.feed import events_after, head
from projections.rows import Positioned


def test_events_come_in_the_order_of_positions(service: Service) -> None:
    service.open("a")
    service.open("b")
    service.change("a", "confirmed", reason="paid")
    answer = service.client.get("/api/events?limit=2")
    rest = service.client.get(answer.headers["Link"].partition(">")[0].removeprefix("<"))

    assert [event["position"] for event in answer.json()["events"]] == [1, 2]
    assert answer.json()["next"] == 2
    (event,) = rest.json()["events"]
    assert "Link" not in rest.headers
    assert event["type"] == "Booking.StatusChanged"
    assert (event["bookingId"], event["version"]) == ("a", 2)
    assert (event["fromStatus"], event["toStatus"]) == ("pending", "confirmed")
    assert event["reason"] == "paid"
    assert service.client.get("/api/events?after=3").json() == {"events": [], "next": 3}


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=1001"])
def test_bad_queries_are_refused(service: Service, query: str) -> None:
    assert service.client.get(f"/api/events?{query}").status_code == 422


def positions(lines: Iterator[str], count: int) -> list[int]:
    """The ids of the next events of a stream, each checked against its data."""
    found: list[int] = []
    data = None
    for line in lines:
        if line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
        if line.startswith("id: "):
            assert data is not None
            assert data["position"] == int(line.removeprefix("id: "))
            found.append(data["position"])
        if len(found) == count:
            return found
    raise AssertionError(f"the stream ended after {found}")


def streaming(service: Service, query: str = "", **headers: str) -> httpx.Client:
    return service.client.stream("GET", f"/api/events/stream{query}", headers=headers, timeout=10)


def test_the_stream_begins_with_what_comes_from_now_on(service: Service) -> None:
    service.open("before")
    with streaming(service) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        next(line for line in lines if line.startswith(": connected"))
        service.open("after-1")
        service.open("after-2")

        assert positions(lines, 2) == [2, 3]


def test_who_is_told_to_be_connected_gets_all_from_then_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_head(connection: psycopg.Connection) -> int:
        time.sleep(0.3)  # what was recorded meanwhile would be taken for the past
        return head(connection)

    monkeypatch.setattr("api.tail.head", slow_head)
    with streaming(service) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if line.startswith(": connected"))
        service.open("after-1")

        assert positions(lines, 1) == [1]


def test_the_stream_goes_on_after_a_position(service: Service) -> None:
    for number in range(5):
        service.open(f"b{number}")
    with streaming(service, "?after=2") as answer:
        lines = answer.iter_lines()
        assert positions(lines, 3) == [3, 4, 5]
        service.open("b5")
        assert positions(lines, 1) == [6]


def test_the_last_event_id_of_a_browser_goes_before(service: Service) -> None:
    for number in range(5):
        service.open(f"b{number}")
    with streaming(service, "?after=0", **{"Last-Event-ID": "4"}) as answer:
        assert positions(answer.iter_lines(), 1) == [5]


def test_what_memory_has_dropped_comes_from_the_database(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.tail.SENT_EVENTS", 7)
    body = {"changes": [{"bookingId": f"b{n}", "status": "pending"} for n in range(1000)]}
    for round_ in range(3):  # more than Tail keeps
        for change in body["changes"]:
            change["bookingId"] += f".{round_}"
        service.client.post("/api/status-changes", json=body)
    with streaming(service, "?after=0") as answer:
        assert positions(answer.iter_lines(), 3000) == list(range(1, 3001))


def listeners(service: Service) -> str:
    found = re.search(r"^ledger_feed_listeners (.*)$", service.client.get("/metrics").text, re.M)
    assert found is not None
    return found[1]


EVENTS = 5_000


def record_much(service: Service) -> None:
    """More than the kernel takes for a reader who does not read."""
    body = {"status": "pending", "metadata": {"note": "x" * 4_000}}
    for first in range(0, EVENTS, 200):
        changes = [{"bookingId": f"b{first + number}", **body} for number in range(200)]
        answer = service.client.post("/api/status-changes", json={"changes": changes})
        assert answer.status_code == 200


def test_who_went_away_without_reading_is_followed_no_more(service: Service) -> None:
    with no_garbage_collector():  # it would find out, at some time
        record_much(service)
        with streaming(service, "?after=0"), streaming(service, f"?after={EVENTS}"):
            eventually(lambda: listeners(service) == "2.0", "both are followed")
            time.sleep(0.2)  # until one of them is waited for to read
        eventually(lambda: listeners(service) == "0.0", "nobody is followed")


def watched_tail(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each time that the tail has looked for events."""
    looked: list[int] = []

    def looking(connection: psycopg.Connection, *given: Any) -> Sequence[Positioned]:
        if threading.current_thread().name == "tail":
            looked.append(len(looked))
        return events_after(connection, *given)

    monkeypatch.setattr("api.tail.events_after", looking)
    return looked


def test_nothing_is_read_ahead_of_those_who_do_not_read(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.tail.UNWANTED_SECONDS", 0.1)
    looked = watched_tail(monkeypatch)
    with streaming(service, "?after=0") as answer:
        lines = answer.iter_lines()
        service.open("the first one")
        assert positions(lines, 1) == [1]
        record_much(service)
        assert looked
        time.sleep(0.3)  # until it is waited for the reader
        before = len(looked)
        for number in range(20):
            service.open(f"while-unread-{number}")
        assert len(looked) <= before + 1

        assert positions(lines, EVENTS + 20) == list(range(2, EVENTS + 22))
        service.open("the last one")
        assert positions(lines, 1) == [EVENTS + 22]
        eventually(lambda: len(looked) > before + 1, "it is read for those who wait again")


def test_what_was_erased_while_nobody_listened_is_sent_to_nobody(service: Service) -> None:
    with streaming(service, "?after=0") as answer:
        lines = answer.iter_lines()
        service.open("4711", reason="Mrs Quackenbush called")
        assert "Quackenbush" in next(line for line in lines if line.startswith("data: "))
    eventually(lambda: listeners(service) == "0.0", "nobody is followed")
    erased = service.client.delete(
        "/api/bookings/4711/personal-data", params={"reason": "request 7"}
    )
    assert erased.status_code == 200, erased.text

    with streaming(service, "?after=0") as answer:
        lines = answer.iter_lines()
        assert "Quackenbush" not in next(line for line in lines if line.startswith("data: "))


def test_silence_is_filled_with_heartbeats(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.tail.SILENCE_SECONDS", 0.05)
    with streaming(service) as answer:
        pings = (line for line in answer.iter_lines() if line.startswith(": ping"))
        assert next(pings)
        assert next(pings)


@pytest.mark.parametrize("last_event_id", ["x", "-1", "1.5", "9" * 30])
def test_a_last_event_id_that_is_no_position_is_refused(
    service: Service, last_event_id: str
) -> None:
    with streaming(service, **{"Last-Event-ID": last_event_id}) as answer:
        assert answer.status_code == 422
