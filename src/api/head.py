"""HEAD wherever GET is (RFC 9110, sections 9.1 and 9.3.2)."""

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import address

logger = logging.getLogger(__name__)


class HeadAsGet:
    """Answers HEAD with the status and headers of GET.

    Whatever answers is stopped as its headers go out: nothing of a live feed or an export is made.
    """

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
                await asyncio.Event().wait()  # until it is cancelled

        answering = asyncio.ensure_future(
            self._app({**scope, "method": "GET"}, receive, send_headers)
        )
        waiting = asyncio.ensure_future(started.wait())
        try:
            await asyncio.wait((answering, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            answering.cancel()
            await asyncio.wait((answering,))
        if not started.is_set():
            answering.result()  # raises what it has raised
        elif not answering.cancelled() and (error := answering.exception()) is not None:
            # Not the caller's matter, who has had the answer and may have sent another request.
            logger.warning("HEAD %s, behind its headers: %s", address(scope), error)
