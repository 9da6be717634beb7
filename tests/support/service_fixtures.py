"""The service over real HTTP: a server in a thread, a projector in another."""

import math
import threading
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from ledger_service import ADMIN_KEY, Service
from web_pages import HTML

from api.app import create_app
from api.pages import flow_figures
from api.settings import read_settings
from ledger.database import Database
from projections.runner import Projector


@pytest.fixture
def projecting(database: Database) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=Projector(database).run, args=(stop,))
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def unprojected(database: Database, request: pytest.FixtureRequest) -> Iterator[Service]:
    """The service while no projector runs. Settings come from a `settings` marker."""
    marker = request.node.get_closest_marker("settings")
    given = {} if marker is None else marker.kwargs
    settings = read_settings(database_url=database.url, **{"admin_key": ADMIN_KEY, **given})
    config = uvicorn.Config(
        create_app(settings, database),
        port=0,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}) as client:
        yield Service(url, client, database)
    server.should_exit = True
    thread.join()


@pytest.fixture
def service(unprojected: Service, projecting: None) -> Service:
    return unprojected


@pytest.fixture
def stranger(service: Service) -> Iterator[httpx.Client]:
    """A browser that is not logged in."""
    with httpx.Client(base_url=service.url, headers=HTML) as client:
        yield client


@pytest.fixture
def browser(stranger: httpx.Client) -> httpx.Client:
    """Logged in with the admin key."""
    stranger.post("/login", data={"key": ADMIN_KEY})
    return stranger


@pytest.fixture
def figures_never_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the first figures take longer than others, and would be shown again."""
    monkeypatch.setattr(flow_figures, "DEAR_SECONDS", math.inf)
