"""The web pages: behind a key, read-only, and nothing that anybody wrote is taken for HTML."""

import json
import re
from urllib.parse import quote, urljoin

import httpx
import pytest
from ledger_service import Service
from web_pages import HTML, booking_links, page

from api.pages import bookings


class TestTheList:
    def test_an_empty_ledger(self, browser: httpx.Client) -> None:
        assert "No booking yet." in page(browser.get("/")).visible

    def test_newest_change_first_with_status_and_times(
        self, service: Service, browser: httpx.Client
    ) -> None:
        service.open("1", occurredAt="2026-01-01T08:00:00Z")
        service.open("2", occurredAt="2026-01-02T08:00:00Z")
        service.change("1", "cancelled", occurredAt="2026-01-03T09:30:00Z")
        answer = browser.get("/")
        document = page(answer)

        assert [text for _, text in booking_links(document)] == ["1", "2"]
        assert document.text("time") == [
            *("2026-01-03 09:30", "2026-01-01 08:00"),
            *("2026-01-02 08:00", "2026-01-02 08:00"),
        ]
        assert 'class="status hue-4 final"><bdi>cancelled<' in answer.text
        assert 'class="status hue-0"><bdi>pending<' in answer.text

    def test_what_was_just_recorded_is_on_it(self, service: Service, browser: httpx.Client) -> None:
        for number in range(10):
            service.open(f"b{number}")
            assert booking_links(page(browser.get("/")))[0][1] == f"b{number}"

    def test_links_filter_by_status(self, service: Service, browser: httpx.Client) -> None:
        service.open("1")
        service.open("2", status="in_progress")
        found = {}
        document = page(browser.get("/"))
        for href, text in document.links:
            if text in ("all", "pending", "in_progress", "completed"):
                filtered = page(browser.get(href))
                found[text] = {name for _, name in booking_links(filtered)}
                current = [
                    a["href"] for tag, a in filtered.elements if a.get("aria-current") == "true"
                ]
                assert current == [href]

        assert found == {
            "all": {"1", "2"},
            "pending": {"1"},
            "in_progress": {"2"},
            "completed": set(),
        }
        assert "No booking has the status completed ." in page(
            browser.get("/?status=completed")
        ).visible.replace("  ", " ")

    @pytest.mark.parametrize("query", ["", "status=pending"])
    def test_pages_lead_through_every_booking_once(
        self, service: Service, browser: httpx.Client, query: str
    ) -> None:
        changes = [{"bookingId": f"b{number}", "status": "pending"} for number in range(120)]
        service.client.post("/api/status-changes", json={"changes": changes}).raise_for_status()
        url: str | None = f"/?{query}"
        seen = []
        sizes = []
        while url is not None:
            document = page(browser.get(url))
            names = [text for _, text in booking_links(document)]
            seen += names
            sizes.append(len(names))
            ways = {
                attributes.get("rel"): attributes["href"]
                for tag, attributes in document.elements
                if tag == "a"
            }
            assert ("first" in ways) == (len(sizes) > 1)
            url = ways.get("next")
            assert url is None or query in url

        assert sizes == [50, 50, 20]
        assert sorted(seen) == sorted(f"b{number}" for number in range(120))

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ("toStatus=pending&status=confirmed", "Changes back to 2026-01-03 08:00 UTC"),
            ("id=b&status=confirmed", "Bookings up to b3"),
        ],
    )
    def test_what_few_bookings_are_is_looked_for_in_steps(
        self,
        service: Service,
        browser: httpx.Client,
        monkeypatch: pytest.MonkeyPatch,
        asked: str,
        said: str,
    ) -> None:
        monkeypatch.setattr(bookings, "LOOKED_THROUGH", 3)
        for day in range(1, 6):
            number = day if asked.startswith("id") else 6 - day
            service.open(f"b{number}", occurredAt=f"2026-01-0{day}T08:00:00Z")
        service.change("b5", "confirmed", occurredAt="2026-01-09T08:00:00Z")

        first = page(browser.get(f"/?{asked}"))
        assert f"{said} were looked through" in " ".join(first.visible.split())
        (further,) = [href for href, text in first.links if text == "Look further"]
        second = page(browser.get(further))

        assert [text for _, text in booking_links(second)] == ["b5"]
        assert "Look further" not in second.visible

    def test_what_was_on_earlier_pages_is_not_denied(
        self, service: Service, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bookings, "LOOKED_THROUGH", 2)
        for number in (1, 2, 3, 4, 5):
            service.open(f"b{number}", status="confirmed" if number == 1 else "pending")

        pages = [page(browser.get("/?id=b&status=confirmed"))]
        while more := [href for href, text in pages[-1].links if text == "More →"]:
            pages.append(page(browser.get(more[0])))

        assert [len(booking_links(one)) for one in pages] == [1, 0, 0]
        assert "None further so far" in pages[1].visible
        assert "No more" in pages[2].visible
        assert all("No booking" not in one.visible for one in pages)

    def test_a_query_that_is_not_valid_is_explained_on_a_page(self, browser: httpx.Client) -> None:
        for query in ("cursor=x", "status=", "status=%00"):
            document = page(browser.get(f"/?{query}"), 422)

            assert query.partition("=")[0] in document.visible

    def test_the_form_leads_to_an_address_of_what_was_filled_in(
        self, service: Service, browser: httpx.Client
    ) -> None:
        service.open("a-1", changedBy="anna")
        service.open("a-2", changedBy="ben")
        answer = browser.get("/find?id=a-&who=anna&since=&until=%20&status=")

        assert (answer.status_code, answer.headers["Location"]) == (303, "/?id=a-&who=anna")
        document = page(browser.get(answer.headers["Location"]))
        assert [text for _, text in booking_links(document)] == ["a-1"]
        assert browser.get("/?id=a-1").headers["Location"] == "/bookings/a-1"

    def test_the_day_that_a_period_ends_with_belongs_to_it(
        self, service: Service, browser: httpx.Client
    ) -> None:
        service.open("1", occurredAt="2026-01-02T23:59:59Z")
        for query, fits in (
            ("since=2026-01-02&until=2026-01-02", True),
            ("until=2026-01-01", False),
            ("until=2026-01-02T23:59:59Z", False),
            ("since=2026-01-03", False),
        ):
            assert bool(booking_links(page(browser.get(f"/?{query}")))) == fits, query
        for query in ("since=yesterday", "until=2026-02-30", "until=20260101T0"):
            page(browser.get(f"/?{query}"), 422)

    def test_without_a_projector_it_says_so(
        self, unprojected: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.pages.bookings.FRESH_SECONDS", 0.1)
        unprojected.open("4711")
        answer = unprojected.client.get("/", headers=HTML)

        assert page(answer, 503).text("h1") == ["Read model behind"]
        assert answer.headers["Retry-After"] == "1"
        assert "4711" in page(unprojected.client.get("/bookings/4711", headers=HTML)).visible


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus='alert(1)",
    "{{7*7}}{% raw %}${7*7}",
    "</title></style><script>alert(1)</script>",
    "&lt;b&gt; &amp; &#x3C;",
    "\u202egnikoob\u2066\u200f",
    "javascript:alert(1)",
    "//evil.example/x",
    "../../logout",
    "a/b/../c",
    "a%2Fb%00",
    "?status=x&y#z",
    "..",
    ".",
    " lead and trail ",
    "x" * 200,
    "長い" * 100,
    "👩‍👩‍👧" * 25,
    "\\..\\a;b=c",
]


class TestHostileTexts:
    """`page` looks for elements and attributes that none of our templates has."""

    def test_links_lead_to_the_right_booking_and_all_stands_there_as_it_was_said(
        self, service: Service, browser: httpx.Client
    ) -> None:
        for text in HOSTILE:
            said = {"changedBy": text, "reason": text, "metadata": {text: [text]}}
            service.open(text, **said).raise_for_status()
        links = booking_links(page(browser.get("/")))
        assert sorted(text for _, text in links) == sorted(HOSTILE)

        for href, text in links:
            assert urljoin("http://x/", href).startswith("http://x/")
            document = page(browser.get(as_browsers_go(href)))
            isolated = document.text("bdi")
            assert "".join(document.text("title")) == f"{text} · Booking Ledger"
            assert isolated.count(text) == 4  # id, who, why, a name: whichever way they run
            assert json.dumps([text], ensure_ascii=False, indent=2) in isolated

    def test_in_the_filter_and_in_errors(self, browser: httpx.Client) -> None:
        for text in HOSTILE:
            filtered = page(browser.get("/", params={"status": text[:100]}))
            assert text[:100] in filtered.text("bdi")
            for href, _ in filtered.links:
                assert urljoin("http://x/", href).startswith("http://x/")

            unknown = quote(f"{text[:199]}y", safe="")
            missing = page(browser.get(f"/bookings/{unknown}"), 404)
            assert missing.text("h1") == ["Booking not found"]


def as_browsers_go(href: str) -> str:
    """A browser resolves dots in a path, encoded or not, before it asks (WHATWG URL)."""
    path = href.partition("?")[0]
    segments = [one.lower().replace("%2e", ".") for one in path.split("/")]
    assert not {".", ".."} & set(segments), href
    return href


def test_large_files_are_sent_small_to_who_takes_them(browser: httpx.Client) -> None:
    (script,) = re.findall(r'src="(/static/[^"]+/chart.js)"', browser.get("/flow").text)

    small = browser.get(script, headers={"Accept-Encoding": "gzip"})
    whole = browser.get(script, headers={"Accept-Encoding": "identity"})

    assert small.content == whole.content  # httpx has unpacked it
    assert b"Chart.js v4" in whole.content[:100]
    assert (small.headers["Content-Encoding"], small.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert int(small.headers["Content-Length"]) < len(whole.content) / 4
    assert "Content-Encoding" not in whole.headers
    assert whole.headers["Vary"] == "Accept-Encoding"
