"""Past what one process can have in hand it answers 503 at once, and then goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from api.admission import Admission, InHand

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


class Inside:
    """An application whose answers wait: before they begin, and before they end."""

    def __init__(self) -> None:
        self.begin = asyncio.Event()
        self.end = asyncio.Event()

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        await self.begin.wait()
        if scope["path"] == "/fails":
            raise RuntimeError("as a defect would")
        await send(START)
        await self.end.wait()
        await send(END)


def asked(app: Admission, path: str = "/api/bookings") -> "asyncio.Task[list[Any]]":
    sent: list[Any] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask() -> list[Any]:
        scope = {"type": "http", "path": path, "raw_path": path.encode(), "headers": []}
        await app({**scope, "method": "GET", "query_string": b""}, receive, send)
        return sent

    return asyncio.create_task(ask())


def run(story: Callable[[Inside, Admission], Awaitable[None]]) -> None:
    async def told() -> None:
        inside = Inside()
        await asyncio.wait_for(story(inside, Admission(inside, InHand(2))), 20)

    asyncio.run(told())


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_one_too_many_is_told_to_come_back_and_the_others_are_answered() -> None:
    async def story(inside: Inside, app: Admission) -> None:
        waiting = [asked(app), asked(app)]
        await settled()
        start, body = await asked(app)
        assert start["status"] == 503
        headers = dict(start["headers"])
        assert int(headers[b"retry-after"]) > 0
        assert headers[b"content-type"] == b"application/problem+json"
        assert orjson.loads(body["body"])["type"].endswith("/busy")

        inside.begin.set()
        inside.end.set()
        assert [(await one)[0]["status"] for one in waiting] == [200, 200]
        assert (await asked(app))[0]["status"] == 200

    run(story)


def test_answers_that_have_begun_do_not_count() -> None:
    async def story(inside: Inside, app: Admission) -> None:
        inside.begin.set()
        feeds = [asked(app, "/api/events/stream") for _ in range(5)]
        await settled()
        one_more = asked(app)
        inside.end.set()
        assert [(await one)[0]["status"] for one in (*feeds, one_more)] == [200] * 6

    run(story)


def test_health_is_answered_all_the_same() -> None:
    async def story(inside: Inside, app: Admission) -> None:
        waiting = [asked(app), asked(app), asked(app, "/healthz"), asked(app, "/metrics")]
        await settled()
        inside.begin.set()
        inside.end.set()
        assert [(await one)[0]["status"] for one in waiting] == [200] * 4

    run(story)


def test_a_request_that_fails_or_is_given_up_makes_room() -> None:
    async def story(inside: Inside, app: Admission) -> None:
        failing, given_up = asked(app, "/fails"), asked(app)
        await settled()
        given_up.cancel()
        inside.begin.set()
        inside.end.set()
        found = await asyncio.gather(failing, given_up, return_exceptions=True)
        assert [type(one) for one in found] == [RuntimeError, asyncio.CancelledError]
        assert [(await asked(app))[0]["status"] for _ in range(3)] == [200] * 3

    run(story)
