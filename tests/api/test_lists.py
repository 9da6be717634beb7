"""Lists over HTTP: filters, pages, freshness."""

from urllib.parse import urlsplit

import pytest
from ledger_service import Service


def record(service: Service) -> None:
    service.open("a", changedBy="anna", occurredAt="2026-01-01T00:00:00Z")
    service.open("b", changedBy="ben", occurredAt="2026-01-02T00:00:00Z")
    service.change("a", "confirmed", changedBy="ben", occurredAt="2026-01-03T00:00:00Z")
    service.open("c", occurredAt="2026-01-03T00:00:00Z")


def ids(service: Service, query: str) -> list[str]:
    answer = service.client.get(f"/api/bookings?{query}")
    assert answer.status_code == 200, answer.text
    return [booking["id"] for booking in answer.json()["bookings"]]


def entries(service: Service, query: str) -> list[tuple[str, int]]:
    answer = service.client.get(f"/api/status-history?{query}")
    assert answer.status_code == 200, answer.text
    return [(entry["bookingId"], entry["version"]) for entry in answer.json()["history"]]


def test_bookings_by_their_latest_change(service: Service) -> None:
    record(service)

    assert ids(service, "") == ["c", "a", "b"]
    assert ids(service, "order=asc") == ["b", "a", "c"]
    assert ids(service, "status=pending") == ["c", "b"]
    assert ids(service, "since=2026-01-03T00:00:00Z") == ["c", "a"]
    assert ids(service, "until=2026-01-03T00:00:00Z") == ["b"]
    assert ids(service, "status=lost") == []


def test_history_of_all_bookings(service: Service) -> None:
    record(service)

    assert entries(service, "") == [("c", 1), ("a", 2), ("b", 1), ("a", 1)]
    assert entries(service, "order=asc&changedBy=ben") == [("b", 1), ("a", 2)]
    assert entries(service, "toStatus=confirmed") == [("a", 2)]
    assert entries(service, "status=confirmed") == [("a", 2)]
    assert entries(service, "fromStatus=pending") == [("a", 2)]
    assert entries(service, "bookingId=a&order=asc") == [("a", 1), ("a", 2)]
    assert entries(service, "since=2026-01-02T00:00:00Z&until=2026-01-03T00:00:00Z") == [("b", 1)]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize(
    ("path", "name"), [("bookings", "bookings"), ("status-history", "history")]
)
def test_links_lead_through_every_row_once(
    service: Service, path: str, name: str, order: str
) -> None:
    for number in range(7):  # all at one time: the tie-breaker has to order them
        service.open(f"b{number}", occurredAt="2026-01-01T00:00:00Z")
    url: str | None = f"/api/{path}?limit=3&order={order}&status=pending"
    seen = []
    pages = 0
    while url is not None:
        answer = service.client.get(url)
        seen += [row.get("bookingId", row["id"]) for row in answer.json()[name]]
        pages += 1
        link = answer.headers.get("Link")
        assert (link is None) == (answer.json()["next"] is None)
        url = None if link is None else link.partition(">")[0].removeprefix("<")
        assert url is None or "status=pending" in urlsplit(url).query

    assert pages == 3
    assert sorted(seen) == [f"b{number}" for number in range(7)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("order=up", "order"),
        ("since=yesterday", "since"),
        ("cursor=x", "cursor"),
        ("cursor=WyIyMDI2LTAxLTAxIiwgWzFdXQ", "cursor"),
    ],
)
@pytest.mark.parametrize("path", ["bookings", "status-history"])
def test_bad_queries_name_the_parameter(
    service: Service, path: str, query: str, field: str
) -> None:
    answer = service.client.get(f"/api/{path}?{query}")

    assert answer.status_code == 422
    assert answer.json()["field"] == field


def test_a_list_holds_every_write_that_was_answered(service: Service) -> None:
    for number in range(30):
        service.open(f"b{number}")
        assert ids(service, "limit=1") == [f"b{number}"]


def test_without_a_projector_lists_say_so_and_single_bookings_are_answered(
    unprojected: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.lists.FRESH_SECONDS", 0.1)
    unprojected.open("4711")
    answer = unprojected.client.get("/api/bookings")

    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/projection-behind"
    assert (answer.json()["position"], answer.json()["head"]) == (0, 1)
    assert answer.headers["Retry-After"] == "1"
    assert len(unprojected.history("4711")) == 1
