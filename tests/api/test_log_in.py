"""Logging in to the pages: who gets a session, what its cookie may, and what ends it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from ledger_service import ADMIN_KEY, Service
from web_pages import HTML, page

from api.housekeeping import Housekeeping
from api.keys import KeyRing, create_key, revoke_key
from api.sessions import Sessions, offer_link
from api.settings import read_settings
from ledger.database import Database

COOKIE = "ledger_session"


def log_in(client: httpx.Client, key: str, **fields: str) -> httpx.Response:
    return client.post("/login", data={"key": key, **fields})


def make_key(service: Service, role: str = "reader") -> dict[str, str]:
    made: dict[str, str] = service.client.post(
        "/api/keys", json={"name": "desk", "role": role}
    ).json()
    return made


class TestThePage:
    def test_a_browser_without_a_session_gets_a_page_to_log_in(
        self, stranger: httpx.Client
    ) -> None:
        for path in ("/", "/bookings/4711", "/nowhere", "/problems", "/login"):
            document = page(stranger.get(path), 401)
            fields = [attributes for tag, attributes in document.elements if tag == "input"]

            assert document.text("h1") == ["Log in"]
            assert [(one["name"], one["type"]) for one in fields] == [
                ("next", "hidden"),
                ("key", "password"),
            ]
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
            for path in ("/", "/login", "/login?link=x"):
                answer = nobody.get(path)
                assert answer.status_code == 401
                assert answer.headers["content-type"] == "application/problem+json"
            answer = nobody.get("/api/bookings", headers=HTML)
            assert answer.headers["content-type"] == "application/problem+json"


class TestTheForm:
    def test_a_key_begins_a_session_whose_cookie_scripts_and_other_sites_have_not(
        self, stranger: httpx.Client
    ) -> None:
        answer = log_in(stranger, ADMIN_KEY)

        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        assert answer.headers["Cache-Control"] == "no-store"
        attributes = set(answer.headers["Set-Cookie"].lower().split("; "))
        assert {"httponly", "samesite=lax", "path=/", "max-age=43200"} <= attributes
        assert ADMIN_KEY not in answer.headers["Set-Cookie"]
        assert page(stranger.get("/")).text("h1") == ["Bookings"]

    def test_the_cookie_goes_over_tls_alone_where_it_came_by_tls(self, service: Service) -> None:
        def cookie(scheme: str) -> str:
            headers = {"X-Forwarded-Proto": scheme}
            answer = httpx.post(f"{service.url}/login", data={"key": ADMIN_KEY}, headers=headers)
            return answer.headers["Set-Cookie"].lower()

        assert "; secure" in cookie("https")
        assert "; secure" not in cookie("http")

    def test_it_leads_on_to_what_was_wanted(self, service: Service, stranger: httpx.Client) -> None:
        service.open("a/b c")
        wanted = "/bookings/a%2Fb%20c?version=1"
        document = page(stranger.get(wanted), 401)
        fields = {one["name"]: one.get("value") for tag, one in document.elements if tag == "input"}
        wrong = log_in(stranger, "wrong", next=str(fields["next"]))
        answer = log_in(stranger, ADMIN_KEY, next=str(fields["next"]))

        assert f'value="{wanted}"' in wrong.text
        assert answer.headers["Location"] == wanted
        assert page(stranger.get(wanted)).text("title")[0].startswith("a/b c")

    @pytest.mark.parametrize(
        "wanted",
        [
            *("//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example"),
            *("", "evil", "/login", "/logout", "/login?link=x", "/a b", "/\r\nX: y", "/ü"),
            "/" + "x" * 2_000,
        ],
    )
    def test_but_never_elsewhere(self, stranger: httpx.Client, wanted: str) -> None:
        assert log_in(stranger, ADMIN_KEY, next=wanted).headers["Location"] == "/"

    def test_keys_of_every_role_may_look(self, service: Service, stranger: httpx.Client) -> None:
        for role in ("reader", "analyst", "auditor", "writer", "admin"):
            log_in(stranger, make_key(service, role)["secret"])

            assert "desk" in page(stranger.get("/")).visible

    def test_a_wrong_key_is_told_so_and_not_repeated(self, stranger: httpx.Client) -> None:
        for key in ("wrong", "bl_" + "x" * 43, "ü€", '";\\', "a\nb", "<script>", "x" * 9_000):
            answer = log_in(stranger, key)

            assert "not known" in page(answer, 401).visible
            assert "Set-Cookie" not in answer.headers
            assert key not in answer.text

    def test_a_key_in_the_address_is_not_taken(self, stranger: httpx.Client) -> None:
        answer = stranger.get("/login", params={"key": ADMIN_KEY})

        assert answer.status_code == 401
        assert "Set-Cookie" not in answer.headers

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    def test_forms_of_other_sites_are_refused(
        self, browser: httpx.Client, headers: dict[str, str]
    ) -> None:
        for path in ("/login", "/logout"):
            answer = browser.post(path, data={"key": ADMIN_KEY}, headers=headers)

            assert page(answer, 403).text("h1") == ["Sent from another site"]
            assert "Set-Cookie" not in answer.headers
        assert browser.get("/").status_code == 200

    def test_our_own_are_taken(self, service: Service, stranger: httpx.Client) -> None:
        for headers in ({"Origin": service.url}, {"Sec-Fetch-Site": "same-origin"}):
            answer = stranger.post("/login", data={"key": ADMIN_KEY}, headers=headers)
            assert answer.status_code == 303


class TestTheLink:
    @pytest.fixture
    def link(self, service: Service) -> Iterator[str]:
        with service.database.connect() as connection:
            key = create_key(connection, "first admin", "admin")
            yield offer_link(connection, key.id)

    def test_it_logs_in_once(self, stranger: httpx.Client, link: str) -> None:
        first = stranger.get("/login", params={"link": link})
        second = stranger.get("/login", params={"link": link})

        assert (first.status_code, first.headers["Location"]) == (303, "/")
        assert "used before" in page(second, 401).visible
        assert "first admin" in page(stranger.get("/")).visible

    def test_whoever_asks_for_its_head_does_not_use_it_up(
        self, stranger: httpx.Client, link: str
    ) -> None:
        """Programs that show a preview of a link do."""
        assert stranger.head("/login", params={"link": link}).status_code == 405
        assert stranger.get("/login", params={"link": link}).status_code == 303

    def test_of_many_who_use_it_at_once_one_gets_in(self, service: Service, link: str) -> None:
        def use(_: int) -> int:
            return httpx.get(f"{service.url}/login", params={"link": link}).status_code

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(use, range(8))) == [303] + [401] * 7

    def test_it_expires(self, service: Service, stranger: httpx.Client, link: str) -> None:
        with service.database.connect() as connection:
            connection.execute("UPDATE web_session SET expires_at = now() - interval '1 second'")

        assert stranger.get("/login", params={"link": link}).status_code == 401

    def test_it_is_no_session_and_a_session_no_link(
        self, stranger: httpx.Client, link: str
    ) -> None:
        assert stranger.get("/", headers={"Cookie": f"{COOKIE}={link}"}).status_code == 401
        log_in(stranger, ADMIN_KEY)
        token = stranger.cookies[COOKIE]
        assert stranger.get("/login", params={"link": token}).status_code == 401

    def test_a_revoked_key_takes_its_link_along(
        self, service: Service, stranger: httpx.Client, link: str
    ) -> None:
        with service.database.connect() as connection:
            for key in service.client.get("/api/keys").json()["keys"]:
                revoke_key(connection, key["id"])

        assert stranger.get("/login", params={"link": link}).status_code == 401


class TestTheSession:
    def test_a_cookie_only_reads(self, service: Service, browser: httpx.Client) -> None:
        """A form on another site could otherwise write with it."""
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
        assert browser.get("/api/bookings/4711").json()["id"] == "4711"

    def test_a_wrong_bearer_key_is_not_mended_by_the_cookie(self, browser: httpx.Client) -> None:
        assert browser.get("/", headers={"Authorization": "Bearer wrong"}).status_code == 401

    def test_the_database_has_neither_key_nor_token(
        self, service: Service, browser: httpx.Client
    ) -> None:
        with service.database.connect() as connection:
            (row,) = connection.execute("SELECT web_session::text FROM web_session").fetchall()
        token = browser.cookies[COOKIE]

        assert token not in row[0]
        assert token.encode().hex() not in row[0]
        assert ADMIN_KEY not in row[0]

    def test_revoking_its_key_ends_it_at_once(
        self, service: Service, stranger: httpx.Client
    ) -> None:
        made = make_key(service)
        log_in(stranger, made["secret"])
        before = stranger.get("/").status_code
        service.client.delete(f"/api/keys/{made['id']}").raise_for_status()

        assert before == 200
        page(stranger.get("/"), 401)

    def test_it_expires_and_is_forgotten(self, service: Service, browser: httpx.Client) -> None:
        with service.database.connect() as connection:
            connection.execute("UPDATE web_session SET expires_at = now() - interval '1 second'")
            assert browser.get("/").status_code == 401

            housekeeping = Housekeeping(
                service.database, read_settings(database_url=service.database.url)
            )
            housekeeping._forget(connection)
            housekeeping.close()
            assert connection.execute("SELECT count(*) FROM web_session").fetchone() == (0,)

    def test_logging_out_ends_it_everywhere(self, browser: httpx.Client) -> None:
        token = browser.cookies[COOKIE]
        answer = browser.post("/logout")

        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        assert not browser.cookies
        kept = browser.get("/", headers={"Cookie": f"{COOKIE}={token}"})
        assert kept.status_code == 401

    def test_a_link_cannot_log_out(self, browser: httpx.Client) -> None:
        answer = browser.get("/logout")

        assert page(answer, 405).text("h1") == ["Method not allowed"]
        assert answer.headers["Allow"] == "POST"
        assert browser.get("/").status_code == 200

    @pytest.mark.parametrize("token", ["", "x", "ü", "x" * 5_000, '"', "a;b"])
    def test_any_other_cookie_is_none(self, stranger: httpx.Client, token: str) -> None:
        cookie = f"{COOKIE}={token}".encode()

        assert stranger.get("/", headers=[(b"Cookie", cookie)]).status_code == 401

    def test_another_admin_key_does_not_know_it(self, database: Database) -> None:
        ring = KeyRing(database, ADMIN_KEY)
        before, after = (
            Sessions(database, ring, admin_key) for admin_key in (ADMIN_KEY, "another-admin-key")
        )
        token = before.begin(ADMIN_KEY)
        assert token is not None
        found = before.find(token), after.find(token)
        for one in (before, after, ring):
            one.close()

        assert found[0] is not None
        assert found[1] is None
