"""HEAD, which every address that takes GET must take too (RFC 9110, section 9.3.2)."""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """Answers HEAD with the headers of GET. What would go on writing, as a live feed or an export,
    is broken off once they are out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        started = asyncio.Event()

        async def send_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                started.set()

        answering = asyncio.ensure_future(
            self._app({**scope, "method": "GET"}, receive, send_headers)
        )
        waiting = asyncio.ensure_future(started.wait())
        try:
            await asyncio.wait((answering, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            if started.is_set() or not answering.done():
                answering.cancel()
        with suppress(asyncio.CancelledError):
            await answering
