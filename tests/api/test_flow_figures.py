"""Figures that are dear to find are found once for all, and shown again for a while."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import psycopg
import pytest
from ledger_service import Service
from scenes import open_booking, record

from api.pages import flow_figures
from api.pages.flow_figures import FlowFigures
from api.store import Store
from ledger.database import Database
from projections.analytics.question import Moment
from projections.catch_up import catch_up
from projections.queries import Filter

ALL = Filter()


@pytest.fixture(name="figures")
def _figures(database: Database) -> Iterator[FlowFigures]:
    with closing(Store(database)) as store, closing(FlowFigures(store)) as figures:
        yield figures


@pytest.fixture(name="dear")
def _dear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_figures, "DEAR_SECONDS", -1.0)


@pytest.fixture(name="old")
def _old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_figures, "KEPT_SECONDS", 0.0)


def add(database: Database, booking_id: str) -> None:
    record(database, open_booking(booking_id, changed_by="anna"))
    catch_up(database)


def opened(figures: FlowFigures, chosen: Filter = ALL) -> tuple[int, bool]:
    shown = figures.of(chosen)
    return sum(row.changes for row in shown.figures.rows), shown.renewing


def test_cheap_figures_are_always_the_newest(database: Database, figures: FlowFigures) -> None:
    for number in range(1, 4):
        add(database, f"b{number}")
        assert opened(figures) == (number, False)


def test_waiting_for_the_read_model_does_not_make_them_dear(
    database: Database, figures: FlowFigures, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(database, "a")
    now = flow_figures.newest

    @contextmanager
    def late(connection: psycopg.Connection) -> Iterator[Moment]:
        time.sleep(0.6)
        with now(connection) as at:
            yield at

    with monkeypatch.context() as patched:
        patched.setattr(flow_figures, "DEAR_SECONDS", 0.5)
        patched.setattr(flow_figures, "newest", late)
        assert opened(figures) == (1, False)
        add(database, "b")
        assert opened(figures) == (2, False)


def test_dear_ones_are_kept_for_a_moment(
    database: Database, figures: FlowFigures, dear: None
) -> None:
    add(database, "a")
    assert opened(figures) == (1, False)
    add(database, "b")
    assert opened(figures) == (1, False)


def test_old_ones_are_shown_while_newer_are_found(
    database: Database, figures: FlowFigures, dear: None, old: None
) -> None:
    add(database, "a")
    assert opened(figures) == (1, False)
    add(database, "b")
    assert opened(figures) == (1, True)
    deadline = time.monotonic() + 10
    while opened(figures) != (2, False):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_old_ones_about_a_person_are_not(
    database: Database, figures: FlowFigures, dear: None, old: None
) -> None:
    anna = Filter(changed_by="anna")
    add(database, "a")
    assert opened(figures, anna) == (1, False)
    add(database, "b")
    assert opened(figures, anna) == (2, False)


def test_very_old_ones_are_not(
    database: Database, figures: FlowFigures, dear: None, old: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_figures, "SHOWN_SECONDS", 0.0)
    add(database, "a")
    assert opened(figures) == (1, False)
    add(database, "b")
    assert opened(figures) == (2, False)


def test_many_who_ask_at_once_wait_for_the_same(
    database: Database, figures: FlowFigures, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(database, "a")
    asked: list[None] = []
    everybody = threading.Barrier(8)
    slow = flow_figures.volume

    def counted(*given: object) -> object:
        asked.append(None)
        time.sleep(0.3)
        return slow(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(flow_figures, "volume", counted)

    def ask() -> None:
        everybody.wait()
        assert opened(figures) == (1, False)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert len(asked) == 1


def test_a_failure_is_told_to_who_waits_and_the_next_tries_again(
    database: Database, figures: FlowFigures, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(database, "a")
    with monkeypatch.context() as patched:
        patched.setattr(flow_figures, "volume", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            figures.of(ALL)
    assert opened(figures) == (1, False)


def test_where_the_first_cannot_be_found_the_log_says_so(
    database: Database,
    figures: FlowFigures,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flow_figures, "volume", lambda *_: 1 / 0)
    figures.begin()
    deadline = time.monotonic() + 10
    while not caplog.messages:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert caplog.messages == ["figures of the flow could not be found: division by zero"]


def test_the_first_are_found_before_anybody_asks(
    database: Database, figures: FlowFigures, dear: None, caplog: pytest.LogCaptureFixture
) -> None:
    add(database, "a")
    figures.begin()
    deadline = time.monotonic() + 10
    while not figures._kept:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    add(database, "b")
    assert opened(figures) == (1, False)
    assert caplog.messages == []


def test_the_page_says_when_newer_figures_are_to_come(
    service: Service, browser: httpx.Client, dear: None, old: None
) -> None:
    service.open("a")
    deadline = time.monotonic() + 10
    while "position 1</p>" not in browser.get("/flow").text:  # at the start it was 0
        assert time.monotonic() < deadline
    service.open("b")
    text = browser.get("/flow").text
    assert "1 opened, 0 changes · up to position 1; newer figures" in text
