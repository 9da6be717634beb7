"""Roots that were signed beside those that events and tiles give."""

from collections.abc import Iterator
from dataclasses import dataclass

from projections.audit_latest import LatestComparison
from projections.audit_signed import Signed
from projections.findings import FINDINGS_MAX, Findings, Kind, span
from projections.log.merkle import Frontier

DETAILS: dict[Kind, str] = {
    "altered_event": "the event is not the one that was logged and signed",
    "wrong_tile": "the tile has another hash of the event",
}


@dataclass(frozen=True, slots=True)
class _Differing:
    """An event whose hash is not the one that the tile has of it."""

    position: int
    booking_id: str | None
    version: int | None


class Comparison:
    """Grows the tree from the events, and looks at each signed root when it is reached.

    Where events and tiles part, a second tree grows from the tiles: the next signed root says
    which of the two was altered, and so at which position.
    """

    def __init__(
        self,
        findings: Findings,
        leaves: Iterator[bytes | None],
        signed: Iterator[Signed],
        latest: LatestComparison,
    ) -> None:
        self._findings = findings
        self._latest = latest
        self._whole = True
        """So far the events are those that were signed: they say which are the latest."""
        self._leaves = leaves
        self._signed = signed
        self._next = next(signed, None)
        self._events = Frontier()
        self._tiles: Frontier | None = None
        """None while they agree with the events."""
        self._differing: list[_Differing] = []
        self._agreed = {True: 0, False: 0}
        """Up to where the checkpoints agree, by whether they are kept in the ledger."""
        self._judge()

    @property
    def size(self) -> int:
        return self._events.size

    def skip_to(self, position: int) -> bool:
        """Pass over events that are missing, as far as the tiles have their hashes."""
        while self._events.size < position - 1:
            if not self.add(None, None, None):
                return False
        return True

    def add(self, leaf: bytes | None, booking_id: str | None, version: int | None) -> bool:
        """The next leaf as its event gives it, None where it gives none; False where nothing
        is known of it, and so of no later root."""
        stored = next(self._leaves, None)
        if stored is None or leaf is None:
            self._whole &= leaf is not None
            leaf = stored = leaf or stored
            if leaf is None or stored is None:
                return False
        if leaf != stored:
            self._part(booking_id, version)
        self._events.append(leaf)
        if self._tiles is not None:
            self._tiles.append(stored)
        if self._next is not None and self._next.size == self._events.size:
            self._judge()
        return True

    def end(self) -> None:
        """Report what no signed root could decide, and roots of more events than there are."""
        for one in self._differing:
            self._add_differing(
                "wrong_tile", "event and tile differ, and no checkpoint decides", one
            )
        if self._whole and self._tiles is None:
            self._latest.end(self.size)
        while self._next is not None:
            self._findings.add(
                "checkpoint_beyond_log",
                f"{self._next.title} was signed for {self._next.size} events; missing, or beyond "
                f"what can be compared: {span(self.size + 1, self._next.size)}",
                position=self.size + 1,
            )
            self._next = next(self._signed, None)

    def _part(self, booking_id: str | None, version: int | None) -> None:
        if self._tiles is None:
            self._tiles = self._events.copy()
        if len(self._differing) < FINDINGS_MAX:
            self._differing.append(_Differing(self.size + 1, booking_id, version))

    def _judge(self) -> None:
        while self._next is not None and self._next.size == self.size:
            signed, self._next = self._next, next(self._signed, None)
            if signed.root == self._events.root():
                self._settle(signed, self._events, "wrong_tile")
                if self._whole:
                    self._latest.compare(signed)
            elif self._tiles is not None and signed.root == self._tiles.root():
                self._settle(signed, self._tiles, "altered_event")
                self._whole = False
            else:
                self._whole &= not signed.kept
                self._add_wrong_root(signed)

    def _settle(self, signed: Signed, right: Frontier, kind: Kind) -> None:
        for one in self._differing:
            self._add_differing(kind, DETAILS[kind], one)
        self._events, self._tiles, self._differing = right, None, []
        self._agreed[signed.kept] = signed.size

    def _add_differing(self, kind: Kind, detail: str, one: _Differing) -> None:
        self._findings.add(kind, detail, one.booking_id, one.version, one.position)

    def _add_wrong_root(self, signed: Signed) -> None:
        first = self._agreed[signed.kept] + 1
        self._findings.add(
            "wrong_checkpoint_root",
            f"{signed.title} of size {signed.size} has another root than the events; altered: "
            f"something in {span(first, max(first, signed.size))}, or the checkpoint",
            position=first,
        )
