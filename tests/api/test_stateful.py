"""G2, G3, G5: the whole service over HTTP against a plain model, through any run of calls."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ledger_service import Service

from ledger.limits import check_booking_id, check_changed_by, check_metadata, check_reason
from ledger.workflow import DEFAULT

EXAMPLES = 50
STEPS = 25

STATUSES = st.sampled_from(DEFAULT.statuses)
NUMBERS = st.integers(0, 3)
"""Which booking, out of few: so that calls meet."""

text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
one_line = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20
)
FACTS = st.fixed_dictionaries(
    {},
    optional={
        "changedBy": one_line.map(check_changed_by),
        "reason": text.map(check_reason),
        "metadata": st.dictionaries(
            text, st.none() | st.booleans() | st.integers(-(2**63), 2**63) | text, max_size=3
        ).map(check_metadata),
    },
)


@dataclass
class Entry:
    """What the model remembers of one event."""

    status: str
    position: int
    facts: dict[str, Any]


@dataclass
class Sent:
    """A write that was sent with an Idempotency-Key, and what came back."""

    method: str
    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    answer: httpx.Response


@dataclass
class Model:
    bookings: dict[str, list[Entry]] = field(default_factory=dict)
    head: int = 0

    def allowed(self, booking_id: str) -> list[str]:
        return DEFAULT.allowed_from(self.status(booking_id))

    def status(self, booking_id: str) -> str:
        return self.bookings[booking_id][-1].status

    def record(self, booking_id: str, status: str, position: int, facts: dict[str, Any]) -> None:
        self.bookings.setdefault(booking_id, []).append(Entry(status, position, facts))
        assert position > self.head
        self.head = position


class Calls(RuleBasedStateMachine):
    """Each run has bookings of its own; the service and its ledger are shared by all runs."""

    service: Service
    runs = itertools.count()
    keys = itertools.count()

    sent = Bundle("sent")

    @initialize(suffix=one_line)
    def begin(self, suffix: str) -> None:
        # Whoever changed something in this run has the run's name, so that lists can be compared.
        self.run = f"run {next(self.runs)}"
        self.suffix = suffix
        self.model = Model(head=self.service.client.get("/readyz").json()["head"])
        self.first = self.model.head
        for number in (0, 1):
            self.open(number, None, {})

    def id(self, number: int) -> str:
        return check_booking_id(f"{self.run}/{number}/{self.suffix}")

    def path(self, booking_id: str) -> str:
        return f"/api/bookings/{quote(booking_id, safe='')}"

    def send(
        self,
        method: str,
        path: str,
        body: dict[str, Any],
        headers: dict[str, str],
        *,
        idempotent: bool = False,
    ) -> Sent:
        if idempotent:
            headers = {**headers, "Idempotency-Key": f"key {next(self.keys)}"}
        answer = self.service.client.request(method, path, json=body, headers=headers)
        assert answer.status_code < 500, answer.text
        return Sent(method, path, body, headers, answer)

    @rule(target=sent, number=NUMBERS, status=st.none() | STATUSES, facts=FACTS)
    def open(self, number: int, status: str | None, facts: dict[str, Any]) -> Sent:
        booking_id = self.id(number)
        body = {"id": booking_id, **facts} | ({} if status is None else {"status": status})
        sent = self.send("POST", "/api/bookings", body, {}, idempotent=True)
        if booking_id in self.model.bookings:
            assert sent.answer.status_code == 409
            assert sent.answer.json()["currentStatus"] == self.model.status(booking_id)
        else:
            assert sent.answer.status_code == 201, sent.answer.text
            self.recorded(booking_id, status or DEFAULT.initial, facts, sent.answer)
        return sent

    @rule(target=sent, number=NUMBERS, status=STATUSES, facts=FACTS, idempotent=st.booleans())
    def change(self, number: int, status: str, facts: dict[str, Any], idempotent: bool) -> Sent:
        booking_id = self.id(number)
        body = {"status": status, **facts}
        sent = self.send("PATCH", self.path(booking_id), body, {}, idempotent=idempotent)
        self.changed(booking_id, status, facts, sent.answer)
        return sent

    @rule(target=sent, number=NUMBERS, which=st.booleans(), facts=FACTS)
    def advance(self, number: int, which: bool, facts: dict[str, Any]) -> Sent:
        """A change that is allowed, where there is one: by chance alone few are."""
        known = self.id(number) in self.model.bookings
        allowed = self.model.allowed(self.id(number)) if known else []
        status = allowed[which] if allowed else "cancelled"
        return self.change(number, status, facts, True)

    @rule(
        target=sent,
        number=NUMBERS,
        status=STATUSES,
        versions=st.lists(st.integers(-1, 1), min_size=1, max_size=3),
    )
    def change_if_match(self, number: int, status: str, versions: list[int]) -> Sent:
        """Versions as distances from the one that the booking has."""
        booking_id = self.id(number)
        version = len(self.model.bookings.get(booking_id, []))
        tags = ", ".join(f'"v{version + distance}"' for distance in versions)
        sent = self.send(
            "PATCH", self.path(booking_id), {"status": status}, {"If-Match": tags}, idempotent=True
        )
        if booking_id in self.model.bookings and 0 not in versions:
            assert sent.answer.status_code == 412
            assert sent.answer.json()["currentVersion"] == version
            assert sent.answer.json()["currentStatus"] == self.model.status(booking_id)
        else:
            self.changed(booking_id, status, {}, sent.answer)
        return sent

    def changed(
        self, booking_id: str, status: str, facts: dict[str, Any], answer: httpx.Response
    ) -> None:
        """What a PATCH must have answered, with the model as it was before."""
        if booking_id not in self.model.bookings:
            assert answer.status_code == 404
        elif status == self.model.status(booking_id):
            assert (answer.status_code, answer.json()["changed"]) == (200, False)
            assert answer.json()["version"] == len(self.model.bookings[booking_id])
        elif status not in self.model.allowed(booking_id):
            assert answer.status_code == 409
            assert answer.json()["allowedTransitions"] == self.model.allowed(booking_id)
        else:
            assert (answer.status_code, answer.json()["changed"]) == (200, True)
            self.recorded(booking_id, status, facts, answer)

    def recorded(
        self, booking_id: str, status: str, facts: dict[str, Any], answer: httpx.Response
    ) -> None:
        position = int(answer.headers["Ledger-Position"])
        self.model.record(booking_id, status, position, facts)
        assert answer.json()["status"] == status
        assert answer.headers["ETag"] == f'"v{len(self.model.bookings[booking_id])}"'
        assert answer.json()["allowedTransitions"] == DEFAULT.allowed_from(status)

    @rule(target=sent, changes=st.lists(st.tuples(NUMBERS, STATUSES, FACTS), min_size=1))
    def change_many(self, changes: list[tuple[int, str, dict[str, Any]]]) -> Sent:
        body = {
            "changes": [
                {"bookingId": self.id(number), "status": status, **facts}
                for number, status, facts in changes
            ]
        }
        sent = self.send("POST", "/api/status-changes", body, {}, idempotent=True)
        assert sent.answer.status_code == 200, sent.answer.text
        results = sent.answer.json()["results"]
        assert len(results) == len(changes)
        for (number, status, facts), result in zip(changes, results, strict=True):
            assert result["outcome"] == self.outcome(self.id(number), status)
            if result["outcome"] in ("opened", "changed"):
                self.model.record(self.id(number), status, result["position"], facts)
            if result["outcome"] != "refused":
                assert result["booking"]["version"] == len(self.model.bookings[self.id(number)])
        return sent

    def outcome(self, booking_id: str, status: str) -> str:
        if booking_id not in self.model.bookings:
            return "opened"
        if status == self.model.status(booking_id):
            return "unchanged"
        return "changed" if status in self.model.allowed(booking_id) else "refused"

    @rule(sent=sent)
    def send_again(self, sent: Sent) -> None:
        """The same answer, whatever has happened since; that nothing is recorded is invariant."""
        if "Idempotency-Key" not in sent.headers:
            return
        again = self.send(sent.method, sent.path, sent.body, sent.headers).answer
        assert again.status_code == sent.answer.status_code
        assert again.content == sent.answer.content
        for name in ("Ledger-Position", "ETag", "Location"):
            assert again.headers.get(name) == sent.answer.headers.get(name)

    @rule(sent=consumes(sent), status=STATUSES)
    def send_another_with_the_key(self, sent: Sent, status: str) -> None:
        if "Idempotency-Key" not in sent.headers:
            return
        path = f"{self.path(self.id(0))}-other"
        refused = self.send("PATCH", path, {"status": status}, sent.headers).answer
        assert refused.status_code == 422
        assert refused.json()["type"] == "/problems/idempotency-key-reused"

    @precondition(lambda self: self.model.bookings)
    @rule(data=st.data())
    def read_the_past(self, data: st.DataObject) -> None:
        booking_id = data.draw(st.sampled_from(sorted(self.model.bookings)))
        entries = self.model.bookings[booking_id]
        version = data.draw(st.integers(1, len(entries) + 1))
        answer = self.service.client.get(self.path(booking_id), params={"version": version})
        if version > len(entries):
            assert answer.status_code == 404
        else:
            assert answer.json()["status"] == entries[version - 1].status
            assert answer.json()["version"] == version

    @rule(number=NUMBERS)
    def read_now(self, number: int) -> None:
        answer = self.service.client.get(self.path(self.id(number)))
        if self.id(number) not in self.model.bookings:
            assert answer.status_code == 404
        else:
            booking = answer.json()
            assert booking["status"] == self.model.status(self.id(number))
            assert booking["version"] == len(self.model.bookings[self.id(number)])

    @rule(status=STATUSES, order=st.sampled_from(["asc", "desc"]), limit=st.integers(1, 4))
    def list_bookings(self, status: str, order: str, limit: int) -> None:
        """Of the whole ledger: those of this run are as the model has them, each once."""
        query = {"status": status, "order": order, "limit": str(limit * 50)}
        found = [one["id"] for one in self.pages("/api/bookings", "bookings", query)]
        ours = [id_ for id_ in found if id_.startswith(f"{self.run}/")]
        assert sorted(ours) == sorted(
            id_ for id_ in self.model.bookings if self.model.status(id_) == status
        )

    @rule(
        number=NUMBERS,
        to_status=st.none() | STATUSES,
        from_status=st.none() | STATUSES,
        order=st.sampled_from(["asc", "desc"]),
        limit=st.integers(1, 4),
    )
    def list_history(
        self, number: int, to_status: str | None, from_status: str | None, order: str, limit: int
    ) -> None:
        given = {"toStatus": to_status, "fromStatus": from_status}
        query = {name: value for name, value in given.items() if value is not None}
        query |= {"bookingId": self.id(number), "order": order, "limit": str(limit)}
        found = [one["version"] for one in self.pages("/api/status-history", "history", query)]
        entries = self.model.bookings.get(self.id(number), [])
        before = [None, *(entry.status for entry in entries)]
        expected = [
            version
            for version, entry in enumerate(entries, 1)
            if to_status in (None, entry.status) and from_status in (None, before[version - 1])
        ]
        assert sorted(found) == expected

    def pages(self, path: str, name: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        cursor = None
        while True:
            params = query | ({} if cursor is None else {"cursor": cursor})
            answer = self.service.client.get(path, params=params)
            assert answer.status_code == 200, answer.text
            assert int(answer.headers["Ledger-Position"]) >= self.model.head
            yield from answer.json()[name]
            cursor = answer.json()["next"]
            if cursor is None:
                return

    @invariant()
    def the_feed_has_what_was_recorded_and_nothing_else(self) -> None:
        """Every event of this run, in order, so each history is one unbroken chain."""
        if not hasattr(self, "model"):
            return
        seen: dict[str, list[Entry]] = {}
        after = self.first
        while True:
            answer = self.service.client.get("/api/events", params={"after": after, "limit": 1000})
            for event in answer.json()["events"]:
                entries = seen.setdefault(event["bookingId"], [])
                assert event["version"] == len(entries) + 1
                assert event["fromStatus"] == (entries[-1].status if entries else None)
                names = ("changedBy", "reason", "metadata")
                facts = {name: event[name] for name in names if event[name] is not None}
                entries.append(Entry(event["toStatus"], event["position"], facts))
            if not answer.json()["events"]:
                break
            after = answer.json()["next"]
        assert seen == self.model.bookings

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        for booking_id, entries in self.model.bookings.items():
            answer = self.service.client.get(f"{self.path(booking_id)}/status-history")
            history = answer.json()["history"]
            statuses = [entry.status for entry in entries]
            assert [one["toStatus"] for one in history] == statuses
            assert [one["fromStatus"] for one in history] == [None, *statuses[:-1]]
            assert [one["version"] for one in history] == list(range(1, len(entries) + 1))
            assert [one["position"] for one in history] == [entry.position for entry in entries]
            assert len({one["id"] for one in history}) == len(entries)


@pytest.mark.timeout(420)  # where it fails, Hypothesis shrinks for up to five minutes
def test_the_service_is_what_the_model_says(service: Service) -> None:
    Calls.service = service
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Calls,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
