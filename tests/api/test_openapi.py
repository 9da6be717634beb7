"""What the service says of itself: a valid contract, and a page for each of its problems."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from ledger_service import Service
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api import problems
from api.gate import OPEN_PATHS

PROBLEM = "application/problem+json"
METHODS = ("get", "put", "post", "patch", "delete", "head", "options", "trace")
READ_STATUSES = {"200", "201", "304"}

NEVER_IN_A_ROUTE = {
    "Refusal": "the root of the refusals",
    "SettingsError": "settings are read before the service answers anything",
    "WorkflowError": "so is the workflow",
    "SchemaOutdated": "and the schema is checked",
    "LogOriginChanged": "so is the origin",
    "BadNote": "notes that the log signed itself are read",
    "BadProof": "and proofs that it made",
    "LogInconsistent": "the projector of the log meets it, and signs nothing",
    "EntryTooLarge": "the projector of the log meets it first, and signs nothing",
    "OtherReadModel": "the projector meets it, and whoever signs or audits rows",
}
"""Errors that the application loads and no route raises."""


def walk(node: Any, *path: str) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every object of the document with where it stands."""
    if isinstance(node, dict):
        yield path, node
        for name, value in node.items():
            yield from walk(value, *path, str(name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from walk(value, *path, str(number))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def examples(node: dict[str, Any]) -> list[Any]:
    """Of a schema, parameter or media type: a single one, a list, or named ones with a value."""
    given = node.get("examples", [])
    named = [one["value"] for one in given.values()] if isinstance(given, dict) else list(given)
    return named + ([node["example"]] if "example" in node else [])


@pytest.fixture
def document(service: Service) -> dict[str, Any]:
    answer = service.client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(document)] == []
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    identifiers = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(identifiers)) == len(identifiers)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    referred = {node["$ref"] for _, node in walk(document) if isinstance(node.get("$ref"), str)}

    assert referred == {
        f"#/components/schemas/{name}" for name in document["components"]["schemas"]
    }


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    checked = 0
    for path, node in walk(document):
        if {"example", "examples"} & set(path) or path[-1:] == ("properties",):
            continue  # values, and names that are no keywords
        schema = node.get("schema", node)
        for example in examples(node):
            whole = {**schema, "components": document["components"]}
            jsonschema_rs.validator_for(whole, validate_formats=True).validate(example)
            checked += 1

    assert checked > 50


def test_every_answer_of_the_api_has_a_schema(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                shape = content.get("schema") or content.get("itemSchema")
                assert shape, (method, path, status, media_type)


def test_every_call_documents_its_refusals_as_problems(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        answers = operation["responses"]
        if path in OPEN_PATHS:
            assert operation["security"] == []
            continue
        assert {"401", "403", "503"} <= set(answers), (method, path)
        assert "security" not in operation  # that of the whole document holds
        for status in set(answers) - READ_STATUSES:
            assert list(answers[status]["content"]) == [PROBLEM], (method, path, status)
            assert answers[status]["content"][PROBLEM]["schema"]["$ref"].endswith("/ProblemAnswer")
        if operation.get("parameters") or "requestBody" in operation:
            assert "422" in answers, (method, path)
        if "requestBody" in operation:
            assert {"400", "413"} <= set(answers), (method, path)

    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"] == {
        "key": {"type": "http", "scheme": "bearer"}
    }


def test_what_is_open_is_health_alone(document: dict[str, Any]) -> None:
    others = {
        path
        for _, path, operation in operations(document)
        if operation.get("security") == [] or not path.startswith(("/api/", "/log/"))
    }

    assert others == {"/healthz", "/readyz", "/metrics"}


def kinds_of_problems() -> list[problems.ProblemType]:
    """All that the code has, listed in TYPES or not."""
    constants = [one for one in vars(problems).values() if isinstance(one, problems.ProblemType)]
    return [*constants, *problems.BY_ERROR.values()]


def test_every_problem_has_its_page(service: Service) -> None:
    listed = service.client.get("/problems").json()["problems"]
    assert {one["type"] for one in listed} == {f"/problems/{k.name}" for k in kinds_of_problems()}

    for kind in kinds_of_problems():
        page = service.client.get(f"/problems/{kind.name}")
        assert page.status_code == 200, kind.name
        assert page.json() in listed
        assert (page.json()["title"], page.json()["status"]) == (kind.title, kind.status)
        assert page.json()["meaning"]
    assert service.client.get("/problems/unheard-of").status_code == 404


def test_problem_types_have_a_name_of_their_own() -> None:
    kinds = kinds_of_problems()

    assert {kind.name for kind in kinds} == set(problems.TYPES)
    assert len({kind.name for kind in kinds}) == len(kinds)


def test_a_problem_says_what_where_and_of_which_type(service: Service) -> None:
    for method, path, content, status, name in (
        ("GET", "/api/nowhere", None, 404, "not-found"),
        ("GET", "/nowhere", None, 404, "not-found"),
        ("GET", "/api/bookings/", None, 404, "not-found"),
        ("PUT", "/api/bookings", b"{}", 405, "method-not-allowed"),
        ("POST", "/api/bookings", b"{", 400, "bad-json"),
        ("POST", "/api/bookings", b"[]", 422, "invalid-request"),
        ("POST", "/api/bookings", b'{"status": "lost"}', 422, "unknown-status"),
        ("GET", "/api/bookings/4711", None, 404, "booking-not-found"),
        ("GET", "/api/bookings?cursor=x", None, 422, "invalid-value"),
        ("DELETE", "/api/keys/x", None, 404, "key-not-found"),
    ):
        headers = {"Content-Type": "application/json"}
        answer = service.client.request(method, path, content=content, headers=headers)
        problem = answer.json()

        assert answer.status_code == problem["status"] == status, path
        assert answer.headers["content-type"] == PROBLEM
        assert problem["type"] == f"/problems/{name}"
        assert problem["title"] == problem["error"] == problems.TYPES[name].title
        assert problem["detail"]
        assert problem["instance"] == path.partition("?")[0]
        assert service.client.get(problem["type"]).json()["type"] == problem["type"]


def test_a_method_that_is_not_allowed_says_which_are(service: Service) -> None:
    for path, allowed in (
        ("/api/bookings", "GET, HEAD, POST"),
        ("/api/bookings/4711", "GET, HEAD, PATCH"),
        ("/api/bookings/a%2Fb", "GET, HEAD, PATCH"),
        ("/api/keys", "GET, HEAD, POST"),
        ("/api/keys/x", "DELETE"),
        ("/api/events", "GET, HEAD"),
    ):
        answer = service.client.put(path, json={})

        assert answer.status_code == 405, path
        assert answer.headers["Allow"] == allowed


class TestAddresses:
    """`instance` is the address as it was sent, whatever is in it."""

    def test_of_a_booking(self, service: Service) -> None:
        with service.without_key() as nobody:
            for path in ("/api/bookings/a%2Fb", "/api/bookings/%C3%BC%E2%80%AE"):
                assert service.client.get(path).json()["instance"] == path
                assert nobody.get(path).json()["instance"] == path

    def test_of_one_change_of_many(self, service: Service) -> None:
        body = {"changes": [{"bookingId": "a b/ü", "status": "lost"}]}
        (result,) = service.client.post("/api/status-changes", json=body).json()["results"]

        assert result["problem"]["instance"] == "/api/bookings/a%20b%2F%C3%BC"

    def test_a_nul_does_not_pass_for_a_slash(self, service: Service) -> None:
        service.open("a/b")
        for path in ("/api/bookings/a%00b", "/api/bookings/a%00%2Fb"):
            read = service.client.get(path)
            changed = service.client.patch(path, json={"status": "confirmed"})

            assert (read.status_code, changed.status_code) == (422, 422)
            assert read.json()["instance"] == path

        assert len(service.history("a%2Fb")) == 1


LOADED_ERRORS = """
import api.app, api.pages
from ledger.errors import LedgerError
def walk(kind):
    for one in kind.__subclasses__():
        yield one.__name__
        yield from walk(one)
print(*walk(LedgerError))
"""


def test_every_error_that_a_route_can_raise_has_a_problem() -> None:
    """Asked of a fresh process: what the application never loads, no route can raise."""
    run = [sys.executable, "-P", "-c", LOADED_ERRORS]
    loaded = set(subprocess.run(run, capture_output=True, check=True, text=True).stdout.split())
    answered = {kind.__name__ for kind in problems.BY_ERROR}

    assert loaded - set(NEVER_IN_A_ROUTE) == answered
    assert set(NEVER_IN_A_ROUTE) <= loaded


def test_problems_of_a_status_that_has_no_type_of_its_own() -> None:
    scope = {"type": "http", "path": "/api/x", "headers": [], "method": "GET"}
    answer = problems.answer_http_exception(Request(scope), HTTPException(418, "short and stout"))
    problem = json.loads(bytes(answer.body))

    assert answer.status_code == problem["status"] == 418
    assert (problem["type"], problem["detail"]) == ("/problems/http-error", "short and stout")
