"""Schemathesis over the contract: whatever it makes up gets a documented answer, and no 5xx."""

import re
from collections.abc import Iterator

import pytest
import schemathesis
from ledger_service import ADMIN_KEY, Service
from log_scenes import logging_on
from scenes import eventually
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

CONFIGURATION = {
    "seed": 4711,  # a build does not fail by chance; another number looks elsewhere
    "headers": {"Authorization": f"Bearer {ADMIN_KEY}"},
    "request-timeout": 20,
    "generation": {"max-examples": 40, "database": "none"},
    "cache": {"enabled": False},
    "phases": {"stateful": {"max-steps": 8, "generation": {"max-examples": 30}}},
    "checks": {
        # In its place `refused_only_for_what_a_schema_cannot_say`.
        "positive_data_acceptance": {"enabled": False},
        # What was decided on the personal data of a booking can be read after they were erased.
        "use_after_free": {"enabled": False},
    },
}

UNSAYABLE = re.compile(
    r"unknown-status|version-mismatch|idempotency-key-reused"  # depend on what is and was there
    r"|cursor: must|asOfPosition: must|between the years"
    r"|metadata: (must|cannot be stored)|printable characters"
    r"|the later size"
)


@schemathesis.check
def refused_only_for_what_a_schema_cannot_say(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """A request that fits the schema is carried out, or refused for a reason named above."""
    if case.meta is None or case.meta.generation.mode is not schemathesis.GenerationMode.POSITIVE:
        return
    if (case.headers or {}).get("if-match") == "0":
        return  # the library takes the number 0 for a text that has a pattern
    if response.status_code in (400, 405, 412, 413, 415, 422):
        assert UNSAYABLE.search(response.text), f"it is valid, but: {response.text}"


@pytest.fixture
def logged(service: Service) -> Iterator[Service]:
    """With a projector of the log, so that evidence of what is recorded can be had."""
    with logging_on(service.database):
        yield service


@pytest.mark.timeout(600)  # a minute where nothing else runs, 180 s beside two busy ones
def test_every_answer_is_in_the_contract(logged: Service) -> None:
    service = logged
    service.open("4711")
    service.change("4711", "confirmed")
    eventually(lambda: service.client.get("/log/checkpoint").status_code == 200, "a checkpoint")
    schema = schemathesis.openapi.from_url(
        f"{service.url}/openapi.json",
        headers={"Authorization": f"Bearer {ADMIN_KEY}"},
        config=SchemathesisConfig.from_dict(CONFIGURATION),
    )
    # An endless answer, which no checker waits for; test_events.py reads it.
    schema = schema.exclude(path="/api/events/stream")
    failures = []
    called: dict[str, int] = {}
    for event in from_schema(schema).execute():
        assert not isinstance(event, events.FatalError), event
        if isinstance(event, events.NonFatalError):
            failures.append(f"{event.label}: {event.value!r}")
        if isinstance(event, events.ScenarioFinished):
            for case_id, node in event.recorder.cases.items():
                called[node.value.operation.label] = called.get(node.value.operation.label, 0) + 1
                for check in event.recorder.checks.get(case_id, []):
                    if check.failure_info is not None:
                        sample = check.failure_info.code_sample
                        failures.append(f"{check.name}: {check.failure_info.failure}\n{sample}")

    assert not failures, "\n\n".join(failures)
    assert len(called) == 30, called
    assert min(called.values()) >= 3, called
    assert schema.validate() is None


def test_an_entity_tag_may_hold_a_comma(service: Service) -> None:
    """Found by the test above."""
    service.open("4711")

    def change(tags: str) -> int:
        headers = {"If-Match": tags}
        body = {"status": "confirmed"}
        return service.client.patch("/api/bookings/4711", json=body, headers=headers).status_code

    assert change('"a,b"') == 412
    assert change('"a,"v1",b"') == 422
    assert change('"a,b" ,W/"v1",  "v1"') == 200
