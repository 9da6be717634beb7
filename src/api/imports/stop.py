"""Stop long work between two steps, not within one."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

ResultT = TypeVar("ResultT")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Makes SIGINT and SIGTERM a request to stop, while this context lasts.

    Only what is called through `interruptible` is broken off. A second signal raises
    KeyboardInterrupt wherever the program is: somebody means it.
    """

    def __init__(self) -> None:
        self.requested = False
        self._may_interrupt = False
        self._handlers: list[Any] = []

    def __enter__(self) -> Self:
        self._handlers = [signal.signal(number, self._on_signal) for number in SIGNALS]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for number, handler in zip(SIGNALS, self._handlers, strict=True):
            signal.signal(number, handler)

    def interruptible(self, step: Callable[[], ResultT]) -> ResultT | None:
        """The step's result, or None where a request to stop came before or during it."""
        if self.requested:
            return None
        try:
            self._may_interrupt = True
            result = step()
            self._may_interrupt = False
        except KeyboardInterrupt:
            self._may_interrupt = False
            return None
        return None if self.requested else result

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.requested or self._may_interrupt:
            self.requested = True
            raise KeyboardInterrupt
        self.requested = True
