"""The HTTP application: where everything is wired together."""

import asyncio
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api import openapi as openapi_document
from api import problems
from api.admission import Admission, InHand
from api.body_limit import BodyLimit
from api.calls import Calls
from api.door import Door
from api.express import Express
from api.gate import Gate
from api.head import HeadAsGet
from api.kept_answers import KeptAnswers
from api.keys import KeyRing
from api.metrics import Counting, Metrics
from api.oidc import TokenVerifier
from api.pages import router as pages
from api.pages.flow_figures import FlowFigures
from api.problem_pages import router as problem_pages
from api.remembered import Remembered
from api.routes import (
    analytics,
    bookings,
    changes,
    events,
    evidence,
    export,
    health,
    keys,
    lists,
    log,
    personal_data,
)
from api.sessions import Sessions
from api.settings import Settings, read_settings
from api.store import Store
from api.tail import Tail
from ledger.async_writer import AsyncWriter
from ledger.database import Database
from ledger.errors import LedgerError
from projections.reader import HistoryReader

TITLE = "Booking Ledger"
SWEEP_SECONDS = 1.0
IDLE_SECONDS = 10.0
"""After which a writer that records nothing forgets the keys of bookings."""
GARBAGE_OBJECTS = 20_000
"""Looked through for garbage at a time."""
ROUTES = (
    bookings,
    personal_data,
    evidence,
    changes,
    lists,
    analytics,
    export,
    events,
    log,
    keys,
    health,
)
DESCRIPTION = """\
What happened to every booking: record changes, read histories, follow events.

Every call needs `Authorization: Bearer KEY`. Errors are RFC 9457 problems; each `type` is a
page of this service that says what it means.
"""


class Application:
    """The ASGI application, and what its server must tell it before it waits for connections."""

    def __init__(self, asgi: ASGIApp, state: State) -> None:
        self.asgi = asgi
        """The same without a step in between."""
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.asgi(scope, receive, send)

    def end_streams(self) -> None:
        """End the live feeds, which would never end by themselves."""
        self._state.tail.close()


def create_app(settings: Settings, database: Database) -> Application:
    """The application on a database whose schema is up to date.

    Its threads and connections live from start-up to shutdown of the server that runs it.
    """
    workflow = settings.read_workflow()
    writer = AsyncWriter(database, workflow)
    reader = HistoryReader(database)
    store = Store(database)
    admin_key = None if settings.admin_key is None else settings.admin_key.get_secret_value()
    key_ring = KeyRing(database, admin_key)
    sessions = Sessions(database, key_ring, admin_key)
    flow_figures = FlowFigures(store)
    metrics = Metrics(writer)
    request_key = database.require_master_key().derive(b"idempotency")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        app.state.door = Door(writer, reader)
        kept = KeptAnswers()
        app.state.calls = express.calls = Calls(app.state.door, workflow, request_key, kept)
        sweeping = loop.create_task(_sweep(kept, writer))
        app.state.tail = Tail(database, store, loop)
        flow_figures.begin()
        yield
        sweeping.cancel()
        app.state.tail.close()
        await writer.close()
        await reader.close()
        sessions.close()
        key_ring.close()
        flow_figures.close()
        store.close()

    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.workflow = workflow
    app.state.key_ring = key_ring
    app.state.store = store
    app.state.metrics = metrics
    app.state.remembered = Remembered()
    app.state.flow_figures = flow_figures
    for module in ROUTES:
        app.include_router(module.router)
    app.include_router(problem_pages)
    app.include_router(pages)
    _handle_errors(app)
    _describe(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(HeadAsGet)
    gate = Gate(app, key_ring, _verifier(settings), sessions)
    in_hand = InHand()
    counting = Counting(Admission(gate, in_hand), metrics)
    # Behind the express lane, which asks neither who calls nor how.
    trusted = settings.forwarded_allow_ips
    proxied = ProxyHeadersMiddleware(counting, trusted)  # type: ignore[arg-type]  # uvicorn's types
    express = Express(proxied, gate, in_hand, counting)  # type: ignore[arg-type]  # of the same
    return Application(express, app.state)


async def _sweep(kept: KeptAnswers, writer: AsyncWriter) -> None:
    """What is erased, by whichever process, must not stay in memory."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        kept.sweep()
        writer.forget_keys(IDLE_SECONDS)


def app_from_environment() -> Application:
    """What each worker process of `serve --workers` runs; `serve` has set the environment."""
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    settings = read_settings()
    assert settings.database_url is not None
    master_key = settings.load_master_key()
    app = create_app(settings, Database(settings.database_url, settings.schema_name, master_key))
    tune_interpreter()
    return app


def tune_interpreter() -> None:
    """For a process that only serves, once its application is made."""
    # The threads that read lists, or record under the append lock, must go on soon after their
    # answer from the database has come, not after the default 5 ms.
    sys.setswitchinterval(0.0005)
    # What is loaded by now stays. To look through it for garbage stops all requests for some
    # 50 ms each time.
    gc.collect()
    gc.freeze()
    # What a request leaves makes few cycles: to look for them every 700 objects is too often.
    gc.set_threshold(GARBAGE_OBJECTS)


def _end_with_parent() -> None:
    """After a SIGKILL of `serve` its workers would go on answering, and keep the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _verifier(settings: Settings) -> TokenVerifier | None:
    if settings.oidc_issuer is None:
        return None
    return TokenVerifier(
        settings.oidc_issuer,
        settings.oidc_audience,
        settings.oidc_jwks,
        settings.oidc_role_claim,
    )


def _handle_errors(app: FastAPI) -> None:
    app.add_exception_handler(problems.Problem, problems.answer_problem)
    app.add_exception_handler(LedgerError, problems.answer_ledger_error)
    app.add_exception_handler(RequestValidationError, problems.answer_invalid_request)
    app.add_exception_handler(HTTPException, problems.answer_http_exception)
    app.add_exception_handler(Exception, _answer_defect)


async def _answer_defect(request: Request, error: Exception) -> Response:
    return problems.answer_defect(request, error)


def _describe(app: FastAPI) -> None:
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            openapi_document.complete(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents
