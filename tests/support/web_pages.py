"""Pages as a browser sees them, and what each of them must have."""

from html.parser import HTMLParser

import httpx

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


def booking_links(document: Document) -> list[tuple[str, str]]:
    return [
        (href, text) for href, text in document.links if href.startswith(("/bookings/", "/open"))
    ]
