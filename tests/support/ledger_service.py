"""A running service, as tests see it."""

from dataclasses import dataclass

import httpx

from api.keys import Role, create_key
from ledger.database import Database

ADMIN_KEY = "an-admin-key-for-tests"


@dataclass
class Service:
    """`client` has the admin key; `as_role` makes a client with a key of another role."""

    url: str
    client: httpx.Client
    database: Database

    def as_role(self, role: Role) -> httpx.Client:
        with self.database.connect() as connection:
            made = create_key(connection, f"a {role}", role)
        return self.with_key(made.secret)

    def with_key(self, secret: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {secret}"})

    def without_key(self) -> httpx.Client:
        return httpx.Client(base_url=self.url)

    def open(self, booking_id: str, **body: object) -> httpx.Response:
        return self.client.post("/api/bookings", json={"id": booking_id, **body})

    def change(self, booking_id: str, status: str, **body: object) -> httpx.Response:
        return self.client.patch(f"/api/bookings/{booking_id}", json={"status": status, **body})

    def history(self, booking_id: str) -> list[dict[str, object]]:
        answer = self.client.get(f"/api/bookings/{booking_id}/status-history")
        assert answer.status_code == 200, answer.text
        history: list[dict[str, object]] = answer.json()["history"]
        return history
