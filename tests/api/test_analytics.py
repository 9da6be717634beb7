"""Analytics over HTTP: figures, filters, and answers that never change."""

from datetime import timedelta
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from hotel import load_hotel, read_source
from ledger_service import Service

CALLS = ("transitions", "time-in-status", "funnel")


def ask(service: Service, call: str, **query: Any) -> dict[str, Any]:
    answer = service.client.get(f"/api/analytics/{call}", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["ledger-position"] == str(answer.json()["asOfPosition"])
    found: dict[str, Any] = answer.json()
    return found


def tell(service: Service) -> None:
    """Four changes of two bookings, at positions 1 to 4."""
    service.open("a", changedBy="anna", occurredAt="2026-01-01T00:00:00Z")
    service.open("b", changedBy="ben", occurredAt="2026-01-02T00:00:00Z")
    service.change("a", "confirmed", changedBy="ben", occurredAt="2026-01-03T00:00:00Z")
    service.change("a", "cancelled", changedBy="anna", occurredAt="2026-01-03T06:00:00Z")


def test_transitions_with_durations(service: Service) -> None:
    tell(service)

    found = ask(service, "transitions")

    assert found["asOfPosition"] == 4
    day = 86_400.0
    assert found["transitions"] == [
        {"from": None, "to": "pending", "count": 2, "seconds": None},
        {"from": "confirmed", "to": "cancelled", "count": 1, "seconds": same(day / 4)},
        {"from": "pending", "to": "confirmed", "count": 1, "seconds": same(2 * day)},
    ]


def same(seconds: float) -> dict[str, float]:
    return dict.fromkeys(("total", "mean", "median", "shortest", "longest"), seconds)


def test_transitions_by_day_and_by_who(service: Service) -> None:
    tell(service)

    by_day = ask(service, "transitions", groupBy="day")["transitions"]
    by_who = ask(service, "transitions", groupBy="changedBy")["transitions"]

    assert [(row["day"], row["to"], row["count"]) for row in by_day] == [
        ("2026-01-01", "pending", 1),
        ("2026-01-02", "pending", 1),
        ("2026-01-03", "cancelled", 1),
        ("2026-01-03", "confirmed", 1),
    ]
    assert [(row["changedBy"], row["to"]) for row in by_who] == [
        ("anna", "pending"),
        ("anna", "cancelled"),
        ("ben", "pending"),
        ("ben", "confirmed"),
    ]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"fromStatus": "pending"}, 1),
        ({"toStatus": "pending"}, 2),
        ({"status": "pending"}, 2),
        ({"changedBy": "ben"}, 2),
        ({"bookingId": "a"}, 3),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-03T06:00:00Z"}, 2),
        ({"asOfPosition": 2}, 2),
        ({"asOfPosition": 0}, 0),
    ],
)
def test_filters_choose_changes(service: Service, query: dict[str, Any], count: int) -> None:
    tell(service)

    found = ask(service, "transitions", **query)["transitions"]

    assert sum(row["count"] for row in found) == count


def test_time_in_status_runs_to_the_position_and_not_to_now(service: Service) -> None:
    tell(service)

    found = {row["status"]: row for row in ask(service, "time-in-status")["statuses"]}
    before = ask(service, "time-in-status", asOfPosition=2)

    assert found.keys() == {"pending", "confirmed", "cancelled"}
    pending = found["pending"]
    assert (pending["visits"], pending["closed"], pending["open"]) == (2, 1, 1)
    assert pending["seconds"] == same(2 * 86_400.0)
    assert found["confirmed"]["openSeconds"] is None
    (both,) = before["statuses"]
    assert (both["visits"], both["closed"], both["seconds"]) == (2, 0, None)
    recorded_at = service.history("b")[0]["recordedAt"]
    assert before["asOf"] == recorded_at


def test_time_in_status_chooses_stays_by_how_they_began_and_ended(service: Service) -> None:
    tell(service)

    def visits(**query: str) -> dict[str, int]:
        rows = ask(service, "time-in-status", **query)["statuses"]
        return {row["status"]: row["visits"] for row in rows}

    assert visits(changedBy="ben") == {"pending": 1, "confirmed": 1}
    assert visits(toStatus="cancelled") == {"confirmed": 1}
    assert visits(fromStatus="pending") == {"confirmed": 1}
    assert visits(since="2026-01-03T00:00:00Z") == {"confirmed": 1, "cancelled": 1}


def test_the_funnel_and_its_cohort(service: Service) -> None:
    tell(service)

    whole = ask(service, "funnel")
    of_anna = ask(service, "funnel", changedBy="anna")

    assert (whole["bookings"], whole["reopened"]) == (2, 0)
    assert whole["statuses"] == [
        {"status": "cancelled", "bookings": 1, "current": 1},
        {"status": "confirmed", "bookings": 1, "current": 0},
        {"status": "pending", "bookings": 2, "current": 1},
    ]
    assert whole["conversions"][1] == {
        "from": "pending",
        "to": "cancelled",
        "bookings": 2,
        "converted": 1,
        "direct": 0,
        "conversion": 0.5,
    }
    assert of_anna["bookings"] == 1
    assert ask(service, "funnel", status="confirmed")["bookings"] == 1
    assert ask(service, "funnel", until="2026-01-02T00:00:00Z")["bookings"] == 1
    shown = ask(service, "funnel", fromStatus="pending", toStatus="confirmed")["conversions"]
    assert [row["converted"] for row in shown] == [1]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("query", ["", "&changedBy=anna"])  # remembered, and worked out anew
def test_for_a_position_the_bytes_stay_the_same(service: Service, call: str, query: str) -> None:
    tell(service)
    newest = service.client.get(f"/api/analytics/{call}?{query[1:]}")
    service.change("b", "confirmed")
    service.open("c", changedBy="anna")

    again = service.client.get(f"/api/analytics/{call}?asOfPosition=4{query}")
    unchanged = service.client.get(
        f"/api/analytics/{call}?asOfPosition=4{query}",
        headers={"If-None-Match": newest.headers["etag"]},
    )

    assert again.content == newest.content
    assert again.headers["etag"] == newest.headers["etag"]
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert service.client.get(f"/api/analytics/{call}?{query[1:]}").content != newest.content


@pytest.mark.parametrize("call", CALLS)
def test_a_position_in_the_future_is_refused(service: Service, call: str) -> None:
    tell(service)

    answer = service.client.get(f"/api/analytics/{call}?asOfPosition=5")

    assert answer.status_code == 422
    assert answer.json()["field"] == "asOfPosition"
    assert "at most 4" in answer.json()["detail"]


@pytest.mark.parametrize("call", CALLS)
def test_it_needs_a_key_and_waits_for_the_read_model(
    unprojected: Service, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.analytics.question.FRESH_SECONDS", 0.05)
    with unprojected.without_key() as nobody, unprojected.as_role("analyst") as analyst:
        assert nobody.get(f"/api/analytics/{call}").status_code == 401
        assert analyst.get(f"/api/analytics/{call}").status_code == 200
    unprojected.open("a")

    for query in ("", "?asOfPosition=1"):
        behind = unprojected.client.get(f"/api/analytics/{call}{query}")
        assert behind.json()["type"] == "/problems/projection-behind"


def test_the_hotel_sample_gives_what_its_source_says(service: Service) -> None:
    load_hotel(service.database)
    stays: dict[str, list[timedelta]] = {}
    had: dict[str, set[str]] = {}
    for booking_id, entries in read_source().items():
        for entry, after in pairwise(entries):
            stays.setdefault(entry.to_status, []).append(after.created_at - entry.created_at)
        for entry in entries:
            had.setdefault(entry.to_status, set()).add(booking_id)

    times = {row["status"]: row for row in ask(service, "time-in-status")["statuses"]}
    reached = ask(service, "funnel")["statuses"]

    assert {row["status"]: row["bookings"] for row in reached} == {
        status: len(ids) for status, ids in had.items()
    }
    for status, durations in stays.items():
        seconds = [one.total_seconds() for one in durations]
        assert times[status]["seconds"]["median"] == median(seconds)
        assert times[status]["seconds"]["total"] == sum(seconds)
        assert times[status]["closed"] == len(seconds)
    closed = {status for status, row in times.items() if row["closed"]}
    assert closed == stays.keys()
