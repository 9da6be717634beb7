"""CSV (RFC 4180) and NDJSON, with the columns of the table; `import` takes both again."""

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson

from projections.exports.source import Export
from projections.rows import HistoryRow


def csv_chunks(export: Export) -> Iterator[bytes]:
    """A header and a line a row. Null and an empty text are the same: nothing."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(HistoryRow._fields)
    for page in export.pages():
        writer.writerows(
            row._replace(
                createdAt=time_text(row.createdAt),  # type: ignore[arg-type]  # as it is written
                recordedAt=time_text(row.recordedAt),  # type: ignore[arg-type]
            )
            for row in page
        )
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()  # the header, where there was no page


def ndjson_chunks(export: Export) -> Iterator[bytes]:
    """A JSON object a line; metadata as an object."""
    for page in export.pages():
        yield b"".join(orjson.dumps(_document(row)) + b"\n" for row in page)


def _document(row: HistoryRow) -> dict[str, Any]:
    return {
        **row._asdict(),
        "metadata": None if row.metadata is None else orjson.Fragment(row.metadata),
        "createdAt": time_text(row.createdAt),
        "recordedAt": time_text(row.recordedAt),
    }


def time_text(time: datetime) -> str:
    """A stored time (naive, in UTC) by RFC 3339."""
    return f"{time.isoformat(timespec='milliseconds')}Z"
