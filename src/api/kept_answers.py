"""Answers about single bookings, kept for as long as nothing was appended to the booking."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.responses import Response

from api.answers import answer_of_bytes, matches
from projections.recent_changes import Mark

BYTES_MAX = 32 * 1024 * 1024
SECONDS_MAX = 10.0
"""What was erased since must not stay in memory, and only whoever asks finds out that it was."""
NOTES = 1 << 20
"""What was asked for lately is noted at so many places; a hash gives the place."""


@dataclass(slots=True)
class KeptAnswer:
    """What the answer about a booking was when all up to `mark` was seen, as bytes."""

    body: bytes
    tag: str
    position: int
    mark: Mark | None = None
    looked_at: float = 0.0
    """When it was last known to be right."""
    _whole: Response | None = field(default=None, init=False)
    _not_modified: Response | None = field(default=None, init=False)

    def response(self, if_none_match: str | None) -> Response:
        """200, or 304 when the caller has it already (RFC 9110, weak comparison)."""
        if if_none_match is not None and matches(if_none_match, self.tag):
            if self._not_modified is None:
                self._not_modified = Response(status_code=304, headers=self._headers())
            return self._not_modified
        if self._whole is None:
            self._whole = answer_of_bytes(self.body, self._headers())
        return self._whole

    def _headers(self) -> dict[str, str]:
        return {
            "ETag": self.tag,
            "Cache-Control": "private, no-cache",
            "Ledger-Position": str(self.position),
        }


class KeptAnswers:
    """By kind of answer and booking. It belongs to one event loop.

    What is asked for once only is not kept: memory that grows with each answer costs a seventh to a
    quarter of what the answer takes (decision 0033).
    """

    def __init__(
        self, bytes_max: int = BYTES_MAX, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bytes_max = bytes_max
        self._clock = clock
        self._bytes = 0
        # In the order of `looked_at`.
        self._kept: OrderedDict[tuple[str, str], KeptAnswer] = OrderedDict()
        self._noted, self._noted_before = bytearray(NOTES), bytearray(NOTES)
        self._noted_since = clock()

    def get(self, kind: str, booking_id: str) -> KeptAnswer | None:
        """It may be out of date: whether it is right is to be asked with its mark."""
        return self._kept.get((kind, booking_id))

    def keep(self, kind: str, booking_id: str, answer: KeptAnswer) -> None:
        """An answer that was made, or found to be right, just now."""
        name = (kind, booking_id)
        before = self._kept.pop(name, None)
        if before is not None:
            self._bytes -= len(before.body)
        elif not self._is_asked_again(name):
            return
        answer.looked_at = self._clock()
        self._kept[name] = answer
        self._bytes += len(answer.body)
        while self._bytes > self._bytes_max:
            self._forget_oldest()

    def sweep(self) -> None:
        """Forget what nobody asked for lately."""
        now = self._clock()
        while self._kept and next(iter(self._kept.values())).looked_at < now - SECONDS_MAX:
            self._forget_oldest()
        if self._noted_since < now - SECONDS_MAX:
            self._noted, self._noted_before = bytearray(NOTES), self._noted
            self._noted_since = now

    def _is_asked_again(self, name: tuple[str, str]) -> bool:
        """Note it. Few pass for others: they are kept the first time."""
        place = hash(name) % NOTES
        is_noted = self._noted[place] or self._noted_before[place]
        self._noted[place] = True
        return bool(is_noted)

    def _forget_oldest(self) -> None:
        _, answer = self._kept.popitem(last=False)
        self._bytes -= len(answer.body)
