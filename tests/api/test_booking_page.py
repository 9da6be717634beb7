"""The page of a booking: its history, as it is and as it was."""

import json
import re

import httpx
import pytest
from ledger_service import Service
from log_scenes import logging_on
from scenes import eventually
from web_pages import Document, page

from projections.evidence.verify_evidence import verify

MORE = ("earlier", "later")


def part(browser: httpx.Client, address: str) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """The versions on a page, and where else it leads."""
    document = page(browser.get(address))
    ids = [one.get("id") for tag, one in document.elements if tag == "a"]
    named = zip(ids, document.links, strict=True)
    links = {name: (text, href) for name, (href, text) in named if name in MORE}
    return re.findall(r"version (\d+) ·", document.visible), links


def downloads(document: Document) -> list[str]:
    """Where links lead that are for keeping what is there."""
    return [one["href"] for tag, one in document.elements if tag == "a" and "download" in one]


def test_the_timeline_tells_who_why_and_when(service: Service, browser: httpx.Client) -> None:
    service.open("4711", changedBy="anna", occurredAt="2026-03-01T10:30:00+01:00")
    service.change(
        "4711",
        "confirmed",
        changedBy="ben",
        reason="paid\nin cash",
        metadata={"amount": 12.5},
        occurredAt="2026-03-02T00:00:00Z",
    )
    service.change("4711", "cancelled", occurredAt="2026-03-03T00:00:00Z")
    document = page(browser.get("/bookings/4711"))
    text = re.sub(r"\s+", " ", document.visible)

    assert "4711" in document.text("title")[0]
    assert [tag for tag, _ in document.elements].count("li") == 3
    assert text.index("anna") < text.index("ben") < text.index("system")
    assert text.index("2026-03-01 09:30:00") < text.index("2026-03-02 00:00:00")
    for said in ("paid in cash", "amount", "12.5", "version 2", "key:admin key", "final"):
        assert said in text
    assert "can become" not in text


def test_its_evidence_is_at_hand_where_a_checkpoint_covers_it(
    service: Service, browser: httpx.Client
) -> None:
    service.open("room/12 é", changedBy="anna")
    address = "/bookings/room%2F12%20%C3%A9"
    before = page(browser.get(address))
    with logging_on(service.database):
        eventually(
            lambda: (
                service.client.get("/log/checkpoint").is_success
                and "In the signed log" in page(browser.get(address)).visible
            ),
            "a checkpoint over the booking",
        )
    assert downloads(before) == []
    (link,) = downloads(page(browser.get(address)))
    vkey = service.client.get("/log/vkey").text.strip()
    assert verify(browser.get(link).text, vkey)["booking"] == "room/12 é"


def test_it_says_what_the_booking_can_become(service: Service, browser: httpx.Client) -> None:
    service.open("4711")
    text = re.sub(r"\s+", " ", page(browser.get("/bookings/4711")).visible)

    assert "can become confirmed , cancelled" in text
    assert "1 entry" in text


def test_as_it_was_at_a_version(service: Service, browser: httpx.Client) -> None:
    service.open("4711", occurredAt="2026-03-01T00:00:00Z")
    service.change("4711", "confirmed", occurredAt="2026-03-03T04:00:00Z")
    service.change("4711", "cancelled", reason="ill", occurredAt="2026-03-03T05:00:00Z")
    now = page(browser.get("/bookings/4711"))
    then = page(browser.get("/bookings/4711?version=2"))
    steps = {one.get("rel"): one["href"] for tag, one in then.elements if tag == "a"}

    assert "2 d 4 h" in now.visible
    assert "ill" in now.visible
    assert "ill" not in then.visible.split()
    assert "at version 2 of 3" in re.sub(r"\s+", " ", then.visible)
    assert steps["prev"] == "/bookings/4711?version=1"
    assert steps["next"] == "/bookings/4711"  # as it is now, and follows what comes
    page(browser.get("/bookings/4711?version=4"), 404)
    page(browser.get("/bookings/4711?version=0"), 422)


@pytest.mark.parametrize(
    ("booking_id", "address"), [("4711", "/bookings/4711?"), ("..", "/open?id=..&")]
)
def test_a_long_history_is_told_in_parts(
    service: Service,
    browser: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    booking_id: str,
    address: str,
) -> None:
    monkeypatch.setattr("api.pages.booking.ENTRIES_SHOWN", 2)
    days = {"pending": "01", "confirmed": "02", "in_progress": "04", "completed": "05"}
    for status, day in days.items():
        said = {"status": status, "occurredAt": f"2026-03-{day}T00:00:00Z"}
        bulk = {"changes": [{"bookingId": booking_id, **said}]}
        assert service.client.post("/api/status-changes", json=bulk).is_success
    newest = address[:-1]

    assert part(browser, newest) == (
        ["3", "4"],
        {"earlier": ("Earlier entries (2)", f"{address}version=2")},
    )
    assert part(browser, f"{address}version=3") == (
        ["2", "3"],
        {
            "earlier": ("Earlier entries (1)", f"{address}version=1"),
            "later": ("Later entries (1)", newest),
        },
    )
    assert part(browser, f"{address}version=2") == (
        ["1", "2"],
        {"later": ("Later entries (2)", newest)},
    )
    assert part(browser, f"{address}version=1") == (
        ["1"],
        {"later": ("Later entries (3)", f"{address}version=3")},
    )
    # The next entry is not on the page, but says how long this one lasted.
    then = page(browser.get(f"{address}version=2"))
    assert "2 d in confirmed" in " ".join(then.visible.split())
    assert "4 entries" in " ".join(page(browser.get(newest)).visible.split())


def test_as_many_entries_as_a_page_has_are_all_on_it(
    service: Service, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.pages.booking.ENTRIES_SHOWN", 2)
    service.open("4711")
    service.change("4711", "confirmed")

    assert part(browser, "/bookings/4711") == (["1", "2"], {})


def test_entries_with_much_metadata_are_fewer_to_a_page(
    service: Service, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.pages.booking.METADATA_BYTES_SHOWN", 2_025)
    service.open("4711")
    service.change("4711", "confirmed", metadata={"text": "x" * 1_000})
    service.change("4711", "in_progress", metadata={"text": "x" * 1_000})
    service.change("4711", "completed", metadata={"text": "x" * 2_000})

    def parts(address: str, link: str) -> list[list[str]]:
        """The versions on a page, and on those that it leads to."""
        versions, links = part(browser, address)
        return [versions, *(parts(links[link][1], link) if link in links else ())]

    # Nothing is left out on the way back, or forth.
    assert parts("/bookings/4711", "earlier") == [["4"], ["2", "3"], ["1"]]
    assert parts("/bookings/4711?version=1", "later") == [["1"], ["2", "3"], ["4"]]


def test_the_raw_events_are_at_hand(service: Service, browser: httpx.Client) -> None:
    service.open("4711", metadata={"nested": {"<b>": [1, None]}})
    document = page(browser.get("/bookings/4711"))
    raw = json.loads(document.text("code")[0])

    assert raw == service.client.get("/api/events").json()["events"][0]
    assert '{\n  "<b>": [\n    1,\n    null\n  ]\n}' in document.text("bdi")


def test_an_unknown_one_is_a_readable_page(service: Service, browser: httpx.Client) -> None:
    document = page(browser.get("/bookings/nobody"), 404)

    assert document.text("h1") == ["Booking not found"]
    assert "'nobody'" in document.visible
    assert ("/", "Bookings") in document.links
    problem = service.client.get("/bookings/nobody")
    assert problem.headers["content-type"] == "application/problem+json"


def test_so_is_an_address_where_nothing_is(browser: httpx.Client) -> None:
    assert page(browser.get("/nowhere"), 404).text("h1") == ["Not found"]
    assert page(browser.get("/problems/unheard-of"), 404).text("h1") == ["Not found"]


def test_the_search_field_leads_there(service: Service, browser: httpx.Client) -> None:
    service.open("a/b c")
    answer = browser.get("/open", params={"id": " a/b c "})

    assert answer.status_code == 303
    assert page(browser.get(answer.headers["Location"])).text("title")[0].startswith("a/b c")
    assert browser.get("/open").headers["Location"] == "/"
    assert browser.get("/open?id=%20").headers["Location"] == "/"
    missing = browser.get("/open", params={"id": "x" * 300})
    assert page(browser.get(missing.headers["Location"]), 422).text("h1")
