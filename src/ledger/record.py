"""The canonical bytes of a recorded event: what the transparency log hashes and serves."""

from hashlib import sha256

import orjson

from ledger.errors import LedgerError

ENTRY_BYTES_MAX = 65_535
"""What the length of an entry in a bundle of C2SP tlog-tiles can say."""


class EntryTooLarge(LedgerError):
    """An event is too large for the log"""


def entry(position: int, booking_id: str, version: int, topic: str, state: bytes) -> bytes:
    """One line of JSON, whose last member is the stored state of the event, byte for byte; or the
    SHA-256 of the state, in hexadecimal, where the entry would be too long with it.

    So every event that can be recorded can be logged. Raises EntryTooLarge where it is too long
    all the same, which no event is that the ledger wrote.
    """
    head = b'{"format":1,"position":%d,"booking":%b,"version":%d,"type":%b,' % (
        position,
        orjson.dumps(booking_id),
        version,
        orjson.dumps(topic),
    )
    made = b'%b"data":%b}' % (head, state)
    if len(made) > ENTRY_BYTES_MAX:
        made = b'%b"dataSha256":"%b"}' % (head, sha256(state).hexdigest().encode())
    if len(made) > ENTRY_BYTES_MAX:
        raise EntryTooLarge(
            f"The event at position {position} makes an entry of {len(made)} bytes; "
            f"an entry has at most {ENTRY_BYTES_MAX}."
        )
    return made
