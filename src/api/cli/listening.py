"""How many of those who connect are taken at a time.

libuv takes one connection of a socket each time round its loop, since 1.45. A loop with much to do
takes tens of milliseconds for that: of two hundred who connect at once the last would wait for
seconds, while those who came earlier are answered over and over. So a process has each socket that
it listens at in its loop several times.
"""

import asyncio
from collections.abc import Callable, Sequence

TAKEN_AT_ONCE = 8
"""Where a lone caller connects, as many look for him, in vain but one: 50 µs (decision 0042)."""


async def listen_more(
    server: asyncio.Server, make_protocol: Callable[[], asyncio.BaseProtocol], backlog: int
) -> Sequence[asyncio.Server]:
    """The same sockets again. `backlog` is theirs together, and the last one said holds."""
    loop = asyncio.get_running_loop()
    return [
        await loop.create_server(make_protocol, sock=listening.dup(), backlog=backlog)
        for listening in server.sockets
        for _ in range(TAKEN_AT_ONCE - 1)
    ]
