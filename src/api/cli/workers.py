"""`serve --workers`: several processes that answer at one address."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from uvicorn import Config
from uvicorn.supervisors import Multiprocess

from api.cli.listening import TAKEN_AT_ONCE

READY_SECONDS = 60.0
"""To wait for a process that is slow to come up; it is started anew where it ends."""


class Workers(Multiprocess):
    """Each process listens for itself, and the kernel shares out among them who calls.

    Where all accept from one socket, whichever is awake takes who is waiting there, and keeps them
    for as long as their connections last: one may have nearly all.
    """

    def __init__(self, config: Config, announce: Callable[[str, int], None]) -> None:
        # Without the option while it is bound: nobody else may have the address, not even another
        # service of the same user. With it from here on, for the processes.
        self._reserved = config.bind_socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._announce = announce
        family, address = self._reserved.family, self._reserved.getsockname()
        own = [OwnSocket(family, address) for _ in range(TAKEN_AT_ONCE)]
        super().__init__(config, own)  # type: ignore[arg-type]  # it only hands them over

    def init_processes(self) -> None:
        super().init_processes()
        deadline = time.monotonic() + READY_SECONDS
        ready = [
            process.wait_until_ready(deadline - time.monotonic(), self.should_exit)
            for process in self.processes
        ]
        if any(ready):
            self._announce(*self._reserved.getsockname()[:2])


@dataclass(frozen=True)
class OwnSocket:
    """Arrives in each process that it is handed to as a socket of that process at the address."""

    family: int
    address: Any

    def __reduce__(self) -> tuple[Callable[..., socket.socket], tuple[int, Any]]:
        return _bound, (self.family, self.address)


_arrived: WeakValueDictionary[Any, socket.socket] = WeakValueDictionary()
"""By address: the socket of this process, of which the others are duplicates."""


def _bound(family: int, address: Any) -> socket.socket:
    first = _arrived.get(address)
    if first is not None:
        return first.dup()
    own = socket.socket(family)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own.bind(address)
    _arrived[address] = own
    return own
