"""HEAD: what GET would say of its answer, without the answer."""

import httpx
import pytest
from ledger_service import Service


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/healthz",
        "/static/ledger.css",
        "/openapi.json",
        "/bookings/4711",
        "/api/bookings",
        "/api/bookings/4711",
        "/api/bookings/4711/status-history",
        "/api/bookings/unheard-of",
        "/api/nowhere",
    ],
)
def test_head_has_the_status_and_headers_of_get(service: Service, path: str) -> None:
    service.open("4711")
    service.client.get("/api/bookings")  # waits until it is projected
    got, head = service.client.get(path), service.client.head(path)

    assert head.status_code == got.status_code
    assert head.content == b""
    assert head.headers["content-length"] == str(len(got.content))
    for name in ("content-type", "etag", "ledger-position"):
        assert head.headers.get(name) == got.headers.get(name)


def test_head_is_not_modified_where_get_is_not(service: Service) -> None:
    service.open("4711")
    path = "/api/bookings/4711"
    seen = {"If-None-Match": service.client.get(path).headers["etag"]}

    assert service.client.head(path, headers=seen).status_code == 304


def test_head_needs_a_key_like_get(service: Service) -> None:
    with service.without_key() as nobody:
        assert nobody.head("/api/bookings").status_code == 401


@pytest.mark.parametrize(
    "path", ["/api/events/stream?after=0", "/api/export?format=ndjson", "/api/export?format=xes"]
)
def test_what_would_go_on_writing_ends_with_its_headers(service: Service, path: str) -> None:
    service.open("4711")
    service.client.get("/api/bookings")
    head = service.client.head(path, timeout=10)
    with service.client.stream("GET", path, timeout=10) as got:
        assert head.status_code == got.status_code == 200
        assert head.headers["content-type"] == got.headers["content-type"]

    assert head.content == b""
    assert service.open("4712").status_code == 201


def test_no_address_that_only_takes_changes_takes_head(service: Service) -> None:
    answer: httpx.Response = service.client.head("/api/status-changes")

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"
