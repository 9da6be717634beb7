"""The web pages: behind a key, read-only, and nothing that anybody wrote is taken for HTML."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote, urljoin

import httpx
import pytest
from ledger_service import ADMIN_KEY, Service

from api.keys import KeyRing

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
VOID = {"meta", "link", "input", "br", "img"}


class Document(HTMLParser):
    """A page as a browser would see it: its elements, links, and text by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.links: list[tuple[str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, dict(attrs)))
        if tag == "a":
            self.links.append((dict(attrs)["href"] or "", ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self._open]
        self.texts.append((tags[-1] if tags else "", data))
        if "a" in tags:
            href, text = self.links[-1]
            self.links[-1] = (href, text + data)

    def text(self, tag: str) -> list[str]:
        return [data for name, data in self.texts if name == tag]

    @property
    def visible(self) -> str:
        return " ".join(data for tag, data in self.texts if tag not in ("style", "title"))


def page(answer: httpx.Response, status: int = 200) -> Document:
    """A page, with what every page must have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "script-src 'self'; " in policy
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    document = Document(answer.text)
    names = {name for _, attributes in document.elements for name in attributes}
    scripts = [attributes for tag, attributes in document.elements if tag == "script"]
    assert all((one["src"] or "").startswith("/static/") for one in scripts)
    assert not document.text("script")
    assert not {name for name in names if name.startswith("on") or name == "style"}
    return document


@pytest.fixture
def _deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that hears nothing of revoked keys."""
    monkeypatch.setattr(KeyRing, "_follow", lambda ring, _: ring._closing.wait())


@pytest.fixture
def stranger(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, headers=HTML) as client:
        yield client


@pytest.fixture
def browser(stranger: httpx.Client) -> httpx.Client:
    """Logged in with the link."""
    stranger.get("/login", params={"key": ADMIN_KEY})
    return stranger


def booking_links(document: Document) -> list[tuple[str, str]]:
    return [
        (href, text) for href, text in document.links if href.startswith(("/bookings/", "/open"))
    ]


class TestLoggingIn:
    def test_a_browser_without_a_key_gets_a_page_to_log_in(self, stranger: httpx.Client) -> None:
        for path in ("/", "/bookings/4711", "/nowhere", "/problems", "/login", "/logout"):
            document = page(stranger.get(path), 401)
            fields = [attributes for tag, attributes in document.elements if tag == "input"]

            assert document.text("h1") == ["Log in"]
            assert [(one["name"], one["type"]) for one in fields] == [("key", "password")]
            assert "not known" not in document.visible

    def test_nothing_of_the_ledger_is_on_it(self, service: Service, stranger: httpx.Client) -> None:
        service.open("4711")

        assert "4711" not in stranger.get("/").text

    def test_its_style_is_served_to_strangers_and_kept_by_browsers(
        self, stranger: httpx.Client
    ) -> None:
        document = page(stranger.get("/"), 401)
        hrefs = [one["href"] for tag, one in document.elements if tag == "link"]

        assert len(hrefs) == 3
        for href in hrefs:
            answer = stranger.get(str(href))
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert stranger.get("/static/0000000000000000/layout.css").status_code == 404
        assert stranger.get("/static/../api/bookings").status_code == 401

    def test_programs_get_a_problem_instead(self, service: Service) -> None:
        with service.without_key() as nobody:
            assert nobody.get("/").headers["content-type"] == "application/problem+json"
            answer = nobody.get("/api/bookings", headers=HTML)
            assert answer.headers["content-type"] == "application/problem+json"

    def test_the_link_keeps_the_key_in_a_cookie_that_scripts_and_other_sites_have_not(
        self, stranger: httpx.Client
    ) -> None:
        answer = stranger.get("/login", params={"key": ADMIN_KEY})

        assert answer.status_code == 303
        assert answer.headers["Location"] == "/"
        assert answer.headers["Cache-Control"] == "no-store"
        attributes = answer.headers["Set-Cookie"].lower().split("; ")
        assert {"httponly", "samesite=lax", "path=/"} <= set(attributes)
        assert page(stranger.get("/")).text("h1") == ["Bookings"]

    def test_the_cookie_goes_over_tls_alone_where_it_came_by_tls(self) -> None:
        from api.gate import login

        def cookie(scheme: str) -> str:
            return login({"scheme": scheme}, "some-key").headers["set-cookie"].lower()

        assert "; secure" in cookie("https")
        assert "; secure" not in cookie("http")

    def test_keys_of_every_role_may_look(self, service: Service) -> None:
        made = service.client.post("/api/keys", json={"name": "desk", "role": "reader"}).json()
        with httpx.Client(base_url=service.url, headers=HTML, follow_redirects=True) as client:
            document = page(client.get("/login", params={"key": made["secret"]}))

        assert "desk" in document.visible

    def test_a_wrong_key_is_told_so_and_not_kept(self, stranger: httpx.Client) -> None:
        for key in ("wrong", "bl_" + "x" * 43, "ü€", '";\\', "a\nb", "<script>"):
            answer = stranger.get("/login", params={"key": key})

            assert "not known" in page(answer, 401).visible
            assert "Set-Cookie" not in answer.headers
            assert key not in answer.text

    def test_the_first_key_of_a_link_counts(self, stranger: httpx.Client) -> None:
        def login(query: str) -> int:
            return stranger.get(f"/login?{query}").status_code

        assert login("") == login("key=") == login(f"key=wrong&key={ADMIN_KEY}") == 401
        assert login(f"key={ADMIN_KEY}&key=wrong") == 303

    def test_the_link_with_a_bearer_key_is_no_defect(self, service: Service) -> None:
        assert service.client.get("/login").status_code == 303

    @pytest.mark.usefixtures("_deaf")
    def test_a_revoked_key_is_asked_for_again_at_once(
        self, service: Service, stranger: httpx.Client
    ) -> None:
        """Even where the announcement of it has not come back yet."""
        made = service.client.post("/api/keys", json={"name": "desk", "role": "reader"}).json()
        stranger.get("/login", params={"key": made["secret"]})
        before = stranger.get("/").status_code
        service.client.delete(f"/api/keys/{made['id']}").raise_for_status()

        assert before == 200
        assert "revoked" in page(stranger.get("/"), 401).visible

    def test_logging_out_forgets_the_key(self, browser: httpx.Client) -> None:
        answer = browser.get("/logout")

        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        assert not browser.cookies
        page(browser.get("/"), 401)


class TestACookieOnlyReads:
    """A form on another site could otherwise write with it."""

    def test_writes_need_the_key_itself(self, service: Service, browser: httpx.Client) -> None:
        service.open("4711")
        for method, path in (
            ("POST", "/api/bookings"),
            ("PATCH", "/api/bookings/4711"),
            ("POST", "/api/status-changes"),
            ("POST", "/api/keys"),
            ("DELETE", "/api/keys/x"),
            ("POST", "/"),
        ):
            answer = browser.request(method, path, json={"status": "confirmed", "id": "1"})
            assert answer.status_code == 401, path

        assert service.client.get("/readyz").json()["head"] == 1
        assert service.client.get("/api/keys").json()["keys"] == []

    def test_reads_do_not(self, service: Service, browser: httpx.Client) -> None:
        service.open("4711")

        assert browser.get("/api/bookings/4711").json()["id"] == "4711"

    def test_a_wrong_bearer_key_is_not_mended_by_the_cookie(self, browser: httpx.Client) -> None:
        assert browser.get("/", headers={"Authorization": "Bearer wrong"}).status_code == 401


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

    def test_a_query_that_is_not_valid_is_explained_on_a_page(self, browser: httpx.Client) -> None:
        for query in ("cursor=x", "status=", "status=%00"):
            document = page(browser.get(f"/?{query}"), 422)

            assert query.partition("=")[0] in document.visible

    def test_without_a_projector_it_says_so(
        self, unprojected: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.pages.bookings.FRESH_SECONDS", 0.1)
        unprojected.open("4711")
        answer = unprojected.client.get("/", headers=HTML)

        assert page(answer, 503).text("h1") == ["Read model behind"]
        assert answer.headers["Retry-After"] == "1"
        assert "4711" in page(unprojected.client.get("/bookings/4711", headers=HTML)).visible


class TestABooking:
    def test_the_timeline_tells_who_why_and_when(
        self, service: Service, browser: httpx.Client
    ) -> None:
        service.open("4711", changedBy="anna", occurredAt="2026-03-01T10:30:00+01:00")
        service.change(
            "4711",
            "confirmed",
            changedBy="ben",
            reason="paid\nin cash",
            metadata={"amount": 12.5},
            occurredAt="2026-03-02T00:00:00Z",
        )
        service.change("4711", "cancelled", occurredAt="2026-03-03T00:00:00Z")
        document = page(browser.get("/bookings/4711"))
        text = re.sub(r"\s+", " ", document.visible)

        assert "4711" in document.text("title")[0]
        assert [tag for tag, _ in document.elements].count("li") == 3
        assert text.index("anna") < text.index("ben") < text.index("system")
        assert text.index("2026-03-01 09:30:00") < text.index("2026-03-02 00:00:00")
        for said in ("paid in cash", '{"amount":12.5}', "version 2", "key:admin key", "final"):
            assert said in text
        assert "can become" not in text

    def test_it_says_what_the_booking_can_become(
        self, service: Service, browser: httpx.Client
    ) -> None:
        service.open("4711")
        text = re.sub(r"\s+", " ", page(browser.get("/bookings/4711")).visible)

        assert "can become confirmed , cancelled" in text
        assert "1 entry" in text

    def test_an_unknown_one_is_a_readable_page(
        self, service: Service, browser: httpx.Client
    ) -> None:
        document = page(browser.get("/bookings/nobody"), 404)

        assert document.text("h1") == ["Booking not found"]
        assert "'nobody'" in document.visible
        assert ("/", "Bookings") in document.links
        problem = service.client.get("/bookings/nobody")
        assert problem.headers["content-type"] == "application/problem+json"

    def test_so_is_an_address_where_nothing_is(self, browser: httpx.Client) -> None:
        assert page(browser.get("/nowhere"), 404).text("h1") == ["Not found"]
        assert page(browser.get("/problems/unheard-of"), 404).text("h1") == ["Not found"]

    def test_the_search_field_leads_there(self, service: Service, browser: httpx.Client) -> None:
        service.open("a/b c")
        answer = browser.get("/open", params={"id": " a/b c "})

        assert answer.status_code == 303
        assert page(browser.get(answer.headers["Location"])).text("title")[0].startswith("a/b c")
        assert browser.get("/open").headers["Location"] == "/"
        assert browser.get("/open?id=%20").headers["Location"] == "/"
        missing = browser.get("/open", params={"id": "x" * 300})
        assert page(browser.get(missing.headers["Location"]), 422).text("h1")


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
            assert isolated.count(text) == 3  # id, who, why: whichever way they run
            assert json.dumps({text: [text]}, ensure_ascii=False, separators=(",", ":")) in isolated

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
