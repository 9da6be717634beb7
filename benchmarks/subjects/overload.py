"""Twice the rate that the service can sustain: what it sheds, how late it is, how it recovers."""

from statistics import median

from benchmarks.context import Context, settle
from benchmarks.filling import open_bookings
from benchmarks.load import Paced, Sample
from benchmarks.requests import changes
from benchmarks.results import Goal, Row, alone

SUBJECT = "overload"
CLIENTS = 32
CALM_SECONDS = 3.0
AFTER_SECONDS = 10.0
WINDOW_SECONDS = 0.2
OVERLOADED, UNAVAILABLE = 2.0, 503
P99_MILLISECONDS_MAX = 1_000.0
RECOVERY_SECONDS_MAX = 1.0
"""Bounds of our own: what was asked for is that there are some."""


def run(context: Context) -> list[Row]:
    size, load = context.size, context.load
    ids = [f"overload-{number:06}" for number in range(size.bookings)]
    database = context.databases.ledger()
    open_bookings(database, context.workflow, ids)
    half = len(ids) // 2
    closed = load.define(changes(ids[:half], CLIENTS))
    paced = load.define(changes(ids[half:], 1))
    with context.ours(database) as server:
        sustained = [load.closed(server.url, closed, CLIENTS, size.seconds).rate for _ in range(3)]
        rate = median(sustained)
        settle(database)
        found = load.paced(
            server.url,
            paced,
            size.overload_clients,
            [
                (rate / 2, CALM_SECONDS),
                (rate * OVERLOADED, size.overload_seconds),
                (rate / 2, AFTER_SECONDS),
            ],
        )
        settle(database)
    calm, hot, after = (_of(found, number) for number in range(3))
    accepted = [sample for sample in hot if sample.status == 200]
    shed = [sample for sample in hot if sample.status == UNAVAILABLE]
    other = len(hot) - len(accepted) - len(shed)
    facts = {
        "sustained": sustained,
        "due": len(hot),
        "accepted": len(accepted),
        "shed": len(shed),
        "other": other,
        "waiting_max": found.waiting_max,
        "unanswered": found.unanswered,
        "windows": _windows(found),
    }
    context.keep(SUBJECT, facts)
    end = found.phases[1]["end"]
    sent = sum(sample.sent <= end for sample in hot)
    goals = {
        "share of other failures": Goal("≤", 0, "ours"),
        "p99 of accepted, from when due": Goal("≤", P99_MILLISECONDS_MAX, "ours"),
        "recovery: seconds until as before": Goal("≤", RECOVERY_SECONDS_MAX, "ours"),
    }
    at = [
        ("sustained rate, 32 clients", "/s", rate),
        (f"rate that fell due, {size.overload_clients} connections", "/s", rate * OVERLOADED),
        ("rate really sent", "/s", sent / size.overload_seconds),
        ("accepted", "/s", sum(s.answered <= end for s in accepted) / size.overload_seconds),
        ("share of 503", "", len(shed) / len(hot)),
        ("share of other failures", "", other / len(hot)),
        ("p99 before, from when due", "ms", _p99(calm)),
        ("p99 of accepted, from when due", "ms", _p99(accepted)),
        ("p99 of accepted, from when sent", "ms", _p99(accepted, from_sent=True)),
        ("p99 of 503, from when sent", "ms", _p99(shed, from_sent=True)),
        ("recovery: seconds until as before", "s", _recovery(found, calm, after)),
    ]
    return [alone(SUBJECT, name, unit, [value], goals.get(name)) for name, unit, value in at]


def _of(found: Paced, number: int) -> list[Sample]:
    phase = found.phases[number]
    return [s for s in found.samples if phase["begin"] <= s.due < phase["end"]]


def _p99(samples: list[Sample], *, from_sent: bool = False) -> float:
    if not samples:
        return 0.0
    times = sorted(s.answered - (s.sent if from_sent else s.due) for s in samples)
    return times[len(times) * 99 // 100] * 1000


def _recovery(found: Paced, calm: list[Sample], after: list[Sample]) -> float:
    """From the end of the overload to the first window in which all is as it was before.

    As before: no failures, and a median of at most twice the median of the calm.
    """
    usual = median(s.answered - s.due for s in calm) * 2
    begin = found.phases[2]["begin"]
    window = 0
    while members := _window(after, begin + window * WINDOW_SECONDS):
        fine = all(s.status == 200 for s in members)
        if fine and median(s.answered - s.due for s in members) <= usual:
            return window * WINDOW_SECONDS
        window += 1
    return AFTER_SECONDS


def _window(samples: list[Sample], begin: float) -> list[Sample]:
    return [s for s in samples if begin <= s.due < begin + WINDOW_SECONDS]


def _windows(found: Paced) -> list[dict[str, float]]:
    """How it went, second by second of when requests fell due."""
    begin, end = found.phases[0]["begin"], found.phases[-1]["end"]
    seconds: list[dict[str, float]] = []
    for second in range(int(end - begin)):
        members = [s for s in found.samples if second <= s.due - begin < second + 1]
        accepted = [s for s in members if s.status == 200]
        seconds.append(
            {
                "second": second,
                "due": len(members),
                "accepted": len(accepted),
                "shed": sum(s.status == UNAVAILABLE for s in members),
                "p99": _p99(accepted),
            }
        )
    return seconds
