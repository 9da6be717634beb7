"""Spark reads a folder of Parquet as one table and says what it found, as a line of JSON.

A program of its own: `python spark_counts.py FOLDER`. The Java machine that it starts listens on
loopback only and ends with it.
"""

import json
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

LOOPBACK = "127.0.0.1"


def main(folder: str) -> None:
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", LOOPBACK)
        .config("spark.driver.bindAddress", LOOPBACK)
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "1")
        .getOrCreate()
    )
    table = spark.read.parquet(folder)
    milliseconds = f.unix_millis(f.col("createdAt"))
    found = {
        "rows": table.count(),
        "types": dict(table.dtypes),
        "statuses": {
            row["toStatus"]: row["count"] for row in table.groupBy("toStatus").count().collect()
        },
        "months": {
            str(row["month"]): row["count"] for row in table.groupBy("month").count().collect()
        },
        "milliseconds": table.agg(f.sum(milliseconds)).collect()[0][0],
        "latest": [
            tuple(row)
            for row in table.groupBy("bookingId")
            .agg(f.max_by("toStatus", "version"), f.max("version"))
            .orderBy("bookingId")
            .limit(20)
            .collect()
        ],
    }
    spark.stop()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
