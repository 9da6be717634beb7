"""The flow page: the same numbers as the figures over HTTP, and links to what they count."""

import html

import httpx
import pytest
from ledger_service import Service
from web_pages import booking_links, page

from api.pages.bookings import Asked
from api.pages.flow import Step
from api.pages.flow_map import EDGES_MAX, HEIGHT, WIDTH, draw
from api.pages.rendering import page as page_of
from projections.analytics.transitions import Transition


def record(service: Service) -> None:
    for number in range(3):
        service.open(f"b{number}", occurredAt="2026-01-01T08:00:00Z")
        service.change(f"b{number}", "confirmed", occurredAt=f"2026-01-0{number + 2}T08:00:00Z")
    service.change("b2", "cancelled", occurredAt="2026-02-01T08:00:00Z")


def test_an_empty_ledger(browser: httpx.Client) -> None:
    assert "Nothing happened yet." in page(browser.get("/flow")).visible


def test_numbers_are_those_of_the_figures_and_lead_to_their_bookings(
    service: Service, browser: httpx.Client
) -> None:
    record(service)
    figures = service.client.get("/api/analytics/transitions").json()["transitions"]

    text = browser.get("/flow").text

    assert "3 opened, 4 changes" in text
    assert "3 · 2 d" in text  # pending to confirmed: after one, two and three days
    steps = [one for one in figures if one["from"] is not None]
    assert len(steps) == 2
    for one in steps:
        href = f"/?fromStatus={one['from']}&toStatus={one['to']}"
        assert html.escape(href) in text
        assert len(booking_links(page(browser.get(href)))) == one["count"]


def test_a_period_chooses_what_occurred_in_it_and_goes_along(
    service: Service, browser: httpx.Client
) -> None:
    record(service)

    text = browser.get("/flow?since=2026-01-03&until=2026-01-31").text

    assert "0 opened, 2 changes in the period" in text
    assert "since=2026-01-03&amp;until=2026-01-31" in text
    assert "cancelled" not in text
    assert "0 opened, 0 changes" not in browser.get("/flow?since=&until=").text


@pytest.mark.parametrize("name", ["since", "until"])
def test_a_time_that_is_none_is_refused_by_name(browser: httpx.Client, name: str) -> None:
    answer = browser.get(f"/flow?{name}=soon")

    assert answer.status_code == 422
    assert name in answer.text


def transition(from_status: str | None, to_status: str, changes: int = 1) -> Transition:
    return Transition(None, from_status, to_status, changes, None, None, None, None)


def test_columns_are_by_the_distance_from_a_first_status() -> None:
    drawn = draw(
        [
            transition(None, "a", 9),
            transition("a", "b", 5),
            transition("b", "c", 4),
            transition("a", "c"),
            transition("c", "a"),
            transition("b", "b2"),
        ]
    )
    x = {box.status: box.x for box in drawn.boxes}

    assert x["a"] < x["b"] == x["c"] < x["b2"]
    assert {box.status: box.entered for box in drawn.boxes}["c"] == 5
    assert drawn.lines[0].stroke == max(line.stroke for line in drawn.lines)
    assert all(0 <= box.x <= drawn.width and 0 <= box.y <= drawn.height for box in drawn.boxes)
    places = [(box.x, box.y) for box in drawn.boxes]
    assert len(set(places)) == len(places)


def test_statuses_that_only_go_round_have_a_place_too() -> None:
    drawn = draw([transition("a", "b"), transition("b", "a"), transition("x", "y")])

    assert {box.status for box in drawn.boxes} == {"a", "b", "x", "y"}
    assert len(drawn.lines) == 3


def test_only_the_most_frequent_are_drawn_and_it_is_said_how_many_are_not() -> None:
    drawn = draw([transition("a", f"s{n}", n + 1) for n in range(EDGES_MAX + 5)])

    assert len(drawn.lines) == EDGES_MAX
    assert drawn.left_out == 5
    assert min(line.transition.changes for line in drawn.lines) == 6


def test_status_names_are_only_text_in_the_drawing() -> None:
    hostile = "</text><script>alert(1)</script>"
    rows = [transition(None, hostile), transition(hostile, '"><a href="javascript:x')]
    steps = [Step(row, None, "/") for row in rows]

    text = page_of(
        "flow",
        asked=Asked(*[None] * 7),
        steps=steps,
        hrefs={(step.row.from_status, step.row.to_status): step for step in steps},
        entered={},
        stays=[],
        unit="day",
        bars=[],
        periods=[],
        map=draw(rows),
        box=(WIDTH, HEIGHT),
        changes=1,
        opened=1,
        position=2,
        renewing=False,
    ).body.decode()

    assert "<script" not in text
    assert "&lt;/text&gt;" in text
    assert 'href="javascript' not in text


def test_an_empty_field_of_the_form_filters_nothing(
    service: Service, browser: httpx.Client
) -> None:
    record(service)

    answer = browser.get("/flow?since=2026-02-01&until=")

    assert answer.status_code == 200
    assert "0 opened, 1 changes in the period" in answer.text
