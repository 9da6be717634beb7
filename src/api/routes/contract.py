"""What OpenAPI says of answers: their shapes, examples and the problems of each call."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.keys import Role
from api.problems import MEDIA_TYPE, TYPES, ProblemType
from ledger.booking import ActorType
from projections.rows import history_id

BOOKING = {
    "id": "4711",
    "status": "confirmed",
    "version": 2,
    "createdAt": "2026-03-01T09:30:00.000Z",
    "updatedAt": "2026-03-02T10:00:00.000Z",
    "allowedTransitions": ["in_progress", "cancelled"],
}
ENTRY = {
    "id": history_id("4711", version=1, position=41),
    "fromStatus": None,
    "toStatus": "pending",
    "changedBy": "anna@frontdesk",
    "reason": "walk-in",
    "metadata": {"channel": "phone"},
    "createdAt": "2026-03-01T09:30:00.000Z",
    "version": 1,
    "position": 41,
    "recordedAt": "2026-03-01T09:30:00.123Z",
    "actor": "api-key",
    "source": "key:front desk",
    "claimedFromStatus": None,
    "erased": False,
}
EVENT = {
    "position": 41,
    "bookingId": "4711",
    "type": "Booking.Created",
    **{name: value for name, value in ENTRY.items() if name != "createdAt"},
    "occurredAt": ENTRY["createdAt"],
}


Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


def _example(example: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class BookingAnswer(BaseModel):
    """A booking as it is, or was at the version or time asked for."""

    model_config = _example(BOOKING)

    id: str
    status: str
    version: int
    createdAt: Time  # noqa: N815  # JSON is in camelCase, here and below
    updatedAt: Time  # noqa: N815
    allowedTransitions: list[str]  # noqa: N815


class ChangedAnswer(BookingAnswer):
    """The booking after the call; `changed` is false where it had the status already."""

    model_config = _example({**BOOKING, "changed": True})

    changed: bool


class Entry(BaseModel):
    """A status that the booking came to have. `createdAt` is when that occurred."""

    model_config = _example(ENTRY)

    id: str
    fromStatus: str | None  # noqa: N815
    toStatus: str  # noqa: N815
    changedBy: str | None  # noqa: N815
    reason: str | None
    metadata: dict[str, Any] | None
    createdAt: Time  # noqa: N815
    version: int
    position: int
    recordedAt: Time  # noqa: N815
    actor: ActorType
    source: str
    claimedFromStatus: str | None  # noqa: N815
    erased: bool


class HistoryAnswer(BaseModel):
    """The whole history of a booking, oldest first."""

    model_config = _example({"bookingId": "4711", "history": [ENTRY]})

    bookingId: str  # noqa: N815
    history: list[Entry]


class EntryWithBooking(Entry):
    model_config = _example({"bookingId": "4711", **ENTRY})

    bookingId: str  # noqa: N815


class BookingPage(BaseModel):
    """A page of bookings; `next` is the cursor of the page after it, null on the last."""

    model_config = _example({"bookings": [BOOKING], "next": None})

    bookings: list[BookingAnswer]
    next: str | None


class HistoryPage(BaseModel):
    """A page of history of all bookings; `next` is the cursor of the page after it, or null.

    With several filters it may hold fewer entries than asked for, even none, and not be the last.
    """

    model_config = _example({"history": [{"bookingId": "4711", **ENTRY}], "next": None})

    history: list[EntryWithBooking]
    next: str | None


class BulkResult(BaseModel):
    """The answer to one change of many: its outcome, and the booking or the problem."""

    bookingId: str  # noqa: N815
    outcome: Literal["opened", "changed", "unchanged", "refused"]
    position: int | None = None
    booking: BookingAnswer | None = None
    problem: "ProblemAnswer | None" = None


class BulkAnswer(BaseModel):
    """An answer for each change, in order, and how many there are of each outcome."""

    model_config = _example(
        {
            "results": [
                {"bookingId": "4711", "outcome": "changed", "position": 42, "booking": BOOKING}
            ],
            "counts": {"opened": 0, "changed": 1, "unchanged": 0, "refused": 0},
        }
    )

    results: list[BulkResult]
    counts: dict[str, int]


class Event(BaseModel):
    """A recorded event."""

    model_config = _example(EVENT)

    position: int
    bookingId: str  # noqa: N815
    type: Literal["Booking.Created", "Booking.StatusChanged"]
    id: str
    fromStatus: str | None  # noqa: N815
    toStatus: str  # noqa: N815
    changedBy: str | None  # noqa: N815
    reason: str | None
    metadata: dict[str, Any] | None
    occurredAt: Time  # noqa: N815
    version: int
    recordedAt: Time  # noqa: N815
    actor: ActorType
    source: str
    claimedFromStatus: str | None  # noqa: N815
    erased: bool


class DecisionAnswer(BaseModel):
    """A decision about the personal data of a booking."""

    position: int
    bookingId: str  # noqa: N815
    type: Literal["PersonalData.Erased", "PersonalData.HoldPlaced", "PersonalData.HoldReleased"]
    version: int
    recordedAt: Time  # noqa: N815
    decidedBy: str | None  # noqa: N815
    reason: str
    actor: ActorType
    source: str


class PersonalDataAnswer(BaseModel):
    """What was decided, oldest first, and whether the booking is held now."""

    bookingId: str  # noqa: N815
    held: bool
    decisions: list[DecisionAnswer]


class DecidedAnswer(BaseModel):
    """`changed` is false where it was so already, and nothing was recorded."""

    bookingId: str  # noqa: N815
    changed: bool


class EventPage(BaseModel):
    """Events after a position, in order; `next` is the position to go on after."""

    model_config = _example({"events": [EVENT], "next": 41})

    events: list[Event | DecisionAnswer]
    next: int


class KeyAnswer(BaseModel):
    """A key, without its secret."""

    id: str
    name: str
    role: Role
    createdAt: Time  # noqa: N815
    lastUsedAt: Time | None  # noqa: N815
    revokedAt: Time | None  # noqa: N815


class NewKeyAnswer(BaseModel):
    """A new key. The secret is shown this once."""

    id: str
    name: str
    role: Role
    secret: str


class KeysAnswer(BaseModel):
    keys: list[KeyAnswer]


class CheckpointEntry(BaseModel):
    """A checkpoint: `note` is the signed text, which holds size and root too."""

    size: int
    root: str
    createdAt: Time  # noqa: N815
    note: str


class CheckpointPage(BaseModel):
    """Checkpoints by size; `next` is the size to go on after, null on the last page."""

    checkpoints: list[CheckpointEntry]
    next: int | None


class ConsistencyAnswer(BaseModel):
    """RFC 6962 consistency proof: hashes in base64."""

    model_config = _example(
        {"from": 1, "to": 2, "hashes": ["FDvXSxlPJhQAkIy1TjOoDU5E8Yuxgnnk/YvJGZe4sUc="]}
    )

    from_: int = Field(alias="from")
    to: int
    hashes: list[str]


class Alive(BaseModel):
    status: Literal["ok"]


class Failure(BaseModel):
    """What the projector died of last; it is started again."""

    at: Time | None
    message: str


class Behind(BaseModel):
    events: int
    seconds: float


class ProjectionState(BaseModel):
    """The position up to which a projection is derived, and how far that is behind."""

    position: int
    lag: Behind
    failure: Failure | None


class Readiness(BaseModel):
    """`degraded`: writes are recorded, but the read model is behind or has failed."""

    status: Literal["ready", "degraded"]
    head: int
    projections: dict[str, ProjectionState]
    databaseSeconds: float  # noqa: N815


class Unavailable(BaseModel):
    """The database cannot be reached."""

    status: Literal["unavailable"]
    detail: str


class ProblemAnswer(BaseModel):
    """RFC 9457 problem; `error` repeats the title for older clients. Some have more members."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(json_schema_extra={"format": "uri-reference"})
    title: str
    status: int
    detail: str
    instance: str = Field(json_schema_extra={"format": "uri-reference"})
    error: str


Responses = dict[int | str, dict[str, Any]]


def _header(description: str, *, required: bool = True, type_: str = "string") -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": type_}}


def _problem_example(kind: ProblemType) -> dict[str, Any]:
    return {
        "summary": kind.title,
        "value": {
            "type": f"/problems/{kind.name}",
            "title": kind.title,
            "status": kind.status,
            "detail": kind.meaning,
            "instance": "/api/bookings/4711",
            "error": kind.title,
        },
    }


_PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": _header("Bearer")},
    503: {"Retry-After": _header("Seconds to wait", type_="integer")},
}


def problems(*names: str) -> Responses:
    """The problem answers of a call, for OpenAPI. Every call can be refused for its key."""
    by_status: Responses = {}
    for name in ("unauthorized", "forbidden", "store-unavailable", *names):
        kind = TYPES[name]
        schema = {"$ref": "#/components/schemas/ProblemAnswer"}
        entry = by_status.setdefault(
            kind.status,
            {
                "description": kind.title,
                "headers": _PROBLEM_HEADERS.get(kind.status, {}),
                "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}},
            },
        )
        if kind.title not in entry["description"]:
            entry["description"] += f" · {kind.title}"
        entry["content"][MEDIA_TYPE]["examples"][name] = _problem_example(kind)
    return by_status


_POSITION = "Position of the event, or the newest where nothing was recorded"
WRITE_HEADERS = {"Ledger-Position": _header(_POSITION, type_="integer")}
BULK_HEADERS = {
    "Ledger-Position": _header(
        "The highest position of the results; absent where all were refused",
        required=False,
        type_="integer",
    )
}
LOCATION_HEADERS = {"Location": _header("Where the booking is")}
ETAG_HEADERS = {"ETag": _header('Version, as `"v3"`')}
READ_HEADERS = {
    **ETAG_HEADERS,
    "Ledger-Position": _header("Position of the last event read", type_="integer"),
}
LINK_HEADERS = {"Link": _header("RFC 8288, rel=next; absent on the last page", required=False)}
LIST_HEADERS = {
    **LINK_HEADERS,
    "Ledger-Position": _header("Position up to which the list is derived", type_="integer"),
}
NOT_MODIFIED: Responses = {
    304: {"description": "As it was at the version in If-None-Match", "headers": READ_HEADERS}
}
