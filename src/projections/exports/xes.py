"""XES (IEEE 1849): a trace a booking, an event a change, for process-mining tools."""

import re
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from xml.sax.saxutils import quoteattr

from projections.exports.source import Export
from projections.exports.text import time_text
from projections.rows import HistoryRow

HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="1849-2016" xes.features="nested-attributes" \
xmlns="http://www.xes-standard.org/">
<extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>
<extension name="Time" prefix="time" uri="http://www.xes-standard.org/time.xesext"/>
<extension name="Organizational" prefix="org" uri="http://www.xes-standard.org/org.xesext"/>
<extension name="Lifecycle" prefix="lifecycle" uri="http://www.xes-standard.org/lifecycle.xesext"/>
<global scope="trace"><string key="concept:name" value="-"/></global>
<global scope="event"><string key="concept:name" value="-"/>\
<date key="time:timestamp" value="1970-01-01T00:00:00.000+00:00"/>\
<string key="lifecycle:transition" value="complete"/></global>
<classifier name="Status" keys="concept:name"/>
"""
CHUNK_TRACES = 1_000

_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


def xes_chunks(export: Export) -> Iterator[bytes]:
    """Traces by booking, events by version; signs that XML cannot hold become U+FFFD."""
    yield f'{HEAD}<int key="position" value="{export.position}"/>\n'.encode()
    parts: list[str] = []
    for booking_id, rows in groupby(export.rows(), attrgetter("bookingId")):
        parts.append(f"<trace>{_attribute('concept:name', booking_id)}\n")
        parts.extend(map(_event, rows))
        parts.append("</trace>\n")
        if len(parts) > CHUNK_TRACES:
            yield "".join(parts).encode()
            parts.clear()
    yield ("".join(parts) + "</log>\n").encode()


def _event(row: HistoryRow) -> str:
    time = time_text(row.createdAt).replace("Z", "+00:00")
    recorded_at = time_text(row.recordedAt).replace("Z", "+00:00")
    return (
        f"<event>{_attribute('concept:name', row.toStatus)}"
        f'<date key="time:timestamp" value="{time}"/>'
        '<string key="lifecycle:transition" value="complete"/>'
        f"{_attribute('org:resource', row.changedBy)}"
        f"{_attribute('fromStatus', row.fromStatus)}"
        f"{_attribute('reason', row.reason)}"
        f"{_attribute('metadata', row.metadata)}"
        f"{_attribute('actor', row.actor)}"
        f'<int key="version" value="{row.version}"/>'
        f'<int key="position" value="{row.position}"/>'
        f'<date key="recordedAt" value="{recorded_at}"/></event>\n'
    )


def _attribute(key: str, value: str | None) -> str:
    if value is None:
        return ""
    return f'<string key="{key}" value={quoteattr(_ILLEGAL.sub(chr(0xFFFD), value))}/>'
