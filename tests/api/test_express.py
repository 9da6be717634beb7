"""The express lane and the framework's routes answer the same."""

from collections.abc import Iterator

import httpx
import pytest
from ledger_service import Service

from api.express import Express, NotPlain

JSON = {"Content-Type": "application/json"}

REQUESTS = [
    ("POST", "/api/bookings", {}, b'{"id":"a","metadata":{"x":1}}'),
    ("POST", "/api/bookings", {}, b'{"id":"a"}'),
    ("POST", "/api/bookings", {"Idempotency-Key": "k1"}, b'{"id":"b/c"}'),
    ("POST", "/api/bookings", {"Idempotency-Key": '"k1"'}, b'{ "id" : "b/c" }'),
    ("POST", "/api/bookings", {"Idempotency-Key": "k1"}, b'{"id":"other"}'),
    ("POST", "/api/bookings", {}, b'{"id":"a","colour":"red"}'),
    ("POST", "/api/bookings", {}, b"{"),
    ("PATCH", "/api/bookings/a", {}, b'{"status":"confirmed","reason":"paid"}'),
    ("PATCH", "/api/bookings/a", {}, b'{"status":"confirmed"}'),
    ("PATCH", "/api/bookings/a", {}, b'{"status":"pending"}'),
    ("PATCH", "/api/bookings/a", {"If-Match": '"v1"'}, b'{"status":"in_progress"}'),
    ("PATCH", "/api/bookings/a", {"If-Match": "v1"}, b'{"status":"in_progress"}'),
    ("PATCH", "/api/bookings/a", {"If-Match": '"v2"'}, b'{"status":"in_progress"}'),
    ("PATCH", "/api/bookings/a", {}, b'{"status":"lost"}'),
    ("PATCH", "/api/bookings/b%2Fc", {}, b'{"status":"confirmed"}'),
    ("PATCH", "/api/bookings/nobody", {}, b'{"status":"confirmed"}'),
    ("POST", "/api/status-changes", {}, b'{"changes":[{"bookingId":"z","status":"pending"}]}'),
    ("POST", "/api/status-changes", {}, b'{"changes":[]}'),
    ("GET", "/api/bookings/a", {}, b""),
    ("GET", "/api/bookings/a", {"If-None-Match": '"v3"'}, b""),
    ("GET", "/api/bookings/b%2Fc", {}, b""),
    ("GET", "/api/bookings/nobody", {}, b""),
    ("GET", "/api/bookings/a%0Ab", {}, b""),
    ("GET", "/api/bookings/a/status-history", {}, b""),
    ("GET", "/api/bookings/a/status-history", {"If-None-Match": '"v3"'}, b""),
    ("GET", "/api/bookings/nobody/status-history", {}, b""),
    ("GET", "/api/bookings/a/nothing", {}, b""),
    ("DELETE", "/api/bookings/a", {}, b""),
    ("GET", "/api%2Fbookings", {}, b""),
    ("GET", "/api%2Fbookings%2Fa/status-history", {}, b""),
    ("GET", "/api/bookingsa", {}, b""),
]

HEADERS = ("content-type", "etag", "ledger-position", "location", "cache-control", "allow")
OWN = ("createdAt", "updatedAt", "recordedAt")


def answers(service: Service) -> Iterator[tuple[object, ...]]:
    for method, path, headers, content in REQUESTS:
        answer = service.client.request(method, path, headers=JSON | headers, content=content)
        yield (
            method,
            path,
            answer.status_code,
            [answer.headers.get(name) for name in HEADERS],
            without_times(answer),
        )


def without_times(answer: httpx.Response) -> object:
    def cut(value: object) -> object:
        if isinstance(value, dict):
            return {name: cut(item) for name, item in value.items() if name not in OWN}
        if isinstance(value, list):
            return [cut(item) for item in value]
        return value

    return cut(answer.json()) if answer.content else None


@pytest.fixture(scope="module")
def seen() -> dict[str, list[tuple[object, ...]]]:
    return {}


@pytest.mark.parametrize("way", ["express", "framework"])
def test_both_ways_answer_the_same(
    unprojected: Service,
    seen: dict[str, list[tuple[object, ...]]],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    if way == "framework":

        async def not_plain(*_: object) -> None:
            raise NotPlain

        monkeypatch.setattr(Express, "_answer", not_plain)
    seen[way] = list(answers(unprojected))

    if len(seen) == 2:
        for express, framework in zip(seen["express"], seen["framework"], strict=True):
            assert express == framework


def test_plain_requests_do_take_the_express_lane(
    unprojected: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    answer = Express._answer

    async def counting(self: Express, scope: dict[str, object], body: object) -> object:
        response = await answer(self, scope, body)  # type: ignore[arg-type]
        taken.append((scope["method"], scope["path"]))
        return response

    monkeypatch.setattr(Express, "_answer", counting)
    list(answers(unprojected))

    assert ("POST", "/api/bookings") in taken
    assert ("PATCH", "/api/bookings/a") in taken
    assert ("GET", "/api/bookings/a") in taken
    assert ("GET", "/api/bookings/a/status-history") in taken
    assert ("POST", "/api/status-changes") in taken
