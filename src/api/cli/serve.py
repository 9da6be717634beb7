"""`serve` and `project`: the processes that run a ledger."""

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from types import FrameType
from typing import NamedTuple

import click
import uvicorn
from uvicorn.config import STARTUP_FAILURE

from api.app import Application, create_app, tune_interpreter
from api.cli.group import EXIT_ERROR
from api.cli.listening import listen_more
from api.cli.options import ledger_options
from api.housekeeping import Housekeeping
from api.keys import ensure_first_key
from api.metrics import MULTIPROCESS_DIRECTORY
from api.sessions import offer_link
from api.settings import LOG_FORMAT, Settings, read_settings
from api.storage import open_database
from api.supervisor import ProjectorProcess
from ledger.database import Database
from projections.log import signing_keys

GRACEFUL_SECONDS = 3
KEEP_ALIVE_SECONDS = 75


class FirstKey(NamedTuple):
    """A key that was just made, and the token of a link that logs in with it."""

    secret: str
    link: str


@click.command()
@click.option("--host", help="Address to listen on (LEDGER_HOST, default 127.0.0.1).")
@click.option("--port", type=int, help="Port; 0 takes a free one (LEDGER_PORT, default 8000).")
@click.option("--workers", type=click.IntRange(1, 64), default=1, help="Processes that answer.")
@click.option("--projector/--no-projector", default=True, help="Run a projector beside it.")
@click.option("--demo", is_flag=True, help="Load a sample of 300 hotel bookings, once.")
@ledger_options
def serve(
    host: str | None, port: int | None, workers: int, projector: bool, demo: bool, **given: object
) -> None:
    """Run the service, with its database and projector, until Ctrl-C or SIGTERM."""
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    signal.signal(signal.SIGTERM, _terminate)
    settings = read_settings(host=host, port=port, **given)
    settings.read_workflow()  # complain before anything is started
    with ExitStack() as stack:
        with _undisturbed():
            database = stack.enter_context(open_database(settings))
        # Complains of a wrong master key or origin, before anybody relies on them.
        signing_keys.ensure(database, database.require_master_key(), settings.origin)
        if demo:
            from api.demo import load_demo

            load_demo(database)
        if projector:
            stack.enter_context(_projecting(database, settings))
        stack.enter_context(closing(Housekeeping(database, settings)))
        first = _first_key(database, settings)
        try:
            if workers == 1:
                _serve_here(settings, database, first)
            else:
                _serve_in_workers(settings, database, first, workers, stack)
        except SystemExit as ended:
            if ended.code != STARTUP_FAILURE:
                raise
            raise click.exceptions.Exit(EXIT_ERROR) from None  # the server has said why


@click.command()
@ledger_options
def project(**given: object) -> None:
    """Run a projector: one is active for a ledger at a time, others stand by and take over."""
    from projections.running import run_projectors

    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    settings = read_settings(**given)
    with open_database(settings) as database:
        master_key = database.require_master_key()
        signing_keys.ensure(database, master_key, settings.origin)
        run_projectors(database, master_key, settings.origin, stop)


def _serve_here(settings: Settings, database: Database, first: FirstKey | None) -> None:
    app = create_app(settings, database)
    tune_interpreter()
    _Server(settings, app, database, first).run()


def _serve_in_workers(
    settings: Settings, database: Database, first: FirstKey | None, workers: int, stack: ExitStack
) -> None:
    from api.cli.workers import Workers

    # Worker processes read their settings from the environment, as any process does.
    os.environ["LEDGER_DATABASE_URL"] = database.url
    os.environ["LEDGER_SCHEMA"] = database.schema
    os.environ["LEDGER_DATA_DIR"] = str(settings.data_dir.resolve())  # the master key may be there
    if settings.workflow is not None:
        os.environ["LEDGER_WORKFLOW"] = str(settings.workflow.resolve())
    os.environ[MULTIPROCESS_DIRECTORY] = stack.enter_context(tempfile.TemporaryDirectory())
    config = _config(settings, "api.app:app_from_environment", factory=True, workers=workers)
    Workers(config, lambda host, port: _announce(host, port, database, first)).run()


def _config(settings: Settings, app: object, **more: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
        proxy_headers=False,  # the application reads them itself
        **more,  # type: ignore[arg-type]
    )


class _Server(uvicorn.Server):
    """Says where it listens once it does, and ends live feeds before it waits for connections."""

    def __init__(
        self, settings: Settings, app: Application, database: Database, first: FirstKey | None
    ) -> None:
        super().__init__(_config(settings, app.asgi))
        self._app = app
        self._database = database
        self._first = first

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            listening = self.servers[0]
            backlog = self.config.backlog
            self.servers += await listen_more(listening, self._make_protocol, backlog)
            host, port = listening.sockets[0].getsockname()[:2]
            _announce(host, port, self._database, self._first)

    def _make_protocol(self) -> asyncio.Protocol:
        """As the server itself makes it."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]  # of uvicorn's own
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.end_streams()
        await super().shutdown(sockets)


def _announce(host: str, port: int, database: Database, first: FirstKey | None) -> None:
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}"
    lines = [
        f"Booking Ledger answers at {url}",
        f"  database  {database.shown}  (schema {database.schema})",
    ]
    if first is not None:
        lines += [
            f"  admin key {first.secret}  (shown this once)",
            f"  open      {url}/login?link={first.link}  (logs in once, within an hour)",
        ]
    click.echo("\n".join(lines))  # at once: whoever waits for the address finds the key too
    sys.stdout.flush()


def _first_key(database: Database, settings: Settings) -> FirstKey | None:
    """What to show of the key made at the first start, if this is it."""
    if settings.admin_key is not None:
        return None
    made = ensure_first_key(database)
    if made is None:
        return None
    with database.connect() as connection:
        return FirstKey(made.secret, offer_link(connection, made.id))


@contextmanager
def _projecting(database: Database, settings: Settings) -> Iterator[None]:
    process = ProjectorProcess(database, settings.data_dir)
    process.start()
    try:
        yield
    finally:
        process.stop()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put off the signals that end us: a database that is left half started would run on alone."""
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        sys.exit(0)


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Unwind, so that what was started is stopped; the server raises its signal anew at its end."""
    del signum, frame
    sys.exit(0)
