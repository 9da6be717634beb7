"""Parquet, as one file or as a folder with a partition for each month. Needs the extra `export`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.errors import LedgerError
from projections.exports.source import Export
from projections.rows import HistoryRow

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_ROWS = 50_000
BUFFERED_ROWS_MAX = 100_000
COMPRESSION = "zstd"

NULLABLE = frozenset({"fromStatus", "changedBy", "reason", "metadata", "claimedFromStatus"})


class ExtraMissing(LedgerError):
    """This format needs packages that are not installed"""


def require() -> None:
    """Raises ExtraMissing where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415  # an extra
    except ImportError as error:
        raise ExtraMissing(
            "Parquet needs an extra: pip install 'booking-ledger[export]' (pyarrow)."
        ) from error


def schema() -> "pa.Schema":
    """The columns with their types: times in UTC, to the millisecond; metadata is JSON text."""
    import pyarrow as pa  # noqa: PLC0415

    types = {
        "version": pa.int32(),
        "position": pa.int64(),
        "createdAt": pa.timestamp("ms", tz="UTC"),
        "recordedAt": pa.timestamp("ms", tz="UTC"),
        "erased": pa.bool_(),
    }
    return pa.schema(
        pa.field(name, types.get(name, pa.string()), nullable=name in NULLABLE)
        for name in HistoryRow._fields
    )


def parquet_chunks(export: Export) -> Iterator[bytes]:
    """One file, sorted by booking and version, row group by row group."""
    require()
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    sink = _Sink()
    sorting = [
        pq.SortingColumn(HistoryRow._fields.index(name)) for name in ("bookingId", "version")
    ]
    with pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"), schema(), compression=COMPRESSION, sorting_columns=sorting
    ) as writer:
        waiting: list[pa.Table] = []  # columns are much smaller than rows
        for page in export.pages():
            waiting.append(_table(page))
            if sum(one.num_rows for one in waiting) >= ROW_GROUP_ROWS:
                writer.write_table(pa.concat_tables(waiting))
                waiting = []
                yield sink.take()
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
    yield sink.take()


def write_months(export: Export, folder: Path) -> None:
    """A folder with a file for each month in which changes occurred (`month=2026-03/…`).

    DuckDB, Polars and Spark read it as one table with a column `month`. Within a file, rows
    are by booking and version.
    """
    require()
    months = _Months(folder)
    try:
        for page in export.pages():
            months.add(page)
    finally:
        months.close()


class _Months:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: dict[str, list[HistoryRow]] = {}
        self._rows = 0
        self._writers: dict[str, Any] = {}

    def add(self, page: Sequence[HistoryRow]) -> None:
        for row in page:
            self._waiting.setdefault(f"{row.createdAt:%Y-%m}", []).append(row)
        self._rows += len(page)
        # Memory is bounded by all months together, row groups are as large as that allows.
        while self._rows > BUFFERED_ROWS_MAX:
            self._flush(max(self._waiting, key=lambda month: len(self._waiting[month])))

    def close(self) -> None:
        for month in list(self._waiting):
            self._flush(month)
        for writer in self._writers.values():
            writer.close()

    def _flush(self, month: str) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415

        rows = self._waiting.pop(month)
        self._rows -= len(rows)
        if month not in self._writers:
            path = self._folder / f"month={month}" / "part-0.parquet"
            path.parent.mkdir(parents=True)
            self._writers[month] = pq.ParquetWriter(path, schema(), compression=COMPRESSION)
        self._writers[month].write_table(_table(rows))


def _table(rows: Sequence[HistoryRow]) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415

    columns = schema()
    # A stored time is naive and means UTC, which is how Arrow takes it for a column in UTC.
    arrays = [
        pa.array(values, type=field.type)
        for values, field in zip(zip(*rows, strict=True), columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=columns)


class _Sink:
    """A file that is only written to, and whose content is taken away from time to time."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._position = 0

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        self._position += len(part)
        return len(part)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
