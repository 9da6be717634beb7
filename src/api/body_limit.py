"""Refuse bodies that are larger than any request needs, before they are in memory.

The framework has a limit too, but answers it with plain text and not with a problem.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import BODY_BYTES_MAX, TOO_LARGE, Problem, address


class _TooLarge(Exception):
    pass


class BodyLimit:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > BODY_BYTES_MAX:
            await _refuse(scope, receive, send)
            return
        received = 0

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > BODY_BYTES_MAX:
                raise _TooLarge
            return message

        try:
            await self._app(scope, receiving, send)
        except _TooLarge:
            await _refuse(scope, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem(
        TOO_LARGE,
        f"The body is larger than {BODY_BYTES_MAX} bytes.",
        {"limitBytes": BODY_BYTES_MAX},
        {"Connection": "close"},
    )
    await problem.response(address(scope))(scope, receive, send)
