"""Everything the ledger can refuse, as one small tree.

The docstring of each error is its title. Data about the case is in its fields, so that an
answer can be stored with an idempotency key and given again unchanged.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


class LedgerError(Exception):
    """The ledger refused"""

    @property
    def title(self) -> str:
        return (type(self).__doc__ or "").strip()


@dataclass(eq=False)
class Refusal(LedgerError):
    """A command was refused by a rule of the domain"""

    registry: ClassVar[dict[str, type["Refusal"]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Refusal.registry[cls.__name__] = cls

    def to_record(self) -> dict[str, Any]:
        return {"refusal": type(self).__name__, **asdict(self)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Refusal":
        fields = dict(record)
        return cls.registry[fields.pop("refusal")](**fields)


@dataclass(eq=False)
class BookingNotFound(Refusal):
    """Booking not found"""

    booking_id: str

    def __str__(self) -> str:
        return f"The ledger knows no booking {self.booking_id!r}."


@dataclass(eq=False)
class BookingExists(Refusal):
    """Booking exists already"""

    booking_id: str
    status: str
    version: int

    def __str__(self) -> str:
        return f"Booking {self.booking_id!r} is open already, with status {self.status!r}."


@dataclass(eq=False)
class TransitionNotAllowed(Refusal):
    """Transition not allowed"""

    booking_id: str
    from_status: str
    to_status: str
    allowed: list[str]

    def __str__(self) -> str:
        allowed = ", ".join(self.allowed) or "nothing, it is final"
        return (
            f"A booking cannot go from {self.from_status!r} to {self.to_status!r}; "
            f"from {self.from_status!r} it can go to: {allowed}."
        )


@dataclass(eq=False)
class UnknownStatus(Refusal):
    """Unknown status"""

    status: str
    allowed: list[str]

    def __str__(self) -> str:
        return f"{self.status!r} is no status of the workflow; it has: {', '.join(self.allowed)}."


@dataclass(eq=False)
class VersionMismatch(Refusal):
    """Booking has changed"""

    booking_id: str
    version: int
    status: str
    allowed: list[str]

    def __str__(self) -> str:
        return f"Booking {self.booking_id!r} is at version {self.version}, not the one expected."


@dataclass(eq=False)
class PersonalDataHeld(Refusal):
    """Booking is under legal hold"""

    booking_id: str

    def __str__(self) -> str:
        return (
            f"What is personal in booking {self.booking_id!r} is under legal hold and cannot be "
            "erased; release the hold first."
        )


@dataclass(eq=False)
class IdempotencyKeyReused(Refusal):
    """Idempotency key used before"""

    key: str

    def __str__(self) -> str:
        return f"Idempotency key {self.key!r} was used before, for a different request."


@dataclass(eq=False)
class InvalidField(Refusal):
    """Invalid value"""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class WorkflowError(LedgerError):
    """Workflow file is not valid"""


class Busy(LedgerError):
    """Too much is waiting"""


class StoreUnavailable(LedgerError):
    """The database cannot be reached"""


class OutcomeUnknown(LedgerError):
    """The connection was lost while the change was being committed"""


class SchemaOutdated(LedgerError):
    """The database schema does not fit this version of the software"""
