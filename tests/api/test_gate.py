"""G9: closed by default, and each key does only what its role allows."""

import re
from typing import get_args

import pytest
from ledger_service import ADMIN_KEY, Service

from api.keys import Role

WRITES = [
    ("post", "/api/bookings"),
    ("patch", "/api/bookings/4711"),
    ("post", "/api/status-changes"),
]
ADMIN = [("get", "/api/keys"), ("post", "/api/keys"), ("delete", "/api/keys/some")]
READS = [
    "/api/bookings",
    "/api/bookings/4711",
    "/api/bookings/4711/status-history",
    "/api/status-history",
    "/api/events",
]


def operations(service: Service) -> list[tuple[str, str]]:
    paths = service.client.get("/openapi.json").json()["paths"]
    return [
        (method, re.sub(r"\{\w+\}", "4711", path))
        for path, methods in paths.items()
        for method in methods
    ]


def test_every_call_needs_a_key_but_health(service: Service) -> None:
    with service.without_key() as nobody:
        for method, path in operations(service):
            answer = nobody.request(method, path)
            if path.startswith(("/api/", "/log/")):
                assert answer.status_code == 401, path
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert answer.headers["content-type"] == "application/problem+json"
            else:
                assert (path, answer.status_code) in {
                    ("/healthz", 200),
                    ("/readyz", 200),
                    ("/metrics", 200),
                }


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/openapi.json", "/docs", "/problems", "/style.css", "/bookings/1"]
)
def test_whatever_else_there_is_or_is_not_needs_a_key_too(service: Service, path: str) -> None:
    with service.without_key() as nobody:
        assert nobody.get(path).status_code == 401


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer wrong",
        "Basic YWRtaW46YWRtaW4=",
        f"Basic {ADMIN_KEY}",
        ADMIN_KEY,
    ],
)
def test_what_is_no_key_of_ours_is_refused(service: Service, authorization: str) -> None:
    with service.without_key() as nobody:
        answer = nobody.get("/api/bookings", headers={"Authorization": authorization})

        assert answer.status_code == 401


def test_a_key_in_the_query_is_not_taken(service: Service) -> None:
    with service.without_key() as nobody:
        assert nobody.get(f"/api/bookings?key={ADMIN_KEY}").status_code == 401


@pytest.mark.parametrize("role", get_args(Role))
def test_roles(service: Service, role: Role) -> None:
    service.open("4711")
    with service.as_role(role) as client:
        for path in READS:
            assert client.get(path).status_code == 200, path
        for method, path in WRITES:
            status = client.request(method, path, json={}).status_code
            assert (status == 403) == (role not in ("writer", "admin")), path
        for method, path in ADMIN:
            status = (
                client.request(method, path, json={}).status_code
                if method == "post"
                else (client.request(method, path).status_code)
            )
            assert (status == 403) == (role != "admin"), path


def test_a_refusal_for_the_role_says_which_would_do(service: Service) -> None:
    with service.as_role("reader") as reader:
        problem = reader.post("/api/bookings", json={}).json()

    assert problem["type"] == "/problems/forbidden"
    assert problem["role"] == "reader"
    assert problem["allowedRoles"] == ["writer", "admin"]


class TestKeysOverHttp:
    def test_a_key_is_made_used_listed_and_revoked(self, service: Service) -> None:
        made = service.client.post("/api/keys", json={"name": "desk", "role": "writer"})
        key = made.json()
        with service.with_key(key["secret"]) as desk:
            opened = desk.post("/api/bookings", json={"id": "4711"})
            service.client.delete(f"/api/keys/{key['id']}").raise_for_status()
            after = desk.get("/api/bookings/4711")

        assert made.status_code == 201
        assert made.headers["Cache-Control"] == "no-store"
        assert opened.status_code == 201
        assert service.history("4711")[0]["source"] == "key:desk"
        assert after.status_code == 401
        (listed,) = service.client.get("/api/keys").json()["keys"]
        assert listed["id"] == key["id"]
        assert listed["revokedAt"] is not None
        assert key["secret"] not in str(listed)

    @pytest.mark.parametrize(
        ("body", "field"),
        [({"name": "x", "role": "king"}, "role"), ({"name": "", "role": "reader"}, "name")],
    )
    def test_bad_keys_are_refused(self, service: Service, body: dict[str, str], field: str) -> None:
        answer = service.client.post("/api/keys", json=body)

        assert answer.status_code == 422
        assert answer.json()["field"] == field

    def test_an_unknown_key_is_not_found(self, service: Service) -> None:
        assert service.client.delete("/api/keys/nobody").status_code == 404
