"""The canonical bytes of a recorded event: what the transparency log hashes and serves."""

import orjson

from ledger.errors import LedgerError

ENTRY_BYTES_MAX = 65_535
"""What the length of an entry in a bundle of C2SP tlog-tiles can say."""


class EntryTooLarge(LedgerError):
    """An event is too large for the log"""


def entry(position: int, booking_id: str, version: int, topic: str, state: bytes) -> bytes:
    """One line of JSON, whose last member is the stored state of the event, byte for byte.

    Raises EntryTooLarge.
    """
    made = b'{"format":1,"position":%d,"booking":%b,"version":%d,"type":%b,"data":%b}' % (
        position,
        orjson.dumps(booking_id),
        version,
        orjson.dumps(topic),
        state,
    )
    if len(made) > ENTRY_BYTES_MAX:
        raise EntryTooLarge(
            f"The event at position {position} makes an entry of {len(made)} bytes; "
            f"an entry has at most {ENTRY_BYTES_MAX}."
        )
    return made
