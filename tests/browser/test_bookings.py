"""The pages in a real browser: what people do, with the mouse, with keys, on a phone."""

import re

import pytest
from browser_window import Window
from ledger_service import ADMIN_KEY, Service
from playwright.sync_api import Browser, Route, expect

pytestmark = pytest.mark.browser

HOSTILE = [
    "<script>document.title = 'taken'</script>",
    '"><img src=x onerror="document.title = \'taken\'">',
    "' autofocus onfocus='alert(1)",
    "{{7*7}} ${7*7} javascript:alert(1)",
    "\u202egnikoob\u2066\u200f \\u0000 %00 &#0;",
    "x" * 200,
]


def record(service: Service) -> None:
    service.open("4711", changedBy="anna", occurredAt="2026-03-01T00:00:00Z")
    service.change("4711", "confirmed", reason="paid", metadata={"rooms": [{"floor": 2}]})
    service.open("4712", changedBy="ben")


def test_search_booking_time_travel_and_a_live_change(
    service: Service, window: Window, look: str
) -> None:
    record(service)
    page = window.page
    page.goto("/")
    window.assert_fits()
    window.assert_accessible()
    window.keep(f"list-{look}")
    page.get_by_label("Changed by").fill("anna")
    page.get_by_role("button", name="Search").click()
    expect(page).to_have_url(re.compile(r"/\?who=anna$"))
    page.get_by_role("link", name="4711").click()
    timeline = page.locator(".timeline li")
    expect(timeline).to_have_count(2)
    page.locator("summary").first.click()
    window.assert_fits()
    window.assert_accessible()
    window.keep(f"booking-{look}")

    page.get_by_role("link", name="← Before").click()
    expect(page).to_have_url(re.compile(r"version=1$"))
    expect(timeline).to_have_count(1)
    expect(page.get_by_text("As it was on")).to_be_visible()
    window.assert_accessible()
    page.go_back()
    expect(timeline).to_have_count(2)

    service.change("4711", "cancelled", reason="ill")
    expect(timeline).to_have_count(3)
    expect(page.get_by_role("status")).to_have_text("Status is now cancelled.")
    expect(page.locator("h1 + .status")).to_have_text("cancelled")


def test_with_the_keyboard_alone(service: Service, window: Window) -> None:
    record(service)
    page = window.page
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.get_by_label("Booking id").focus()
    page.keyboard.type("4711")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/bookings/4711$"))
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile(r"version=1$"))
    expect(page.get_by_role("slider")).to_be_focused()
    expect(page.locator(".timeline li")).to_have_count(1)

    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"/bookings/4711$"))
    service.change("4711", "cancelled")
    expect(page.locator(".timeline li")).to_have_count(3)


def test_the_newest_version_goes_on_whatever_address_it_was_opened_by(
    service: Service, window: Window
) -> None:
    record(service)
    page = window.page
    page.goto("/bookings/4711?version=2")
    expect(page.locator(".timeline li")).to_have_count(2)
    service.change("4711", "cancelled")
    expect(page.locator(".timeline li")).to_have_count(3)
    expect(page).to_have_url(re.compile(r"/bookings/4711$"))
    expect(page.locator("h1 + .status")).to_have_text("cancelled")


def test_a_slider_moved_before_the_script_ran(service: Service, window: Window) -> None:
    record(service)
    page = window.page
    held: list[Route] = []
    page.route("**/booking*.js*", lambda route: held.append(route))  # noqa: PLW0108 - it marks its handler
    page.goto("/bookings/4711", wait_until="commit")
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("slider")).to_have_value("1")
    assert held
    held[0].continue_()
    expect(page).to_have_url(re.compile(r"version=1$"))
    expect(page.locator(".timeline li")).to_have_count(1)


def test_without_scripts_the_pages_say_the_same(chromium: Browser, service: Service) -> None:
    record(service)
    context = chromium.new_context(base_url=service.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/bookings/4711")
    page.get_by_label("Key").fill(ADMIN_KEY)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile(r"/bookings/4711$"))
    page.get_by_role("link", name="← Before").click()
    expect(page.locator(".timeline li")).to_have_count(1)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    context.close()


def test_the_log_in_page_is_accessible(service: Service, window: Window, look: str) -> None:
    page = window.page
    page.goto("/")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Key")).to_be_focused()
    window.assert_fits()
    window.assert_accessible()
    window.keep(f"login-{look}")
    window.complaints.clear()  # of the status 401


def test_hostile_texts_are_texts(service: Service, window: Window, look: str) -> None:
    for text in HOSTILE:
        said = {"changedBy": text, "reason": text, "metadata": {text: [text]}}
        service.open(text, **said).raise_for_status()
    page = window.page
    page.goto("/")
    window.assert_fits()
    expect(page.locator("a.id")).to_have_count(len(HOSTILE))
    hrefs = page.locator("a.id").evaluate_all("all => all.map(one => one.href)")
    for href, text in zip(hrefs, reversed(HOSTILE), strict=True):
        page.goto(href)
        window.assert_fits()
        assert page.locator("h1").text_content() == text
        assert page.locator("dd.said").first.text_content() == text
        assert page.title() != "taken"
        assert page.locator("main script, main img").count() == 0
