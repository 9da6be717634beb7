"""The tree over the latest events: its bits, its root by the definition, its proofs."""

import random
from pathlib import Path

import pytest

from projections.log.latest import (
    PAGE_BYTES,
    PAGE_EVENTS,
    LatestEvents,
    is_latest,
    page_count,
)
from projections.log.merkle import EMPTY_ROOT, Frontier, leaf_hash, verify_inclusion


class Plain:
    """The same by the definition: a dictionary from booking to its newest leaf."""

    def __init__(self) -> None:
        self.size = 0
        self.newest: dict[str, int] = {}

    def record(self, booking: str) -> int | None:
        before = self.newest.get(booking)
        self.newest[booking] = self.size
        self.size += 1
        return before

    def pages(self) -> list[bytes]:
        bitmap = bytearray(-(-self.size // PAGE_EVENTS) * PAGE_BYTES)
        for index in self.newest.values():
            bitmap[index // 8] |= 1 << index % 8
        return [bytes(bitmap[at : at + PAGE_BYTES]) for at in range(0, len(bitmap), PAGE_BYTES)]

    def root(self) -> bytes:
        frontier = Frontier()
        for page in self.pages():
            frontier.append(leaf_hash(page))
        return frontier.root()


def record(plain: Plain, latest: LatestEvents, bookings: list[str]) -> None:
    superseded = [before for one in bookings if (before := plain.record(one)) is not None]
    latest.append(len(bookings))
    for index in superseded:
        latest.supersede(index)


@pytest.mark.parametrize("step", [1, 3, 777, PAGE_EVENTS, PAGE_EVENTS + 1, 3 * PAGE_EVENTS - 5])
def test_it_is_what_the_definition_says_after_steps_of_any_size(step: int) -> None:
    chosen = random.Random(step)
    plain, latest = Plain(), LatestEvents()
    assert latest.root() == EMPTY_ROOT
    written: dict[int, bytes] = {}

    for _ in range(25):
        record(plain, latest, [f"b-{chosen.randrange(3 * step)}" for _ in range(step)])
        written |= latest.hash_changes()
        assert latest.root() == plain.root()

    assert [written[number] for number in range(len(written))] == plain.pages()
    assert LatestEvents(latest.size, plain.pages()).root() == plain.root()


def test_a_step_changes_only_the_pages_that_it_touches() -> None:
    latest = LatestEvents()
    latest.append(20 * PAGE_EVENTS)
    latest.hash_changes()

    latest.append(2)
    latest.supersede(3 * PAGE_EVENTS + 9)

    assert set(latest.hash_changes()) == {3, 20}
    assert latest.hash_changes() == {}


def test_to_go_through_events_a_second_time_changes_nothing() -> None:
    plain, latest = Plain(), LatestEvents()
    record(plain, latest, [f"b-{n % 700}" for n in range(20_000)])
    again = LatestEvents(5_000, plain.pages())
    again.append(15_000)
    for index in range(4_300, 19_300):
        again.supersede(index)

    assert again.root() == latest.root()


@pytest.mark.parametrize("pages", [1, 2, 3, 5, 8, 13])
def test_each_page_is_proven_and_every_hash_counts(pages: int) -> None:
    chosen = random.Random(pages)
    latest = LatestEvents()
    latest.append(pages * PAGE_EVENTS - 11)
    for _ in range(500):
        latest.supersede(chosen.randrange(latest.size))
    root = latest.root()

    for number in range(pages):
        proof, leaf = latest.proof(number), leaf_hash(latest.page(number))
        assert verify_inclusion(leaf, number, pages, proof, root)
        for at in range(len(proof)):
            forged = [*proof[:at], bytes([proof[at][0] ^ 1]) + proof[at][1:], *proof[at + 1 :]]
            assert not verify_inclusion(leaf, number, pages, forged, root)


def test_a_bit_says_whether_an_event_is_the_latest() -> None:
    latest = LatestEvents()
    latest.append(PAGE_EVENTS + 10)
    for index in (0, 7, 8, PAGE_EVENTS - 1, PAGE_EVENTS):
        latest.supersede(index)

    found = [
        index
        for index in range(page_count(latest.size) * PAGE_EVENTS)
        if not is_latest(latest.page(index // PAGE_EVENTS), index)
    ]
    unfilled = list(range(PAGE_EVENTS + 10, 2 * PAGE_EVENTS))
    assert found == [0, 7, 8, PAGE_EVENTS - 1, PAGE_EVENTS, *unfilled]


VECTORS: list[tuple[list[str], str, str]] = [
    ([], "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (["a"], "01 00", "d05b467b2407bc61db7a9627a9219d4c12404b7f0d36fceec0ce77c5eaf78c51"),
    (
        ["a", "b", "a", "c", "b", "d", "d", "a", "e"],
        "d8 01 00",
        "b5e9bf074a241c84c7efdcfd8fd1f30f99a168f32f10ba278850834b675d98b4",
    ),
    (
        [f"b-{n % 5000}" for n in range(20_000)],
        "",
        "121e18ed85a4115da3fb70ada137983418f750369c41fd0abf5214d9cbdfd3d8",
    ),
]


@pytest.mark.parametrize(("bookings", "first_bytes", "root"), VECTORS)
def test_vectors_of_the_record_format(bookings: list[str], first_bytes: str, root: str) -> None:
    plain, latest = Plain(), LatestEvents()
    record(plain, latest, bookings)

    assert latest.root().hex() == root
    if first_bytes:
        assert latest.page(0).hex(" ").startswith(first_bytes)
    document = Path("docs/record-format.md").read_text(encoding="utf-8")
    assert root in document
