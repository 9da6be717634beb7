"""A signed statement of what the read model said at a position (docs/log.md, Certificates)."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from operator import attrgetter

import orjson
import psycopg

from projections import tables
from projections.log.notes import (
    BadNote,
    Note,
    Signer,
    Verifier,
    decode_base64,
    encode_base64,
    parse_note,
    sign_note,
)
from projections.rows import HistoryRow

FORMAT = "booking-ledger/certificate/1"
"""The first line. What follows it could not be the size of a checkpoint, so that neither of
the two passes for the other."""

PERSONAL = ("changedBy", "reason", "metadata")
LASTING = tuple(
    name for name in HistoryRow._fields if name not in (*PERSONAL, "erased", "createdAt")
)
_lasting_values = attrgetter(*LASTING, "createdAt")
_RECORDED_AT, _CREATED_AT = LASTING.index("recordedAt"), len(LASTING)
_PERSONAL_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
"""Other programs can write it too: no spaces, sorted keys, nothing escaped that need not be."""
ROWS = """
    SELECT {} FROM "BookingStatusHistory" WHERE position <= %s ORDER BY "bookingId", version
"""
FETCH_ROWS = 2_000

_LINES = re.compile(
    r"(?P<origin>[^\n]+)\nprojection (?P<projection>[a-z_]+)\nversion (?P<version>[1-9]\d{0,8})\n"
    r"position (?P<position>0|[1-9]\d{0,18})\nrows (?P<rows>0|[1-9]\d{0,18})\n"
    r"lasting (?P<lasting>[A-Za-z0-9+/]{43}=)\npersonal (?P<personal>[A-Za-z0-9+/]{43}=)\n",
    re.ASCII,
)


class Digest:
    """Of history rows by booking and version: how many, and SHA-256 of a line of JSON for each.

    Personal columns have a digest of their own, over the rows that have any: an erasure changes
    that one, and leaves the other as it was.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._lasting = sha256()
        self._personal = sha256()

    def add(self, row: HistoryRow) -> None:
        self.rows += 1
        lasting = list(_lasting_values(row))
        lasting[_RECORDED_AT], lasting[_CREATED_AT] = _time(row.recordedAt), _time(row.createdAt)
        # Texts, whole numbers and null, of which all writers of JSON make the same.
        self._lasting.update(orjson.dumps(lasting) + b"\n")
        if (row.changedBy, row.reason, row.metadata) != (None, None, None):
            metadata = None if row.metadata is None else json.loads(row.metadata)
            line = _PERSONAL_JSON.encode([row.id, row.changedBy, row.reason, metadata])
            self._personal.update(line.encode() + b"\n")

    @property
    def lasting(self) -> bytes:
        return self._lasting.digest()

    @property
    def personal(self) -> bytes:
        return self._personal.digest()


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a signed note says of the rows derived up to `position`."""

    origin: str
    projection: str
    version: int
    position: int
    rows: int
    lasting: bytes
    personal: bytes
    note: Note

    def verify(self, known: Sequence[Verifier]) -> list[Verifier]:
        """The known keys of this log that signed it. Raises BadNote if there is none."""
        return self.note.verify(known, self.origin)


def certify(connection: psycopg.Connection, origin: str, signers: Sequence[Signer]) -> Certificate:
    """Sign what the tables say now, in one snapshot. Raises OtherReadModel."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        version, position = tables.derived(connection) or (tables.VERSION, 0)
        if version != tables.VERSION:
            raise tables.OtherReadModel(version)
        digest = Digest()
        columns = ", ".join(f'"{name}"' for name in HistoryRow._fields)
        with connection.cursor("certified") as cursor:
            cursor.itersize = FETCH_ROWS
            cursor.execute(ROWS.format(columns).encode(), (position,), binary=True)
            for found in cursor:
                digest.add(HistoryRow(*found))
    text = (
        f"{FORMAT}\n{origin}\nprojection {tables.NAME}\nversion {tables.VERSION}\n"
        f"position {position}\nrows {digest.rows}\n"
        f"lasting {encode_base64(digest.lasting)}\npersonal {encode_base64(digest.personal)}\n"
    )
    return parse_certificate(str(sign_note(text, signers)))


def parse_certificate(note: str | bytes) -> Certificate:
    """Take a certificate apart. Raises BadNote; that it is signed is not looked at."""
    parsed = parse_note(note)
    first, _, rest = parsed.text.partition("\n")
    found = _LINES.fullmatch(rest)
    if first != FORMAT or found is None:
        raise BadNote("This is no certificate of a read model.")
    return Certificate(
        found["origin"],
        found["projection"],
        int(found["version"]),
        int(found["position"]),
        int(found["rows"]),
        decode_base64(found["lasting"]),
        decode_base64(found["personal"]),
        parsed,
    )


def _time(time: datetime) -> str:
    """As in exports."""
    return f"{time.isoformat(timespec='milliseconds')}Z"
