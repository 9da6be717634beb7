"""The folder of Parquet is one table to DuckDB, Polars and Spark, and the same one as ours."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hotel import load_hotel

from api.cli import main
from ledger.database import Database

SPARK_PROGRAM = Path(__file__).parents[1] / "support" / "spark_counts.py"
SPARK_SECONDS = 150
MISSING = "{} is not installed (make .venv/.readers)"
Found = dict[str, Any]


def with_duckdb(folder: Path) -> Found:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW history AS FROM read_parquet('{folder}/*/*.parquet')")

        def ask(query: str) -> list[tuple[Any, ...]]:
            rows: list[tuple[Any, ...]] = connection.execute(query).fetchall()
            return rows

        return {
            "rows": ask("SELECT count(*) FROM history")[0][0],
            "statuses": dict(ask('SELECT "toStatus", count(*) FROM history GROUP BY 1')),
            "months": dict(ask("SELECT month, count(*) FROM history GROUP BY 1")),
            "milliseconds": ask('SELECT sum(epoch_ms("createdAt")) FROM history')[0][0],
            "latest": ask(
                'SELECT "bookingId", arg_max("toStatus", version), max(version)'
                " FROM history GROUP BY 1 ORDER BY 1 LIMIT 20"
            ),
        }


def with_polars(folder: Path) -> Found:
    pl = pytest.importorskip("polars", reason=MISSING.format("polars"))
    table = pl.scan_parquet(folder, hive_partitioning=True)
    collected = table.collect()
    latest = table.sort("version").group_by("bookingId").last().sort("bookingId").head(20)
    return {
        "rows": collected.height,
        "statuses": dict(collected["toStatus"].value_counts().iter_rows()),
        "months": {str(k): v for k, v in collected["month"].value_counts().iter_rows()},
        "milliseconds": collected["createdAt"].dt.epoch("ms").sum(),
        "latest": latest.select("bookingId", "toStatus", "version").collect().rows(),
    }


def with_spark(folder: Path) -> Found:
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip(MISSING.format("pyspark"))
    if shutil.which("java") is None:
        pytest.skip("pyspark needs Java 17, which is not installed")
    result = subprocess.run(
        [sys.executable, str(SPARK_PROGRAM), str(folder)],
        env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=SPARK_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found: Found = json.loads(result.stdout)
    types = found.pop("types")
    assert types["createdAt"] == types["recordedAt"] == "timestamp"
    assert (types["version"], types["position"], types["erased"]) == ("int", "bigint", "boolean")
    found["latest"] = [tuple(row) for row in found["latest"]]
    return found


@pytest.mark.parametrize("read", [with_duckdb, with_polars, with_spark])
def test_the_folder_is_one_table(
    database: Database, tmp_path: Path, read: Callable[[Path], Found]
) -> None:
    load_hotel(database)
    folder = tmp_path / "months"
    arguments = ["--format", "parquet", "--partition-by", "month", "--output", str(folder)]
    exported = CliRunner().invoke(main, ["export", *arguments, "--database-url", database.url])
    assert exported.exit_code == 0, exported.output

    with database.connect() as connection:
        rows = connection.execute(
            'SELECT "bookingId", version, "toStatus", to_char("createdAt", \'YYYY-MM\'),'
            ' round(extract(epoch FROM "createdAt") * 1000)::bigint FROM "BookingStatusHistory"'
            ' ORDER BY "bookingId", version'
        ).fetchall()
    latest = {row[0]: (row[0], row[2], row[1]) for row in rows}
    assert read(folder) == {
        "rows": len(rows),
        "statuses": Counter(row[2] for row in rows),
        "months": Counter(row[3] for row in rows),
        "milliseconds": sum(row[4] for row in rows),
        "latest": list(latest.values())[:20],
    }
