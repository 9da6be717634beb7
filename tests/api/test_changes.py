"""Many changes in one call."""

import pytest
from ledger_service import Service


def changes(*pairs: tuple[str, str]) -> dict[str, object]:
    return {"changes": [{"bookingId": id_, "status": status} for id_, status in pairs]}


def test_each_change_gets_its_own_answer_in_order(service: Service) -> None:
    service.open("known")
    answer = service.client.post(
        "/api/status-changes",
        json=changes(
            ("known", "confirmed"),
            ("new", "pending"),
            ("new", "confirmed"),
            ("new", "confirmed"),
            ("new", "completed"),
            ("other", "lost"),
        ),
    )

    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["outcome"] for result in results] == [
        *("changed", "opened", "changed", "unchanged", "refused", "refused")
    ]
    assert answer.json()["counts"] == {"opened": 1, "changed": 2, "unchanged": 1, "refused": 2}
    assert results[0]["booking"]["version"] == 2
    assert results[4]["problem"]["allowedTransitions"] == ["in_progress", "cancelled"]
    assert "confirmed" in results[5]["problem"]["allowedStatuses"]
    assert [entry["toStatus"] for entry in service.history("new")] == ["pending", "confirmed"]
    assert answer.headers["Ledger-Position"] == "4"


def test_a_thousand_in_one_call_and_not_one_more(service: Service) -> None:
    thousand = changes(*((f"b{number}", "pending") for number in range(1000)))
    accepted = service.client.post("/api/status-changes", json=thousand)
    thousand["changes"] *= 2  # type: ignore[operator]
    refused = service.client.post("/api/status-changes", json=thousand)

    assert accepted.json()["counts"]["opened"] == 1000
    assert refused.status_code == 422
    assert refused.json()["field"] == "changes"
    assert service.client.get("/readyz").json()["head"] == 1000


def test_one_invalid_change_refuses_the_whole_body_and_says_which(service: Service) -> None:
    body = changes(("a", "pending"), ("b", "pending"))
    body["changes"][1]["occurredAt"] = "soon"  # type: ignore[index]
    answer = service.client.post("/api/status-changes", json=body)

    assert answer.status_code == 422
    assert answer.json()["field"] == "changes.1.occurredAt"
    assert service.client.get("/readyz").json()["head"] == 0


def test_the_same_call_twice_records_once(service: Service) -> None:
    body = changes(("a", "pending"), ("a", "confirmed"), ("a", "pending"))
    headers = {"Idempotency-Key": "bulk-1"}
    first = service.client.post("/api/status-changes", json=body, headers=headers)
    again = service.client.post("/api/status-changes", json=body, headers=headers)

    assert again.content == first.content
    assert len(service.history("a")) == 2


def test_of_many_errors_the_first_hundred_are_told(service: Service) -> None:
    wrong = [{"bookingId": f"b{number}", "colour": "red"} for number in range(1_000)]
    answer = service.client.post("/api/status-changes", json={"changes": wrong})

    problem = answer.json()
    assert answer.status_code == 422
    assert problem["field"] == "changes.0.status"
    assert (len(problem["errors"]), problem["errorCount"]) == (100, 2_000)


@pytest.mark.parametrize("place", ["beside the changes", "in a change"])
def test_fields_by_the_thousand_are_one_error(service: Service, place: str) -> None:
    """Each would be one, and everybody would wait until all are made."""
    many = {f"field-{number}": 1 for number in range(100_000)}
    good = {"bookingId": "4711", "status": "pending"}
    body = {"changes": [good], **many} if place == "beside the changes" else {"changes": [many]}
    answer = service.client.post("/api/status-changes", json=body)

    problem = answer.json()
    assert answer.status_code == 422
    assert (problem["field"], problem["errorCount"]) == ("body", 1)
    where = (
        "the body has 100001 fields" if place == "beside the changes" else "changes.0 has 100000"
    )
    assert where in problem["detail"]
    assert service.client.get("/api/events").json()["events"] == []
