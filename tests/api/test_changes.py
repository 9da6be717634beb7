"""Many changes in one call."""

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
