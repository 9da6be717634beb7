"""The flow page in a real browser."""

import re

import pytest
from browser_window import Window
from ledger_service import Service
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


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
