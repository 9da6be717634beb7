"""How much each size measures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """`seconds` is one measured stretch of load; the others are counts.

    `few_rounds` is for subjects that take long and have no goal, or much to measure, `core_rounds`
    for that of slow cores, whose rounds differ least.
    """

    name: str
    rounds: int
    seconds: float
    bookings: int
    import_bookings: int
    rebuild_events: int
    runner_events: int
    package_events: int
    growth_base: int
    growth_events: int
    growth_seconds: float
    growth_import_rows: int
    few_rounds: int
    core_rounds: int
    overload_seconds: float
    overload_clients: int
    real_flights: bool = False
    pages_in_memory: bool = True
    """Whether growth is measured once more with all pages read just before. Left out at the small
    size, for time."""


SIZES = {
    size.name: size
    for size in (
        Size(
            name="tiny",  # to see that it runs
            rounds=1,
            seconds=0.2,
            bookings=1_000,
            import_bookings=800,
            rebuild_events=3_000,
            runner_events=100,
            package_events=60,
            growth_base=2_000,
            growth_events=6_000,
            growth_seconds=0.2,
            growth_import_rows=1_000,
            few_rounds=1,
            core_rounds=1,
            overload_seconds=1,
            overload_clients=200,
        ),
        Size(
            name="small",
            rounds=3,
            seconds=0.8,
            bookings=10_000,
            import_bookings=8_000,
            rebuild_events=50_000,
            runner_events=1_000,
            package_events=100,
            growth_base=10_000,
            growth_events=100_000,
            growth_seconds=0.6,
            growth_import_rows=10_000,
            few_rounds=2,
            core_rounds=1,
            overload_seconds=5,
            overload_clients=2_000,
            pages_in_memory=False,
        ),
        Size(
            name="full",
            rounds=7,
            seconds=5,
            bookings=10_000,
            import_bookings=100_000,
            rebuild_events=1_000_000,
            runner_events=5_000,
            package_events=2_000,
            growth_base=10_000,
            growth_events=10_000_000,
            growth_seconds=2,
            growth_import_rows=50_000,
            few_rounds=5,
            core_rounds=5,
            overload_seconds=10,
            overload_clients=4_000,
            real_flights=True,
        ),
    )
}
