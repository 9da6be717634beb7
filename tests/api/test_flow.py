"""The flow page: the same numbers as the figures over HTTP, and links to what they count."""

import html
import re
from collections.abc import Iterator
from itertools import combinations

import httpx
import pytest
from ledger_service import Service
from web_pages import booking_links, page

from api.pages.bookings import Asked
from api.pages.flow import Step
from api.pages.flow_map import EDGES_MAX, HEIGHT, WIDTH, FlowMap, Line, draw
from api.pages.rendering import page as page_of
from projections.analytics.transitions import Transition

pytestmark = pytest.mark.usefixtures("figures_never_dear")


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


def test_a_status_stands_left_of_what_follows_it() -> None:
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

    assert x["a"] < x["b"] < x["c"] == x["b2"]
    assert {box.status: box.entered for box in drawn.boxes}["c"] == 5
    assert drawn.lines[0].stroke == max(line.stroke for line in drawn.lines)
    assert all(0 <= box.x <= drawn.width and 0 <= box.y <= drawn.height for box in drawn.boxes)
    places = [(box.x, box.y) for box in drawn.boxes]
    assert len(set(places)) == len(places)


def test_statuses_that_only_go_round_have_a_place_too() -> None:
    drawn = draw([transition("a", "b"), transition("b", "a"), transition("x", "y")])

    assert {box.status for box in drawn.boxes} == {"a", "b", "x", "y"}
    assert len(drawn.lines) == 3


MANY = [
    *("new quoted", "new lost", "quoted booked", "quoted lost", "quoted expired", "expired new"),
    *("booked confirmed", "booked canceled", "booked in", "new booked", "confirmed paid"),
    *("confirmed canceled", "confirmed held", "held confirmed", "paid in", "paid no-show"),
    *("paid canceled", "in out", "out closed", "no-show closed", "canceled refunded"),
    *("refunded closed", "closed new"),
]


def many() -> FlowMap:
    rows = [transition(*step.split(), changes=1000 - n * 37) for n, step in enumerate(MANY)]
    return draw([transition(None, "new", 900), *rows])


def points(line: Line) -> Iterator[tuple[float, float]]:
    """Along its curves, from corner to corner."""
    numbers = [float(one) for one in re.findall(r"-?[0-9.]+", line.path)]
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    for first in range(0, len(pairs) - 1, 3):
        a, b, c, d = pairs[first : first + 4]
        for step in range(51):
            t, u = step / 50, 1 - step / 50
            weights = (u**3, 3 * u * u * t, 3 * u * t * t, t**3)
            x, y = (
                sum(w * p[axis] for w, p in zip(weights, (a, b, c, d), strict=True))
                for axis in (0, 1)
            )
            yield x, y


def test_no_line_crosses_a_box_that_it_does_not_belong_to() -> None:
    drawn = many()

    assert len(drawn.lines) == len(MANY)
    for line in drawn.lines:
        ends = (line.transition.from_status, line.transition.to_status)
        for box in drawn.boxes:
            if box.status in ends:
                continue
            assert not any(
                box.x < x < box.x + WIDTH and box.y < y < box.y + HEIGHT for x, y in points(line)
            ), (ends, box.status)
    for line in drawn.lines:
        assert all(0 < x < drawn.width and 0 < y < drawn.height for x, y in points(line))


def test_boxes_and_numbers_do_not_stand_on_each_other() -> None:
    drawn = many()

    for one, other in combinations(drawn.boxes, 2):
        assert abs(one.x - other.x) >= WIDTH or abs(one.y - other.y) >= HEIGHT
    for here, there in combinations(drawn.lines, 2):
        assert abs(here.x - there.x) > 100 or abs(here.y - there.y) > 14


def test_the_same_flow_is_drawn_the_same_each_time() -> None:
    assert [many() for _ in range(10)] == [many()] * 10


def test_a_flow_without_transitions_is_its_first_statuses() -> None:
    drawn = draw([transition(None, "a", 3), transition(None, "b")])

    assert [(box.status, box.entered) for box in drawn.boxes] == [("a", 3), ("b", 1)]
    assert (drawn.lines, draw([]).boxes) == ([], [])


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

    assert "<script>" not in text
    assert "&lt;/text&gt;" in text
    assert 'href="javascript' not in text


def test_an_empty_field_of_the_form_filters_nothing(
    service: Service, browser: httpx.Client
) -> None:
    record(service)

    answer = browser.get("/flow?since=2026-02-01&until=")

    assert answer.status_code == 200
    assert "0 opened, 1 changes in the period" in answer.text
