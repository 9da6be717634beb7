"""What is read for a batch does not grow with the ledger: no plan may scan the table of events."""

import psycopg
import pytest

from ledger.transaction import LOAD
from projections.feed import (
    EVENTS_AFTER,
    EVENTS_OF,
    EVENTS_WITH_KEYS_AFTER,
    HAS_BOOKING,
    HEAD,
    RECORDED_AT,
)
from projections.recent_changes import CHANGED

TWENTY_THOUSAND = """
    INSERT INTO ledger_events (originator_id, originator_version, topic, state, notification_id)
    SELECT 'b' || n / 3, n % 3 + 1, 'Booking.StatusChanged', '{}', n + 1
    FROM generate_series(0, 19999) AS n
"""


@pytest.mark.parametrize("analyzed", [True, False])
@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize(
    ("statement", "types"), [(LOAD, "text[], bigint[], text[], text[]"), (EVENTS_OF, "text[]")]
)
def test_bookings_are_looked_up_one_by_one(
    connection: psycopg.Connection, statement: str, types: str, mode: str, analyzed: bool
) -> None:
    connection.execute(TWENTY_THOUSAND)
    if analyzed:
        connection.execute("ANALYZE ledger_events")
    connection.execute(f"SET plan_cache_mode = {mode}")
    numbered = (
        statement.replace("%b::text[]", "$1").replace("%b::bigint[]", "$2").replace("%b", "$3")
    )
    connection.execute(f"PREPARE load ({types}) AS {numbered}")
    values = ["ARRAY['b1', 'b700', 'none']", "ARRAY[0, 1, 0]", "ARRAY['b1']", "ARRAY['none']"][
        : types.count("[]")
    ]
    explained = connection.execute(f"EXPLAIN EXECUTE load ({', '.join(values)})")
    plan = "\n".join(line for (line,) in explained)

    assert "Seq Scan" not in plan
    assert "ledger_events_pkey" in plan


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (EVENTS_AFTER, (19_000, 50)),
        (EVENTS_WITH_KEYS_AFTER, (19_000, 2_000)),
        (CHANGED.replace("$1", "%s").replace("$2", "%s"), (19_000, 20_000)),
        (RECORDED_AT, (7,)),
        (HEAD, ()),
        (HAS_BOOKING, ("b7",)),
    ],
    ids=["feed", "projector", "what changed lately", "when", "head", "whether it is known"],
)
def test_what_follows_the_events_begins_at_their_index(
    connection: psycopg.Connection, statement: str, values: tuple[object, ...]
) -> None:
    connection.execute(TWENTY_THOUSAND)
    connection.execute("ANALYZE ledger_events")
    explained = connection.execute(f"EXPLAIN {statement}".encode(), values)
    plan = "\n".join(line for (line,) in explained)

    assert "Seq Scan" not in plan, plan
    assert "Index" in plan
    assert "Sort" not in plan, plan
