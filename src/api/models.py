"""What callers send: the bodies of requests, checked field by field."""

from collections.abc import Callable
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from api.keys import Role
from ledger import limits
from ledger.errors import InvalidField
from ledger.workflow import STATUS_LENGTH_MAX

CHANGES_MAX = 1_000
FIELDS_MAX = 20
"""More than any object has whose fields are known. Each unknown one is an error of its own, which
takes ten times its bytes to make."""

ONE_LINE = {"pattern": r"^[^\x00-\x1f\x7f-\x9f]+$"}
"""For OpenAPI; `limits` is what checks."""

ValueT = TypeVar("ValueT")


def _within(check: Callable[[ValueT], ValueT]) -> AfterValidator:
    """A limit of the ledger as a validator; pydantic names the field itself."""

    def validate(value: ValueT) -> ValueT:
        try:
            return check(value)
        except InvalidField as error:
            raise ValueError(error.message) from error

    return AfterValidator(validate)


def _text_time(value: object) -> object:
    if not isinstance(value, str) or not value[:4].isdigit() or value.isdigit():
        raise ValueError("must be a text: an RFC 3339 time with an offset")
    return value


BookingId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=limits.BOOKING_ID_LENGTH_MAX,
        examples=["4711"],
        json_schema_extra=ONE_LINE,
    ),
    _within(limits.check_booking_id),
]
Status = Annotated[
    str,
    Field(
        min_length=1,
        max_length=STATUS_LENGTH_MAX,
        examples=["confirmed"],
        json_schema_extra=ONE_LINE,
    ),
    _within(limits.check_status),
]
ChangedBy = Annotated[
    str,
    Field(
        min_length=1,
        max_length=limits.CHANGED_BY_LENGTH_MAX,
        examples=["anna@frontdesk"],
        json_schema_extra=ONE_LINE,
    ),
    _within(limits.check_changed_by),
]
Reason = Annotated[
    str,
    Field(
        max_length=limits.REASON_LENGTH_MAX,
        examples=["paid"],
        json_schema_extra={"pattern": r"^[^\x00]*$"},
    ),
    _within(limits.check_reason),
]
Metadata = Annotated[
    dict[str, Any],
    _within(limits.check_metadata),
    Field(
        description=f"At most {limits.METADATA_BYTES_MAX} bytes of JSON, without NUL characters "
        "and numbers of more than 64 bits",
        examples=[{"channel": "phone"}],
    ),
]
Time = Annotated[AwareDatetime, BeforeValidator(_text_time), _within(limits.check_time)]


def _require_few_fields(body: object) -> object:
    changes = body.get("changes") if isinstance(body, dict) else None
    objects = [body, *(changes if isinstance(changes, list) else ())]
    for number, one in enumerate(objects):
        if isinstance(one, dict) and len(one) > FIELDS_MAX:
            name = f"changes.{number - 1}" if number else "the body"
            some = ", ".join(repr(field)[:40] for field in islice(one, 3))
            raise ValueError(
                f"{name} has {len(one)} fields, {some} …; no more than {FIELDS_MAX} are allowed"
            )
    return body


OfFewFields = BeforeValidator(_require_few_fields)
"""For bodies on the long way; where all is well, the express lane does without."""


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class ChangeBody(Body):
    """One change of status."""

    status: Status
    changedBy: ChangedBy | None = None  # noqa: N815  # JSON is in camelCase
    reason: Reason | None = None
    metadata: Metadata | None = None
    occurredAt: Time | None = Field(  # noqa: N815
        None, description="When it really happened; default: now", examples=["2026-03-01T09:30:00Z"]
    )


class OpenBody(Body):
    """A booking to open. The ledger makes an id where none is given."""

    id: BookingId | None = None
    status: Status | None = Field(
        None, description="Default: the workflow's initial status", examples=["pending"]
    )
    changedBy: ChangedBy | None = None  # noqa: N815
    reason: Reason | None = None
    metadata: Metadata | None = None
    occurredAt: Time | None = Field(None, examples=["2026-03-01T09:30:00Z"])  # noqa: N815


class BulkChangeBody(ChangeBody):
    """One change of many; a booking that the ledger does not know is opened."""

    bookingId: BookingId  # noqa: N815


class BulkBody(Body):
    changes: list[BulkChangeBody] = Field(min_length=1, max_length=CHANGES_MAX)


WhyDecided = Annotated[
    str,
    Field(
        min_length=1,
        max_length=limits.REASON_LENGTH_MAX,
        description="Kept for ever and shown to every reader: name no person in it",
        examples=["request 2026-118"],
        json_schema_extra={"pattern": r"^[^\x00]*$"},
    ),
    _within(limits.check_reason),
]


class ReasonBody(Body):
    """Why something is decided."""

    reason: WhyDecided


class KeyBody(Body):
    name: Annotated[str, Field(min_length=1, max_length=100, examples=["front desk"])]
    role: Role
