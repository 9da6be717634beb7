"""A window of a real browser, which hears what the browser complains of."""

from pathlib import Path
from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
REPORTED = {"serious", "critical", "moderate"}


class Window:
    """A window of the browser, and what it complained of: nothing, as each test sees to."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def keep(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def assert_accessible(self) -> None:
        """In the light and in the dark; then it is as bright as before."""
        is_dark = self.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        for dark in (not is_dark, is_dark):
            brightness: Literal["light", "dark"] = "dark" if dark else "light"
            # Half-way between two colours there is no contrast.
            self.page.emulate_media(color_scheme=brightness, reduced_motion="reduce")
            assert self._violations() == [], brightness

    def _violations(self) -> list[tuple[str, list[str]]]:
        return [
            (one["id"], [node["html"][:120] for node in one["nodes"]])
            for one in Axe().run(self.page).response["violations"]
            if one["impact"] in REPORTED
        ]

    def assert_fits(self) -> None:
        """Nothing makes the page scroll sideways, once its style sheets are there: what it says
        can be read before."""
        self.page.wait_for_load_state("load")
        beyond = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert beyond <= 0, beyond
