"""From events to rows: pure functions, the same wherever batches are cut."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.booking import Booking
from projections.rows import (
    Batch,
    BookingRow,
    HistoryRow,
    PositionedEvent,
    batch_rows,
    history_id,
    history_row,
    milliseconds,
)

NOON = datetime(2026, 5, 4, 12, 0, 0, 123999, tzinfo=UTC)


def event(
    position: int, booking_id: str, version: int, from_: str | None, to: str, **said: object
) -> PositionedEvent:
    facts = {
        "originator_id": booking_id,
        "originator_version": version,
        "timestamp": NOON,
        "from_status": from_,
        "to_status": to,
        "changed_by": None,
        "reason": None,
        "metadata": None,
        "occurred_at": NOON,
        "actor": "api-key",
        "source": "front desk",
        "claimed_from_status": None,
        **said,
    }
    if version == 1:
        return PositionedEvent(position, Booking.Created(originator_topic="Booking", **facts))
    return PositionedEvent(position, Booking.StatusChanged(**facts))


# --- ids --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("booking_id", "version", "position", "expected"),
    [
        ("room-12", 1, 1, "00000000-0001-8e97-9df1-9a25c728a3db"),
        ("room-12", 2, 10_000_000, "00000098-9680-8a5f-b2ce-bf26ffac126c"),
        ("Zimmer 12 ✓", 1, 2**32, "00010000-0000-8f5c-aa53-9123e0fc71e3"),
        ("r" * 200, 2**53 + 1, 2**48 - 1, "ffffffff-ffff-885c-b415-3e5c4d925e27"),
    ],
)
def test_ids_of_rows_are_for_ever(
    booking_id: str, version: int, position: int, expected: str
) -> None:
    """Exports and other systems refer to them: another formula would break every reference."""
    assert history_id(booking_id, version, position) == expected


@given(
    booking_id=st.text(min_size=1, max_size=200),
    version=st.integers(1, 2**63 - 1),
    position=st.integers(1, 2**48 - 1),
)
def test_every_id_is_a_uuid_of_version_8(booking_id: str, version: int, position: int) -> None:
    uuid = UUID(history_id(booking_id, version, position))

    assert (uuid.version, uuid.variant) == (8, RFC_4122)
    assert str(uuid) == history_id(booking_id, version, position)


@given(positions=st.lists(st.integers(1, 2**48 - 1), min_size=2))
def test_ids_are_in_the_order_of_the_ledger(positions: list[int]) -> None:
    """As texts: a database adds each to the end of its index."""
    ids = [history_id(f"room-{number}", 1, one) for number, one in enumerate(positions)]

    assert [one[:13] for one in sorted(ids)] == [
        history_id("room-12", 1, one)[:13] for one in sorted(positions)
    ]


def test_version_and_booking_are_told_apart() -> None:
    """No pair of them reads like another pair."""
    pairs = [("2 a", 1), ("a", 12), ("a", 1), (" a", 1), ("a", 2), ("1 a", 1), ("1 a", 2)]

    assert len({history_id(*pair, position=7) for pair in pairs}) == len(pairs)


# --- one row ----------------------------------------------------------------------------------


def test_an_event_becomes_a_row_with_all_that_it_says() -> None:
    row = history_row(
        event(
            7,
            "room-12",
            3,
            "pending",
            "confirmed",
            changed_by="Zoë",
            reason="called",
            metadata={"b": "ä", "a": [1, None]},
            occurred_at=datetime(2026, 5, 1, 8, tzinfo=UTC),
            actor="import",
            source="hotel.csv",
            claimed_from_status="asked",
        )
    )

    assert row == HistoryRow(
        id=history_id("room-12", 3, 7),
        bookingId="room-12",
        fromStatus="pending",
        toStatus="confirmed",
        changedBy="Zoë",
        reason="called",
        metadata='{"b":"ä","a":[1,null]}',
        createdAt=datetime(2026, 5, 1, 8),  # noqa: DTZ001
        version=3,
        position=7,
        recordedAt=datetime(2026, 5, 4, 12, 0, 0, 123000),  # noqa: DTZ001
        actor="import",
        source="hotel.csv",
        claimedFromStatus="asked",
        erased=False,
    )


def test_empty_metadata_is_not_the_same_as_none() -> None:
    assert history_row(event(1, "room-12", 1, None, "pending", metadata={})).metadata == "{}"
    assert history_row(event(1, "room-12", 1, None, "pending")).metadata is None


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (NOON, "2026-05-04T12:00:00.123000"),
        (NOON.replace(microsecond=999), "2026-05-04T12:00:00"),
        (NOON.replace(microsecond=999999), "2026-05-04T12:00:00.999000"),
        (
            datetime(2026, 1, 1, 0, 30, 0, 1999, timezone(timedelta(hours=2))),
            "2025-12-31T22:30:00.001000",
        ),
        (datetime(1900, 1, 1, 0, 0, 0, 999, UTC), "1900-01-01T00:00:00"),
    ],
)
def test_times_are_cut_to_milliseconds_in_utc_and_never_rounded_up(
    time: datetime, expected: str
) -> None:
    assert milliseconds(time).isoformat() == expected


# --- a batch ----------------------------------------------------------------------------------


def test_bookings_whose_first_event_is_in_the_batch_are_opened_the_others_changed() -> None:
    early, late = NOON - timedelta(days=1), NOON + timedelta(days=1)
    batch = batch_rows(
        [
            event(11, "old", 4, "confirmed", "in_progress"),
            event(12, "new", 1, None, "pending", occurred_at=early),
            event(13, "old", 5, "in_progress", "completed", occurred_at=late),
            event(14, "new", 2, "pending", "cancelled"),
        ]
    )

    def times(booking: BookingRow) -> tuple[datetime, datetime]:
        return booking.createdAt, booking.updatedAt

    assert [row.position for row in batch.history] == [11, 12, 13, 14]
    assert [(b.id, b.status, b.version, b.position) for b in batch.opened] == [
        ("new", "cancelled", 2, 14)
    ]
    assert times(batch.opened[0]) == (milliseconds(early), milliseconds(NOON))
    assert [(b.id, b.status, b.version, b.position) for b in batch.changed] == [
        ("old", "completed", 5, 13)
    ]
    assert batch.changed[0].updatedAt == milliseconds(late)


def test_no_events_give_no_rows() -> None:
    assert batch_rows([]) == Batch([], [], [], {})


@dataclass
class Tables:
    """What the tables hold after batches, by the rules of their SQL."""

    bookings: dict[str, BookingRow] = field(default_factory=dict)
    history: dict[str, HistoryRow] = field(default_factory=dict)

    def write(self, batch: Batch) -> None:
        for booking in batch.opened:
            assert booking.id not in self.bookings
            self.bookings[booking.id] = booking
        for booking in batch.changed:
            created = self.bookings[booking.id].createdAt
            self.bookings[booking.id] = booking._replace(createdAt=created)
        for row in batch.history:
            assert row.id not in self.history
            self.history[row.id] = row


@st.composite
def ledgers(draw: st.DrawFn) -> list[PositionedEvent]:
    histories: dict[str, list[str]] = {}
    events = []
    steps = st.tuples(
        st.sampled_from("abcd"), st.sampled_from(["pending", "confirmed"]), st.integers(-3, 3)
    )
    for position, (booking_id, status, days) in enumerate(draw(st.lists(steps)), start=1):
        statuses = histories.setdefault(booking_id, [])
        before = statuses[-1] if statuses else None
        statuses.append(status)
        occurred = NOON + timedelta(days=days)
        events.append(
            event(position, booking_id, len(statuses), before, status, occurred_at=occurred)
        )
    return events


@given(events=ledgers(), cuts=st.sets(st.integers(1, 40)))
@settings(deadline=None)
def test_g7_wherever_batches_are_cut_the_tables_are_the_same(
    events: list[PositionedEvent], cuts: set[int]
) -> None:
    whole, parts = Tables(), Tables()

    whole.write(batch_rows(events))
    bounds = [0, *sorted(cuts), len(events)]
    for begin, end in pairwise(bounds):
        parts.write(batch_rows(events[begin:end]))

    assert parts == whole
