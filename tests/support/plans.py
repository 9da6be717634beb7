"""How PostgreSQL finds what is asked for."""

import re
from typing import Any

import psycopg

TWENTY_THOUSAND = """
    INSERT INTO "Booking"
    SELECT 'b' || n, 's' || n % 100, 1, t, t, n
    FROM generate_series(1, 20000) AS n, LATERAL (
        SELECT timestamp '2026-01-01' + n * interval '1 minute') AS at (t);
    INSERT INTO "BookingStatusHistory"
    SELECT gen_random_uuid(), 'b' || n, 'f' || n % 100, 's' || n % 100, 'u' || n % 100, NULL, NULL,
        t, 1, n, t, 'system', 'test', NULL, false
    FROM generate_series(1, 20000) AS n, LATERAL (
        SELECT timestamp '2026-01-01' + n * interval '1 minute') AS at (t);
    ANALYZE "Booking", "BookingStatusHistory";
"""


class Explaining(psycopg.Connection):
    """Remembers the plan of each statement before it runs it."""

    plan = ""
    plans: tuple[str, ...] = ()

    @property
    def rows_read(self) -> int:
        """By the index that the last statement begins with."""
        return int(re.findall(r"actual rows=(\d+)", self.plan)[-1])

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else query
        if text.startswith("SET"):
            return super().execute(query, params, **options)
        explain = f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {text}"
        lines = super().execute(explain, params).fetchall()
        self.plan = "\n".join(line for (line,) in lines)
        self.plans += (self.plan,)
        return super().execute(query, params, **options)


def rows_at_most(plan: str) -> int:
    """The most rows that any step of it gave or passed over, each time that it was taken."""
    return max(int(rows) for rows in re.findall(r"(?:actual rows=|Removed by .*: )(\d+)", plan))


def assert_indexed(plan: str, *, sorts: bool) -> None:
    assert "Index" in plan, plan
    assert "Seq Scan" not in plan, plan
    assert sorts or "Sort" not in plan, plan
