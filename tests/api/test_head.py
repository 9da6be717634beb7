"""HEAD: what GET would say of its answer, without the answer."""

import asyncio

import httpx
import pytest
from ledger_service import Service
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.head import HeadAsGet
from api.pages.static_files import address as static_address
from api.store import POOL_SIZE_MAX


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/healthz",
        static_address("layout.css"),
        "/openapi.json",
        "/problems/not-found",
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
    plain = {"Accept-Encoding": "identity"}
    got, head = service.client.get(path, headers=plain), service.client.head(path, headers=plain)

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
    """Often enough that a connection to the database that is not given back would be missed."""
    service.open("4711")
    service.client.get("/api/bookings")
    for _ in range(POOL_SIZE_MAX + 2):
        head = service.client.head(path, timeout=10)
        assert (head.status_code, head.content) == (200, b"")
    with service.client.stream("GET", path, timeout=10) as got:
        assert got.status_code == 200
        assert got.headers["content-type"] == head.headers["content-type"]

    assert service.client.get("/api/bookings").json()["bookings"][0]["id"] == "4711"


def answered(app: ASGIApp) -> list[Message]:
    """What is sent to whoever asks an application for its head."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    scope = {"type": "http", "method": "HEAD", "path": "/"}
    asyncio.run(HeadAsGet(app)(scope, receive, send))
    return sent


START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"7")]}
EMPTY = {"type": "http.response.body", "body": b""}


def test_nothing_of_the_body_is_made() -> None:
    steps: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["method"] == "GET"
        try:
            await send(START)
            steps.append("body")
        finally:
            steps.append("closed")

    assert answered(app) == [START, EMPTY]
    assert steps == ["closed"]


def test_a_failure_behind_the_headers_is_nobodys_answer() -> None:
    """The connection may have the caller's next request on it by then."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(START)
        finally:
            raise RuntimeError("while it is closed")

    assert answered(app) == [START, EMPTY]


def test_a_failure_before_them_is_the_servers_to_answer() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("no answer")

    with pytest.raises(RuntimeError, match="no answer"):
        answered(app)


def test_no_address_that_only_takes_changes_takes_head(service: Service) -> None:
    answer: httpx.Response = service.client.head("/api/status-changes")

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"
