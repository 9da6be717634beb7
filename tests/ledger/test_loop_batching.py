"""What waits on an event loop is served one batch at a time, in order.

How much may wait, and for whom a batch waits, is in test_batching.py: both ask `Waiting`.
"""

import asyncio
from dataclasses import dataclass, field

import pytest

from ledger import loop_batching
from ledger.errors import Busy
from ledger.loop_batching import LoopBatcher

PATIENCE_SECONDS = 20


@dataclass(frozen=True)
class Item:
    name: str
    size: int = 1


@dataclass
class Served:
    """What was begun and answered, in the order of it."""

    log: list[str] = field(default_factory=list)
    batch: list[Item] = field(default_factory=list)

    def begin(self, batch: list[Item]) -> None:
        self.batch = batch
        self.log.append("begun " + "".join(item.name for item in batch))

    def answer(self) -> None:
        self.log.append("answered")


def batcher_of(served: Served, **bounds: int) -> LoopBatcher[Item]:
    return LoopBatcher(
        "writer", served.begin, **{"batch_size_max": 3, "queue_size_max": 9} | bounds
    )


def test_what_comes_meanwhile_is_the_next_batch_which_is_begun_before_the_answers_go_out() -> None:
    async def scene() -> list[str]:
        served = Served()
        batcher = batcher_of(served)
        for name in "abc":
            batcher.put(Item(name))
        assert batcher.queued == 2
        batcher.ended(served.answer)
        batcher.ended(served.answer)
        return served.log

    assert asyncio.run(scene()) == ["begun a", "begun bc", "answered", "answered"]


def test_a_batch_has_a_size_and_so_has_what_waits() -> None:
    async def scene() -> list[str]:
        served = Served()
        batcher = batcher_of(served, queue_size_max=6)
        for name, size in (("a", 1), ("b", 2), ("c", 2), ("d", 2)):
            batcher.put(Item(name, size))
        with pytest.raises(Busy):
            batcher.put(Item("e"))
        for _ in range(3):
            batcher.ended(served.answer)
        return [line for line in served.log if line != "answered"]

    assert asyncio.run(scene()) == ["begun a", "begun bc", "begun d"]


def test_those_who_were_answered_together_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_batching, "GATHERING_SECONDS", PATIENCE_SECONDS)

    async def scene() -> list[str]:
        served = Served()
        batcher = batcher_of(served, batch_size_max=9)
        for name in "abcdefg":
            batcher.put(Item(name))
        batcher.ended(served.answer)  # of a
        batcher.ended(served.answer)  # of six
        for name in "hi":  # three eighths of one and six
            assert served.log[-1] == "answered"
            batcher.put(Item(name))
        return served.log

    assert asyncio.run(scene())[-1] == "begun hi"


def test_who_comes_alone_after_many_is_served_a_moment_later() -> None:
    async def scene() -> None:
        served = Served()
        batcher = batcher_of(served, batch_size_max=9)
        for name in "abcdefg":
            batcher.put(Item(name))
        batcher.ended(served.answer)
        batcher.ended(served.answer)
        batcher.put(Item("h"))
        assert served.log[-1] == "answered"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while served.log[-1] != "begun h":  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0.001)

    asyncio.run(scene())


@pytest.mark.parametrize("names", ["", "a", "abc"])
def test_closed_it_serves_what_was_put_and_takes_no_more(names: str) -> None:
    async def scene() -> list[str]:
        served = Served()
        batcher = batcher_of(served)
        for name in names:
            batcher.put(Item(name))
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            batcher.put(Item("z"))
        while not closing.done() and served.batch:
            served.batch = []
            batcher.ended(served.answer)
            await asyncio.sleep(0)
        await asyncio.wait_for(closing, PATIENCE_SECONDS)
        return [line.removeprefix("begun ") for line in served.log if line != "answered"]

    assert "".join(asyncio.run(scene())) == names
