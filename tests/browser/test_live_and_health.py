"""The pages for what happens now, and for how the ledger is doing, in a real browser."""

import pytest
from browser_window import Window
from ledger_service import ADMIN_KEY, Service
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
    expect(page.locator(".connection.on")).to_have_text("Live", timeout=15_000)
    window.complaints.clear()  # of the network that was away


def test_a_change_that_could_not_be_shown_is_shown_later(service: Service, window: Window) -> None:
    """The feed came through and the page did not: the feed tells of each change once."""
    service.open("4711")
    page = window.page
    page.goto("/live")
    expect(page.locator(".connection.on")).to_be_visible()
    page.route("**/live", lambda route: route.abort())
    service.open("4712")
    expect(page.get_by_text("Connection lost")).to_be_visible()
    page.unroute("**/live")
    page.route("**/live", lambda route: route.fulfill(status=503, body="busy"), times=1)

    expect(page.locator(".feed li")).to_have_count(2, timeout=15_000)
    expect(page.locator(".connection.on")).to_have_text("Live")
    window.complaints.clear()  # of what was refused


@pytest.mark.parametrize(
    ("address", "told"), [("/live", ".feed"), ("/bookings/4711", "#announcement")]
)
def test_a_refused_feed_is_asked_for_again(
    service: Service, window: Window, address: str, told: str
) -> None:
    """A browser gives up for good at an answer that is no stream."""
    service.open("4711")
    page = window.page
    page.route(
        "**/api/events/stream*", lambda route: route.fulfill(status=503, body="busy"), times=1
    )
    page.goto(address)
    assert service.change("4711", "confirmed").is_success
    expect(page.locator(told)).to_contain_text("confirmed", timeout=15_000)
    assert len(window.complaints) == 1, window.complaints
    window.complaints.clear()  # of what was refused


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


def log_in_with_another_key(service: Service, window: Window) -> str:
    """The id of the key."""
    made = service.client.post("/api/keys", json={"name": "a guest", "role": "reader"}).json()
    window.page.context.clear_cookies()
    window.page.context.request.post("/login", form={"key": made["secret"]})
    return str(made["id"])


@pytest.mark.parametrize("address", ["/live", "/bookings/4711"])
def test_when_the_key_is_revoked_the_page_says_so_and_asks_no_more(
    service: Service, window: Window, address: str
) -> None:
    service.open("4711")
    key = log_in_with_another_key(service, window)
    page = window.page
    # A stream that is open stays so until one side closes it; this one is not.
    page.route(
        "**/api/events/stream*", lambda route: route.fulfill(status=503, body="busy"), times=1
    )
    page.goto(address)
    expect(page.get_by_role("alert")).to_be_hidden()
    service.client.delete(f"/api/keys/{key}").raise_for_status()

    notice = page.get_by_role("alert")
    expect(notice).to_contain_text("the key was revoked", timeout=20_000)
    window.assert_fits()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(4_500)
    assert asked == []
    notice.get_by_role("link", name="Log in again").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.get_by_label("Key").fill(ADMIN_KEY)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{service.url}{address}")
    window.complaints.clear()  # of the status 401


def test_health_says_when_the_key_is_revoked_and_asks_no_more(
    service: Service, window: Window
) -> None:
    key = log_in_with_another_key(service, window)
    page = window.page
    page.goto("/health")
    service.client.delete(f"/api/keys/{key}").raise_for_status()
    expect(page.get_by_role("alert")).to_contain_text("the key was revoked", timeout=9_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(6_000)
    assert asked == []
    window.complaints.clear()  # of the status 401
