"""The formats of an export."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from projections.exports.ocel import ocel_chunks
from projections.exports.parquet import parquet_chunks
from projections.exports.parquet import require as require_parquet
from projections.exports.source import Export
from projections.exports.text import csv_chunks, ndjson_chunks
from projections.exports.xes import xes_chunks


@dataclass(frozen=True)
class ExportFormat:
    """`chunks` streams the bytes of a file; `require` raises ExtraMissing where it could not."""

    media_type: str
    suffix: str
    chunks: Callable[[Export], Iterator[bytes]]
    require: Callable[[], None] = lambda: None


FORMATS: Mapping[str, ExportFormat] = {
    "csv": ExportFormat("text/csv; charset=utf-8; header=present", "csv", csv_chunks),
    "ndjson": ExportFormat("application/x-ndjson", "ndjson", ndjson_chunks),
    "parquet": ExportFormat(
        "application/vnd.apache.parquet", "parquet", parquet_chunks, require_parquet
    ),
    "xes": ExportFormat("application/xml", "xes", xes_chunks),
    "ocel": ExportFormat("application/json", "jsonocel", ocel_chunks),
}
