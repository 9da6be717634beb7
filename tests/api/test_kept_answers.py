"""What is kept of answers, and for how long."""

from ledger_service import Service

from api.kept_answers import SECONDS_MAX, KeptAnswer, KeptAnswers


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def an_answer(size: int = 10) -> KeptAnswer:
    return KeptAnswer(b"x" * size, '"v1"', 1)


def keep(kept: KeptAnswers, booking_id: str, answer: KeptAnswer) -> None:
    """As it is asked for the second time."""
    for _ in range(2):
        kept.keep("history", booking_id, answer)


def test_what_is_asked_for_once_is_not_kept_and_what_is_asked_for_again_is() -> None:
    kept = KeptAnswers()
    first, again = an_answer(), an_answer()
    kept.keep("history", "4711", first)
    kept.keep("booking", "4711", first)
    assert (kept.get("history", "4711"), kept.get("booking", "4711")) == (None, None)

    kept.keep("history", "4711", again)
    assert (kept.get("history", "4711"), kept.get("booking", "4711")) == (again, None)


def test_many_who_ask_again_do_not_get_in_each_others_way() -> None:
    kept = KeptAnswers()
    rooms = [f"room-{number}" for number in range(10_000)]
    for _ in range(2):
        for room in rooms:
            kept.keep("history", room, an_answer())

    assert all(kept.get("history", room) for room in rooms)


def test_what_is_asked_for_again_much_later_is_asked_for_once() -> None:
    clock = Clock()
    kept = KeptAnswers(clock=clock)
    kept.keep("history", "4711", an_answer())
    for _ in range(2):
        clock.now += SECONDS_MAX + 1
        kept.sweep()
    kept.keep("history", "4711", an_answer())

    assert kept.get("history", "4711") is None


def test_what_nobody_asks_for_is_forgotten_in_time() -> None:
    """It may have been erased since."""
    clock = Clock()
    kept = KeptAnswers(clock=clock)
    keep(kept, "cold", an_answer())
    keep(kept, "warm", an_answer())
    clock.now = SECONDS_MAX - 1
    warm = kept.get("history", "warm")
    assert warm is not None
    kept.keep("history", "warm", warm)
    clock.now = SECONDS_MAX + 1
    kept.sweep()

    assert kept.get("history", "cold") is None
    assert kept.get("history", "warm") is warm


def test_memory_is_bounded_by_bytes_and_the_oldest_go_first() -> None:
    kept = KeptAnswers(bytes_max=100)
    for number in range(30):
        keep(kept, f"room-{number}", an_answer(10))
        keep(kept, f"room-{number}", an_answer(10))

    assert [n for n in range(30) if kept.get("history", f"room-{n}")] == list(range(20, 30))


def test_kinds_of_answers_do_not_get_in_each_others_way(service: Service) -> None:
    service.open("4711")
    for _ in range(3):
        booking = service.client.get("/api/bookings/4711")
        history = service.client.get("/api/bookings/4711/status-history")
        assert booking.json()["status"] == "pending"
        assert len(history.json()["history"]) == 1
        assert booking.headers["ETag"] == history.headers["ETag"] == '"v1"'


def test_an_answer_that_was_kept_is_as_fresh_as_any(service: Service) -> None:
    """G5, over and over on the same booking, with what is kept in between."""
    service.open("4711")
    for number, status in enumerate(("confirmed", "in_progress", "completed"), start=2):
        for _ in range(3):
            service.client.get("/api/bookings/4711/status-history")
        service.client.patch("/api/bookings/4711", json={"status": status})
        answer = service.client.get("/api/bookings/4711/status-history")
        known = {"If-None-Match": f'"v{number}"'}

        assert [entry["toStatus"] for entry in answer.json()["history"]][-1] == status
        assert answer.headers["ETag"] == f'"v{number}"'
        same = service.client.get("/api/bookings/4711/status-history", headers=known)
        assert (same.status_code, same.content) == (304, b"")
        assert service.client.get("/api/bookings/4711").json()["status"] == status


def test_who_has_the_answer_and_who_has_not_take_turns() -> None:
    answer = an_answer()
    given = [answer.response(tag) for tag in (None, '"v1"', '"v0"', '"v1"', None)]

    assert [one.status_code for one in given] == [200, 304, 200, 304, 200]
    assert [one.body for one in given] == [answer.body, b"", answer.body, b"", answer.body]
    told = {"etag": '"v1"', "cache-control": "private, no-cache", "ledger-position": "1"}
    assert all(told.items() <= dict(one.headers).items() for one in given)
    assert all("content-length" not in one.headers for one in given if one.status_code == 304)
