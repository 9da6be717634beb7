"""What an audit holds the events against."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signed:
    """Roots that were signed, and where: `kept` in the ledger itself, or in a file outside.

    `latest` is that over the latest events; None where the checkpoint says nothing of them.
    """

    size: int
    root: bytes
    latest: bytes | None
    title: str
    kept: bool
