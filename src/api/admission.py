"""How many requests one process has in hand: past that it says so at once.

Where more comes than can be served, everything that is let in makes everybody else wait. A
refusal costs a fraction of an answer, so those that were let in are still answered in time.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.gate import OPEN_PATHS
from api.problems import address, problem_of
from ledger.errors import Busy

REQUESTS_MAX = 400
"""A tenth of a second of what one core can record."""


class InHand:
    """Counts the requests that wait for the beginning of their answer, at most `requests_max`.

    It belongs to one event loop, so counting needs no lock.
    """

    def __init__(self, requests_max: int = REQUESTS_MAX) -> None:
        self._requests_max = requests_max
        self._waiting = 0

    def enter(self) -> bool:
        """Whether there is room for one more, who must leave then."""
        if self._waiting >= self._requests_max:
            return False
        self._waiting += 1
        return True

    def leave(self) -> None:
        self._waiting -= 1


class Admission:
    """Answers 503 while too many requests are in hand.

    Live feeds and downloads do not count once they have begun. Health and metrics always pass.
    """

    def __init__(self, app: ASGIApp, in_hand: InHand) -> None:
        self._app = app
        self._in_hand = in_hand

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        if not self._in_hand.enter():
            refusal = problem_of(Busy("Too many requests are waiting; try again shortly."))
            await refusal.response(address(scope))(scope, receive, send)
            return
        begun = False

        async def counted(message: Message) -> None:
            nonlocal begun
            if not begun:
                begun = True
                self._in_hand.leave()
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            if not begun:  # failed, or the caller has gone away
                self._in_hand.leave()
