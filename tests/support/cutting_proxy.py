"""A TCP proxy before the database that cuts a connection at its next commit."""

import select
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ledger.database import Database

READY_AND_IDLE = b"Z\x00\x00\x00\x05I"
"""The server's ReadyForQuery message outside of any transaction."""
_SHUTDOWN = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
SHUTDOWN = b"E" + struct.pack("!i", len(_SHUTDOWN) + 4) + _SHUTDOWN
"""What a backend says that is told to end."""


class CuttingProxy:
    """`database` is the one behind it. Each connection is served by a thread of its own."""

    def __init__(self, database: Database) -> None:
        given = conninfo_to_dict(database.url)
        self._host, self._port = str(given.get("host", "")), int(given.get("port") or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.database = Database(
            make_conninfo(
                database.url,
                host="127.0.0.1",
                port=self._listener.getsockname()[1],
                sslmode="disable",
                gssencmode="disable",
            ),
            database.schema,
            database.master_key,
        )
        self.has_cut = threading.Event()
        self._reaches_server: bool | None = None
        self._commit = b""
        self._stay_down = False
        self._is_down = False
        self._last_words: bytes | None = None
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> "CuttingProxy":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def cut_next_commit(
        self, *, reaches_server: bool, stay_down: bool = False, commit: bytes = b"COMMIT\x00"
    ) -> None:
        """`commit` is what the message that commits has in it."""
        self._commit = commit
        self._stay_down = stay_down
        self._reaches_server = reaches_server

    def reset_next_request(self, answer: bytes) -> None:
        """Answer so, and reset the connection, as a backend does that ends without reading what
        came."""
        self._last_words = answer

    def come_back(self) -> None:
        self._is_down = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            if self._is_down:
                return
            with self._connect() as server, suppress(ConnectionError):
                while True:
                    ready, _, _ = select.select([client, server], [], [])
                    if not all(self._pass_on(source, client, server) for source in ready):
                        return

    def _pass_on(self, source: socket.socket, client: socket.socket, server: socket.socket) -> bool:
        if source is client and self._last_words is not None:
            client.sendall(self._last_words)
            self._last_words = None
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.has_cut.set()
            return False
        data = source.recv(1 << 16)
        if source is client and self._reaches_server is not None and self._commit in data:
            self._is_down = self._stay_down
            if self._reaches_server:
                server.sendall(data)
                _wait_for_end(client, server)
            self._reaches_server = None
            self.has_cut.set()
            return False
        (server if source is client else client).sendall(data)
        return bool(data)

    def _connect(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host or "127.0.0.1", self._port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(Path(self._host) / f".s.PGSQL.{self._port}"))
        return server


def _wait_for_end(client: socket.socket, server: socket.socket) -> None:
    """Pass on what still belongs to the commit, and keep its answer, which nobody will get."""
    answer = b""
    while not answer.endswith(READY_AND_IDLE):
        ready, _, _ = select.select([client, server], [], [])
        if client in ready:
            server.sendall(client.recv(1 << 16))
        if server in ready:
            answer += server.recv(1 << 16)
