"""What OpenAPI says of the answers of analytics."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.routes.contract import Time

_AS_OF = {"asOfPosition": 771, "asOf": "2026-03-02T10:00:00.000Z"}
_DURATIONS = {
    "total": 7200.0,
    "mean": 3600.0,
    "median": 3600.0,
    "shortest": 1800.0,
    "longest": 5400.0,
}
_TRANSITION = {"from": "pending", "to": "confirmed", "count": 2, "seconds": _DURATIONS}
_STAY = {
    "status": "pending",
    "visits": 3,
    "closed": 2,
    "seconds": _DURATIONS,
    "open": 1,
    "openSeconds": 60.0,
}
_FUNNEL: dict[str, Any] = {
    "bookings": 3,
    "reopened": 0,
    "statuses": [{"status": "pending", "bookings": 3, "current": 1}],
    "conversions": [
        {
            "from": "pending",
            "to": "confirmed",
            "bookings": 3,
            "converted": 2,
            "direct": 2,
            "conversion": 0.6667,
        }
    ],
}


def _example(**members: Any) -> ConfigDict:
    example: Any = {**_AS_OF, **members}
    return ConfigDict(json_schema_extra={"examples": [example]})


class Durations(BaseModel):
    """In seconds, to the millisecond; the median of an even number is the middle of the two.
    Below zero where times contradict the order of the changes."""

    total: float
    mean: float
    median: float
    shortest: float
    longest: float


class AsOf(BaseModel):
    """The position that the answer is true for, and when its event was recorded; null at 0."""

    asOfPosition: int  # noqa: N815  # JSON is in camelCase, here and below
    asOf: Time | None  # noqa: N815


class TransitionFigures(BaseModel):
    """`day` or `changedBy` are there if grouped by. `from` and `seconds` (the time in `from`)
    are null for the entry into a first status."""

    from_: str | None = Field(alias="from")
    to: str
    day: Annotated[str, Field(json_schema_extra={"format": "date"})] | None = None
    changedBy: str | None = None  # noqa: N815
    count: int
    seconds: Durations | None


class TransitionsAnswer(AsOf):
    model_config = _example(transitions=[_TRANSITION])

    transitions: list[TransitionFigures]


class StatusFigures(BaseModel):
    """Stays in a status. `seconds` are those of the closed ones, null if there are none;
    `openSeconds` is how long the open ones have lasted together at `asOf`."""

    status: str
    visits: int
    closed: int
    seconds: Durations | None
    open: int
    openSeconds: float | None  # noqa: N815


class TimeInStatusAnswer(AsOf):
    """A status that no booking had is not in it."""

    model_config = _example(statuses=[_STAY])

    statuses: list[StatusFigures]


class ReachedFigures(BaseModel):
    """How many bookings ever had the status, and how many have it at the position."""

    status: str
    bookings: int
    current: int


class ConversionFigures(BaseModel):
    """Of `bookings` that had `from`, `converted` had `to` at some time after it, `direct` right
    after it. `conversion` is converted / bookings, to four digits."""

    from_: str = Field(alias="from")
    to: str
    bookings: int
    converted: int
    direct: int
    conversion: float


class FunnelAnswer(AsOf):
    """`reopened` bookings came back to a status that they had left."""

    model_config = _example(**_FUNNEL)

    bookings: int
    reopened: int
    statuses: list[ReachedFigures]
    conversions: list[ConversionFigures]
