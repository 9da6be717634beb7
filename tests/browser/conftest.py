"""Debian's Chromium, logged in to a service over real HTTP."""

import os
import shutil
from collections.abc import Iterator

import pytest
from browser_window import Window
from ledger_service import ADMIN_KEY, Service
from playwright.sync_api import Browser, sync_playwright
from service_fixtures import figures_never_dear, projecting, service, unprojected

__all__ = ["figures_never_dear", "projecting", "service", "unprojected"]

CHROMIUM = "chromium"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Ended with each module: while it is there, its event loop runs in the thread of the tests,
    and those of other modules could start none."""
    executable = shutil.which(CHROMIUM)
    if executable is None:
        if os.environ.get("LEDGER_TEST_BROWSER"):
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


LOOKS = {
    "desk-light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "phone-dark": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def window(chromium: Browser, service: Service, request: pytest.FixtureRequest) -> Iterator[Window]:
    """Logged in; as large and as bright as `look` says, where a test asks for it."""
    look = request.getfixturevalue("look") if "look" in request.fixturenames else "desk-light"
    context = chromium.new_context(base_url=service.url, **LOOKS[look])
    context.request.post("/login", form={"key": ADMIN_KEY})
    found = Window(context)
    yield found
    context.close()
    assert found.complaints == []
