"""The thread of an event loop runs before anything is put to it."""

import threading

import pytest

from ledger.one_thread import one_thread


def test_work_has_a_thread_when_no_more_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = one_thread("writer")
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    assert executor.submit(lambda: threading.current_thread().name).result(20) == "writer_0"
    executor.shutdown()


def test_where_there_is_no_thread_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        one_thread("writer")


def _no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
