"""What is asked of a transaction, and what it is about to commit and to answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from eventsourcing.persistence import StoredEvent

from ledger.commands import Answer, Command, moved
from ledger.errors import Refusal
from ledger.memory import Key, Loaded


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key, whose it is (`scope`), and what it was sent with."""

    scope: str
    key: str
    request_hmac: bytes

    @property
    def name(self) -> tuple[str, str]:
        return (self.scope, self.key)


@dataclass(frozen=True, slots=True)
class Request:
    """Commands that are answered together, in order. `done` is called once, by the writer."""

    commands: Sequence[Command]
    idempotency: Idempotency | None
    done: Callable[["list[Answer] | Exception"], None]

    @property
    def size(self) -> int:
        return len(self.commands)


Reply = list[Answer] | Refusal
"""What one request gets: an answer for each command, or one refusal for the whole."""


@dataclass(slots=True)
class Plan:
    """What follows from the ledger as it was with `head` as its newest position."""

    head: int
    replies: list[Reply] = field(default_factory=list)
    events: list[StoredEvent] = field(default_factory=list)
    answers: dict[tuple[str, str], tuple[bytes, list[Answer]]] = field(default_factory=dict)
    bookings: dict[str, Loaded] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    """Of bookings that have one."""
    new_keys: dict[str, bytes] = field(default_factory=dict)
    """Those that are to be stored, as they are stored."""
    erased: set[str] = field(default_factory=set)
    """Bookings whose stored key is to be destroyed."""
    streams: set[str] = field(default_factory=set)
    """All on which it depends."""
    given: set[int] = field(default_factory=set)
    """Which of the replies were given before."""

    @property
    def newest_position(self) -> int:
        return self.head + len(self.events)

    def move_to(self, head: int) -> None:
        """It follows from a ledger with more events, which it does not depend on, as well."""
        if head == self.head:
            return
        for number, reply in enumerate(self.replies):
            if isinstance(reply, list) and number not in self.given:
                self.replies[number] = [moved(answer, head - self.head) for answer in reply]
        self.head = head
