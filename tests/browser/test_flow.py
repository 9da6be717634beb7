"""The flow page in a real browser."""

import re

import pytest
from browser_window import Window
from ledger_service import ADMIN_KEY, Service
from playwright.sync_api import Browser, expect

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("figures_never_dear")]


def test_from_the_map_to_the_bookings_behind_a_number(
    service: Service, window: Window, look: str
) -> None:
    for number in range(3):
        service.open(f"b{number}", occurredAt="2026-03-01T00:00:00Z")
        service.change(f"b{number}", "confirmed", occurredAt="2026-03-03T00:00:00Z")
    service.change("b0", "cancelled", occurredAt="2026-03-04T00:00:00Z")
    page = window.page
    page.goto("/")
    page.get_by_role("link", name="Flow", exact=True).click()
    expect(page.get_by_role("heading", name="Flow")).to_be_visible()
    window.assert_fits()
    window.assert_accessible()
    window.keep(f"flow-{look}")

    page.locator("svg a", has_text="3 · 2 d").click()
    expect(page).to_have_url(re.compile(r"fromStatus=pending&toStatus=confirmed$"))
    expect(page.locator(".bookings tbody tr")).to_have_count(3)

    page.go_back()
    page.get_by_label("From UTC").fill("2026-03-04")
    page.keyboard.press("Enter")
    expect(page.get_by_text("0 opened, 1 changes in the period")).to_be_visible()
    page.get_by_role("link", name="All time").click()
    expect(page).to_have_url(re.compile(r"/flow$"))


def fill_days(service: Service) -> None:
    """They are looked for by these changes, not by their latest ones."""
    for day in (1, 2, 4):
        for number in range(day):
            service.open(f"b{day}-{number}", occurredAt=f"2026-03-0{day}T10:00:00Z")
    service.change("b2-0", "confirmed", occurredAt="2026-03-05T10:00:00Z")


def test_the_chart_by_mouse(service: Service, window: Window, look: str) -> None:
    fill_days(service)
    page = window.page
    page.goto("/flow")
    canvas = page.locator("#plot canvas")
    expect(canvas).to_be_visible()
    expect(page.locator("#drawn")).to_be_hidden()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2)
    window.keep(f"flow-chart-{look}")
    page.mouse.click(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2)
    expect(page).to_have_url(re.compile(r"/\?since=2026-03-04&until=2026-03-04&change=any$"))
    expect(page.locator(".bookings tbody tr")).to_have_count(4)


def test_the_chart_by_keyboard(service: Service, window: Window) -> None:
    fill_days(service)
    page = window.page
    page.goto("/flow")
    slider = page.get_by_role("slider", name="Changes a day")
    for key, told in (
        ("ArrowLeft", "2026-03-04: 4 changes, 4 opened"),
        ("ArrowLeft", "2026-03-03: 0 changes, 0 opened"),
        ("ArrowLeft", "2026-03-02: 2 changes, 2 opened"),
        ("Home", "2026-03-01: 1 changes, 1 opened"),
        ("ArrowLeft", "2026-03-01: 1 changes, 1 opened"),
        ("End", "2026-03-05: 1 changes, 0 opened"),
        ("ArrowDown", "2026-03-04: 4 changes, 4 opened"),
        ("ArrowDown", "2026-03-03: 0 changes, 0 opened"),
        ("ArrowDown", "2026-03-02: 2 changes, 2 opened"),
    ):
        slider.press(key)
        expect(slider).to_have_attribute("aria-valuetext", told)
    slider.press("Enter")
    expect(page).to_have_url(re.compile(r"/\?since=2026-03-02&until=2026-03-02&change=any$"))


def test_without_scripts_the_bars_are_links(chromium: Browser, service: Service) -> None:
    fill_days(service)
    context = chromium.new_context(base_url=service.url, java_script_enabled=False)
    context.request.post("/login", form={"key": ADMIN_KEY})
    page = context.new_page()
    page.goto("/flow")
    expect(page.locator("#plot")).to_be_hidden()
    bars = page.locator("svg.volume a")
    expect(bars).to_have_count(5)
    bars.nth(1).locator(".hit").click()
    expect(page).to_have_url(re.compile(r"/\?since=2026-03-02&until=2026-03-02&change=any$"))
    expect(page.locator(".bookings tbody tr")).to_have_count(2)
    context.close()
