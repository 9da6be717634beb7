"""What waits is served in order, and bounded by its number and its age."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from scenes import eventually

from ledger import batching
from ledger.batching import Batcher
from ledger.errors import Busy
from ledger.waiting import Waiting


@dataclass(frozen=True)
class Item:
    name: str
    size: int = 1


class Held:
    """Serves when it is let go, and remembers what."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.is_serving = threading.Event()
        self.batches: list[list[str]] = []

    def serve(self, batch: list[Item]) -> None:
        self.batches.append([item.name for item in batch])
        self.is_serving.set()
        assert self.go.wait(20)


@contextmanager
def busy(**bounds: float) -> Iterator[tuple[Batcher[Item], Held]]:
    """A batcher that serves its first item and does not come back before `go`."""
    held = Held()
    options = {"batch_size_max": 3, "queue_size_max": 100, **bounds}
    batcher = Batcher("writer", held.serve, **options)  # type: ignore[arg-type]  # ints are ints
    try:
        batcher.put(Item("first"))
        assert held.is_serving.wait(20)
        yield batcher, held
    finally:
        held.go.set()
        batcher.close()


def test_a_batch_waits_for_most_of_those_who_came_the_last_two_times() -> None:
    """Otherwise one of two groups that take turns shrinks to a single caller."""
    waiting: Waiting[Item] = Waiting("writer", batch_size_max=100, queue_size_max=100)

    def come(count: int) -> bool:
        for _ in range(count):
            waiting.put(Item("one"))
        return waiting.has_enough

    assert come(1), "a lone caller waits for nobody"
    assert len(waiting.take()) == 1
    come(31)
    assert len(waiting.take()) == 31
    come(1)
    assert len(waiting.take()) == 1
    assert not come(11)
    assert come(1)
    waiting.take()
    waiting.wait_for_one()
    assert come(1)


def test_what_waits_is_served_in_order_in_batches_of_a_size() -> None:
    with busy() as (batcher, held):
        for name, size in (("a", 2), ("b", 2), ("c", 1), ("d", 1), ("e", 1), ("f", 1)):
            batcher.put(Item(name, size))
        assert batcher.queued == 8

    assert held.batches == [["first"], ["a", "b"], ["c", "d", "e"], ["f"]]
    assert batcher.queued == 0


def test_it_is_full_by_number_until_a_batch_is_taken() -> None:
    with busy(queue_size_max=2) as (batcher, held):
        batcher.put(Item("a", 2))
        with pytest.raises(Busy):
            batcher.put(Item("b"))

    assert held.batches == [["first"], ["a"]]


def test_nobody_is_let_in_behind_one_who_has_waited_too_long() -> None:
    with busy(waiting_seconds_max=0.05) as (batcher, held):
        batcher.put(Item("a"))
        threading.Event().wait(0.1)
        with pytest.raises(Busy, match="try again"):
            batcher.put(Item("b"))

    assert held.batches == [["first"], ["a"]]


def test_it_takes_more_when_those_who_waited_are_served() -> None:
    with busy(waiting_seconds_max=0.05) as (batcher, held):
        batcher.put(Item("a"))
        threading.Event().wait(0.1)
        held.is_serving.clear()
        held.go.set()
        assert held.is_serving.wait(20)
        batcher.put(Item("b"))

    assert held.batches == [["first"], ["a"], ["b"]]


def test_closed_it_has_served_all_and_takes_no_more() -> None:
    with busy() as (batcher, held):
        batcher.put(Item("a"))

    with pytest.raises(Busy):
        batcher.put(Item("b"))
    assert held.batches == [["first"], ["a"]]


def test_half_as_many_as_last_time_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who were answered together ask again together, and share a batch again."""
    monkeypatch.setattr(batching, "GATHERING_SECONDS", 20.0)
    with busy(batch_size_max=100) as (batcher, held):
        for name in "abcdef":
            batcher.put(Item(name))
        held.go.set()
        eventually(lambda: batcher.queued == 0, "the batch of six to be taken")
        for name in "ghi":
            batcher.put(Item(name))
        eventually(lambda: len(held.batches) == 3, "a batch of half as many")

    assert held.batches == [["first"], list("abcdef"), list("ghi")]


def test_who_comes_alone_after_many_is_served_all_the_same() -> None:
    with busy(batch_size_max=100) as (batcher, held):
        for name in "abcdef":
            batcher.put(Item(name))
        held.go.set()
        eventually(lambda: batcher.queued == 0, "the batch of six to be taken")
        batcher.put(Item("g"))
        eventually(lambda: len(held.batches) == 3, "a batch of one")

    assert held.batches[-1] == ["g"]
