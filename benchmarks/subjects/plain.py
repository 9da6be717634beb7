"""What load needs to know of plain eventsourcing behind FastAPI."""

import json
import urllib.request

from benchmarks.load import LoadGenerator
from benchmarks.requests import change, changes


def prepare(load: LoadGenerator, url: str, bookings: int, clients: int) -> str:
    """Open bookings; the requests that change them."""
    ids = [_open(url) for _ in range(bookings)]
    return load.define(changes(ids, clients, "/bookings"))


def _open(url: str) -> str:
    request = urllib.request.Request(
        f"{url}/bookings",
        json.dumps(change("pending")).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["id"])
