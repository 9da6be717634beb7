"""The pages for what happens now, and for how the ledger is doing, in a real browser."""

import pytest
from browser_window import Window
from ledger_service import Service
from log_scenes import logging_on
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=document.title='taken'>"


def test_changes_appear_as_they_come(service: Service, window: Window, look: str) -> None:
    service.open("4711", changedBy="anna", reason="walk-in")
    page = window.page
    page.goto("/live")
    expect(page.get_by_text("Live", exact=True).last).to_be_visible()
    expect(page.locator(".connection.on")).to_be_visible()
    expect(page.locator(".feed li")).to_have_count(1)

    service.open("4712", changedBy=HOSTILE, reason=HOSTILE)
    expect(page.locator(".feed li")).to_have_count(2)
    first = page.locator(".feed li").first
    expect(first).to_have_class("new")
    expect(first).to_contain_text(HOSTILE)
    assert page.title() != "taken"
    window.assert_fits()
    window.assert_accessible()
    window.keep(f"live-{look}")

    first.get_by_role("link").click()
    expect(page.get_by_role("heading", name="4712")).to_be_visible()


def test_it_can_be_paused(service: Service, window: Window) -> None:
    service.open("4711")
    page = window.page
    page.goto("/live")
    expect(page.locator(".connection.on")).to_be_visible()
    page.get_by_role("button", name="Pause").press("Enter")
    service.open("4712")
    expect(page.get_by_text("Paused; 1 more since")).to_be_visible()
    expect(page.locator(".feed li")).to_have_count(1)

    page.get_by_role("button", name="Go on").press("Enter")
    expect(page.locator(".feed li")).to_have_count(2)


def test_after_a_lost_connection_nothing_is_missed(service: Service, window: Window) -> None:
    service.open("4711")
    page = window.page
    page.goto("/live")
    expect(page.locator(".connection.on")).to_be_visible()

    page.context.set_offline(True)
    service.open("4712")
    page.wait_for_timeout(300)
    page.context.set_offline(False)

    expect(page.locator(".feed li")).to_have_count(2, timeout=15_000)
    window.complaints.clear()  # of the network that was away


def test_an_erasure_is_told_and_shown(service: Service, window: Window) -> None:
    service.open("4711", changedBy="Zoë Quackenbush")
    page = window.page
    page.goto("/live")
    expect(page.locator(".feed")).to_contain_text("Quackenbush")
    expect(page.locator(".connection.on")).to_be_visible()

    service.client.delete("/api/bookings/4711/personal-data", params={"reason": "request 7"})
    expect(page.locator(".feed li").first).to_contain_text("Personal data erased")
    expect(page.locator(".feed")).not_to_contain_text("Quackenbush")


def test_health_says_where_all_is(service: Service, window: Window, look: str) -> None:
    for number in range(3):
        service.open(f"b{number}")
    with logging_on(service.database):
        page = window.page
        page.goto("/health")
        expect(page.get_by_role("heading", name="Health")).to_be_visible()
        expect(page.get_by_text("All is well")).to_be_visible()
        expect(page.locator(".figures .card", has_text="Last minute")).to_contain_text("3")
        service.open("b3")
        expect(page.locator(".figures .card", has_text="Events")).to_contain_text(
            "4", timeout=9_000
        )
        window.assert_fits()
        window.assert_accessible()
        window.keep(f"health-{look}")


def test_health_names_what_failed(service: Service, window: Window) -> None:
    with service.database.connect() as connection:
        connection.execute(
            "UPDATE projection SET failed_at = now(), failure = %s WHERE name = 'log'", (HOSTILE,)
        )
        connection.execute(
            "INSERT INTO projection (name, version, position, failed_at, failure) "
            "VALUES ('log', 1, 0, now(), %s) ON CONFLICT DO NOTHING",
            (HOSTILE,),
        )
    page = window.page
    page.goto("/health")
    expect(page.get_by_role("status")).to_contain_text("Degraded: Log")
    expect(page.get_by_text(HOSTILE)).to_be_visible()
    assert page.title() != "taken"
