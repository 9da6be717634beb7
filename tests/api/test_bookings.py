"""Open, change and read a booking over HTTP."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import UUID

import pytest
from ledger_service import Service


def test_opening_answers_with_the_booking_where_it_is_and_its_version(service: Service) -> None:
    answer = service.open("4711", changedBy="anna", reason="walk-in", metadata={"room": 12})

    assert answer.status_code == 201
    assert answer.headers["Location"] == "/api/bookings/4711"
    assert answer.headers["ETag"] == '"v1"'
    assert answer.headers["Ledger-Position"] == "1"
    body = answer.json()
    assert (body["id"], body["status"], body["version"]) == ("4711", "pending", 1)
    assert body["allowedTransitions"] == ["confirmed", "cancelled"]
    assert body["createdAt"] == body["updatedAt"]
    assert service.client.get(answer.headers["Location"]).json() == body


def test_the_ledger_makes_a_uuid7_where_no_id_is_given(service: Service) -> None:
    made = service.client.post("/api/bookings", json={}).json()["id"]

    assert UUID(made).version == 7


def test_a_booking_may_enter_in_any_status(service: Service) -> None:
    assert service.open("4711", status="confirmed").json()["status"] == "confirmed"


def test_a_booking_is_opened_once(service: Service) -> None:
    service.open("4711")
    again = service.open("4711")

    assert again.status_code == 409
    assert again.json()["type"] == "/problems/booking-exists"
    assert again.json()["currentStatus"] == "pending"
    assert len(service.history("4711")) == 1


def test_a_change_is_in_the_history_with_all_that_was_said(service: Service) -> None:
    service.open("4711")
    answer = service.change(
        "4711",
        "confirmed",
        changedBy="anna",
        reason="paid",
        metadata={"amount": 12.5, "notes": ["ü", None]},
        occurredAt="2026-03-01T10:30:00.123456+01:00",
    )

    assert answer.status_code == 200
    assert answer.json()["changed"] is True
    assert answer.headers["ETag"] == '"v2"'
    first, second = service.history("4711")
    assert first["fromStatus"] is None
    assert second["fromStatus"] == first["toStatus"] == "pending"
    assert second["toStatus"] == "confirmed"
    assert second["changedBy"] == "anna"
    assert second["reason"] == "paid"
    assert second["metadata"] == {"amount": 12.5, "notes": ["ü", None]}
    assert second["createdAt"] == "2026-03-01T09:30:00.123Z"
    assert second["actor"] == "api-key"
    assert (second["version"], second["position"]) == (2, 2)


def test_who_is_null_when_the_system_did_it(service: Service) -> None:
    service.open("4711")

    assert service.history("4711")[0]["changedBy"] is None
    assert service.history("4711")[0]["actor"] == "system"


def test_the_status_it_has_already_records_nothing(service: Service) -> None:
    service.open("4711")
    answer = service.change("4711", "pending")

    assert answer.status_code == 200
    assert answer.json()["changed"] is False
    assert answer.json()["version"] == 1
    assert len(service.history("4711")) == 1


def test_a_transition_that_is_not_allowed_says_which_are(service: Service) -> None:
    service.open("4711")
    answer = service.change("4711", "completed")

    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["from"] == "pending"
    assert problem["to"] == "completed"
    assert problem["allowedTransitions"] == ["confirmed", "cancelled"]
    assert problem["error"] == problem["title"] == "Transition not allowed"
    assert problem["instance"] == "/api/bookings/4711"
    assert len(service.history("4711")) == 1


def test_an_unknown_status_says_which_there_are(service: Service) -> None:
    service.open("4711")
    answer = service.change("4711", "lost")

    assert answer.status_code == 422
    assert answer.json()["allowedStatuses"] == [
        *("pending", "confirmed", "in_progress", "completed", "cancelled")
    ]


@pytest.mark.parametrize(
    "path", ["", "/status-history", "?version=1", "?asOf=2026-01-01T00:00:00Z"]
)
def test_an_unknown_booking_is_not_found(service: Service, path: str) -> None:
    answer = service.client.get(f"/api/bookings/nobody{path}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/booking-not-found"
    assert service.change("nobody", "confirmed").status_code == 404


class TestIfMatch:
    def test_the_version_named_is_changed(self, service: Service) -> None:
        service.open("4711")
        answer = service.client.patch(
            "/api/bookings/4711", json={"status": "confirmed"}, headers={"If-Match": '"v7", "v1"'}
        )

        assert answer.status_code == 200

    @pytest.mark.parametrize("tag", ['"v2"', 'W/"v1"', '"other"'])
    def test_another_is_refused_with_where_the_booking_is(self, service: Service, tag: str) -> None:
        service.open("4711")
        answer = service.client.patch(
            "/api/bookings/4711", json={"status": "confirmed"}, headers={"If-Match": tag}
        )

        assert answer.status_code == 412
        assert answer.json()["currentVersion"] == 1
        assert answer.json()["currentStatus"] == "pending"
        assert len(service.history("4711")) == 1

    def test_what_is_no_entity_tag_is_refused(self, service: Service) -> None:
        service.open("4711")
        answer = service.client.patch(
            "/api/bookings/4711", json={"status": "confirmed"}, headers={"If-Match": "v1"}
        )

        assert answer.status_code == 422
        assert answer.json()["field"] == "If-Match"


class TestIdempotency:
    def test_the_same_request_is_recorded_once_and_answered_the_same(
        self, service: Service
    ) -> None:
        headers = {"Idempotency-Key": "order-1"}
        first = service.client.post("/api/bookings", json={}, headers=headers)
        service.change(first.json()["id"], "confirmed")
        again = service.client.post(
            "/api/bookings", content=b"{ }", headers={**headers, "Content-Type": "application/json"}
        )

        assert again.status_code == first.status_code
        assert again.content == first.content
        assert again.headers["Location"] == first.headers["Location"]
        assert again.headers["Ledger-Position"] == first.headers["Ledger-Position"]
        assert len(service.client.get("/api/events").json()["events"]) == 2

    def test_a_refusal_is_answered_the_same(self, service: Service) -> None:
        service.open("4711")
        patch = {
            "url": "/api/bookings/4711",
            "json": {"status": "in_progress"},
            "headers": {"Idempotency-Key": "change-1"},
        }
        refused = service.client.patch(**patch)
        service.change("4711", "confirmed")
        again = service.client.patch(**patch)

        assert refused.status_code == 409
        assert again.json() == refused.json()

    def test_another_request_with_the_key_is_refused(self, service: Service) -> None:
        headers = {"Idempotency-Key": '"order-1"'}
        service.client.post("/api/bookings", json={"id": "1"}, headers=headers)
        other = service.client.post(
            "/api/bookings", json={"id": "2"}, headers={"Idempotency-Key": "order-1"}
        )

        assert other.status_code == 422
        assert other.json()["type"] == "/problems/idempotency-key-reused"
        assert service.client.get("/api/bookings/2").status_code == 404

    def test_keys_of_two_callers_are_apart(self, service: Service) -> None:
        headers = {"Idempotency-Key": "order-1"}
        service.client.post("/api/bookings", json={"id": "1"}, headers=headers)
        with service.as_role("writer") as other:
            answer = other.post("/api/bookings", json={"id": "2"}, headers=headers)

        assert answer.status_code == 201

    @pytest.mark.parametrize("key", ["", "x" * 256, "ü".encode()])
    def test_a_key_that_cannot_be_one_is_refused(self, service: Service, key: str | bytes) -> None:
        answer = service.client.post("/api/bookings", json={}, headers={"Idempotency-Key": key})

        assert answer.status_code == 422
        assert answer.json()["field"] == "Idempotency-Key"


class TestTimeTravel:
    def test_by_version(self, service: Service) -> None:
        service.open("4711")
        service.change("4711", "confirmed")

        assert service.client.get("/api/bookings/4711?version=1").json()["status"] == "pending"
        assert service.client.get("/api/bookings/4711?version=2").json()["status"] == "confirmed"
        assert service.client.get("/api/bookings/4711?version=3").status_code == 404
        assert service.client.get("/api/bookings/4711?version=0").status_code == 422

    def test_by_when_it_occurred(self, service: Service) -> None:
        service.open("4711", occurredAt="2026-01-01T00:00:00Z")
        service.change("4711", "confirmed", occurredAt="2026-02-01T00:00:00Z")

        def at(time: str) -> tuple[int, object]:
            answer = service.client.get("/api/bookings/4711", params={"asOf": time})
            return answer.status_code, answer.json().get("status")

        assert at("2025-12-31T23:59:59Z") == (404, 404)
        assert at("2026-01-01T00:00:00Z") == (200, "pending")
        assert at("2026-02-01T00:59:59+01:00") == (200, "pending")
        assert at("2026-02-01T01:00:00+01:00") == (200, "confirmed")

    def test_a_change_recorded_late_counts_from_when_it_occurred(self, service: Service) -> None:
        service.open("4711", occurredAt="2026-01-01T00:00:00Z")
        service.change("4711", "confirmed", occurredAt="2026-03-01T00:00:00Z")
        service.change("4711", "cancelled", occurredAt="2026-02-01T00:00:00Z")
        answer = service.client.get("/api/bookings/4711?asOf=2026-02-15T00:00:00Z")

        assert answer.json()["status"] == "cancelled"

        def at(version: int, time: str) -> dict[str, object]:
            query = {"version": version, "asOf": time}
            found: dict[str, object] = service.client.get("/api/bookings/4711", params=query).json()
            return found

        before = at(2, "2026-02-15T00:00:00Z")
        assert (before["status"], before["version"]) == ("pending", 1)
        both = at(3, "2026-02-15T00:00:00Z")
        assert (both["status"], both["version"]) == ("cancelled", 3)
        assert both["createdAt"] == "2026-01-01T00:00:00.000Z"
        assert at(2, "2025-12-31T00:00:00Z")["status"] == 404
        assert at(4, "2026-03-15T00:00:00Z")["status"] == 404


class TestConditionalReading:
    @pytest.mark.parametrize("path", ["", "/status-history"])
    def test_what_the_caller_has_already_is_not_sent_again(
        self, service: Service, path: str
    ) -> None:
        service.open("4711")
        tag = service.client.get(f"/api/bookings/4711{path}").headers["ETag"]
        again = service.client.get(
            f"/api/bookings/4711{path}", headers={"If-None-Match": f'"x", W/{tag}'}
        )
        service.change("4711", "confirmed")
        changed = service.client.get(f"/api/bookings/4711{path}", headers={"If-None-Match": tag})

        assert (again.status_code, again.content) == (304, b"")
        assert changed.status_code == 200


@pytest.mark.parametrize(
    "booking_id",
    [
        "2026/0815",
        "a b",
        "ünïcode-✓",
        "x" * 200,
        "100%",
        "a%2Fb",
        "?",
        "#",
        "..",
        "a/status-history",
    ],
)
def test_any_id_that_a_booking_system_may_have(service: Service, booking_id: str) -> None:
    location = service.open(booking_id).headers["Location"]

    if booking_id != "..":  # clients resolve it away before it is sent
        assert service.client.get(location).json()["id"] == booking_id
        history = service.client.get(f"{location}/status-history").json()
        assert history["bookingId"] == booking_id
        path = f"/api/bookings/{quote(booking_id, safe='')}"
        assert service.client.patch(path, json={"status": "confirmed"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "x" * 201}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"id": 7}, "id"),
        ({"status": ""}, "status"),
        ({"changedBy": ""}, "changedBy"),
        ({"changedBy": "x" * 201}, "changedBy"),
        ({"reason": "x" * 2001}, "reason"),
        ({"reason": "a\x00b"}, "reason"),
        ({"metadata": []}, "metadata"),
        ({"metadata": "{}"}, "metadata"),
        ({"metadata": {"a": "x" * 65_536}}, "metadata"),
        ({"metadata": {"a": ["\x00"]}}, "metadata"),
        ({"metadata": {"a": 2**64}}, "metadata"),
        ({"occurredAt": "2026-01-01T00:00:00"}, "occurredAt"),
        ({"occurredAt": "yesterday"}, "occurredAt"),
        ({"occurredAt": 1_767_225_600}, "occurredAt"),
        ({"occurredAt": "0001-01-01T00:00:00+14:00"}, "occurredAt"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_input_names_the_field_and_records_nothing(
    service: Service, body: dict[str, object], field: str
) -> None:
    answer = service.client.post("/api/bookings", json=body)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field
    assert answer.json()["errors"][0]["message"]
    assert service.client.get("/api/events").json()["events"] == []


@pytest.mark.parametrize("content", [b"{", b"\xff", b"", b"nul"])
def test_a_body_that_is_not_json_is_refused(service: Service, content: bytes) -> None:
    answer = service.client.post(
        "/api/bookings", content=content, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_that_is_too_large_is_refused(service: Service) -> None:
    answer = service.client.post(
        "/api/bookings",
        content=b" " * (16 * 1024 * 1024 + 1),
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 413
    assert answer.json()["limitBytes"] == 16 * 1024 * 1024


def test_recorded_at_is_the_ledgers_own_clock(service: Service) -> None:
    service.open("4711", occurredAt="2020-01-01T00:00:00Z")
    recorded_at = datetime.fromisoformat(str(service.history("4711")[0]["recordedAt"]))

    assert abs(datetime.now(UTC) - recorded_at) < timedelta(seconds=10)
