"""The bytes of requests, made before the clock runs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from benchmarks.context import ADMIN_KEY

CONSTANT = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CYCLE = ("confirmed", "in_progress", "completed", "pending")
"""Each booking goes through these, over and over: every request changes its status."""


def request(
    method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {ADMIN_KEY}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    content = b""
    if body is not None:
        content = orjson.dumps(body)
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


def change(status: str) -> dict[str, str]:
    return {"status": status, "changedBy": "anna@frontdesk", "reason": "the guest called"}


def changes(
    booking_ids: Sequence[str], clients: int, path: str = "/api/bookings"
) -> list[list[bytes]]:
    """PATCHes, a sequence a client; each client has bookings of its own."""
    return [
        [
            request("PATCH", f"{path}/{quote(booking_id, safe='')}", change(status))
            for status in CYCLE
            for booking_id in booking_ids[client::clients]
        ]
        for client in range(clients)
    ]


def openings(
    prefix: str, count: int, clients: int, *, with_keys: bool = False
) -> list[list[bytes]]:
    """POSTs of new bookings, enough that no client comes round to its first again; with an
    Idempotency-Key each, as those send who try again."""

    def opening(number: int) -> bytes:
        name = f"{prefix}-{number:07}"
        headers = {"Idempotency-Key": f"key-of-{name}"} if with_keys else None
        return request("POST", "/api/bookings", {"id": name, **change("pending")}, headers)

    return [
        [opening(number) for number in range(client, count, clients)] for client in range(clients)
    ]


def histories(
    booking_ids: Sequence[str], clients: int, headers: Mapping[str, str] | None = None
) -> list[list[bytes]]:
    made = [
        request("GET", f"/api/bookings/{quote(one, safe='')}/status-history", headers=headers)
        for one in booking_ids
    ]
    return [made[client::clients] for client in range(clients)]


def bulk(bodies: Sequence[Sequence[Mapping[str, str]]]) -> list[bytes]:
    return [request("POST", "/api/status-changes", {"changes": list(body)}) for body in bodies]


def bulk_changes(client: object, bookings: int, per_call: int) -> Iterator[list[dict[str, str]]]:
    """All bookings of a client, `per_call` in each call, once for each status of the cycle."""
    ids = [f"bulk-{client}-{number:06}" for number in range(bookings)]
    for status in CYCLE:
        for first in range(0, bookings, per_call):
            yield [{"bookingId": one, **change(status)} for one in ids[first : first + per_call]]
