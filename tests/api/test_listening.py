"""Who connects to a busy process is taken soon."""

import asyncio
import socket
from contextlib import ExitStack

import uvloop

from api.cli.listening import TAKEN_AT_ONCE, listen_more

CALLING = 4 * TAKEN_AT_ONCE


class _Taken(asyncio.Protocol):
    def __init__(self, taken: list[asyncio.BaseTransport]) -> None:
        self._taken = taken

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._taken.append(transport)


def test_those_who_connect_at_once_are_taken_in_a_few_rounds_of_the_loop() -> None:
    async def scene() -> int:
        taken: list[asyncio.BaseTransport] = []
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Taken(taken), "127.0.0.1", 0, backlog=CALLING)
        servers = [server, *await listen_more(server, lambda: _Taken(taken), CALLING)]
        address = server.sockets[0].getsockname()
        rounds = 0
        with ExitStack() as stack:
            for _ in range(CALLING):  # the kernel answers them
                stack.enter_context(socket.create_connection(address))
            while len(taken) < CALLING:
                await asyncio.sleep(0)
                rounds += 1
            for transport in taken:
                transport.abort()  # type: ignore[attr-defined]  # of a socket
        for one in servers:
            one.close()
            await one.wait_closed()
        return rounds

    # One each round without it.
    assert uvloop.run(asyncio.wait_for(scene(), 20)) <= 2 * CALLING / TAKEN_AT_ONCE
