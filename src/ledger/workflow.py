"""The statuses of a booking, the initial one, and the changes that are allowed."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.errors import UnknownStatus, WorkflowError

STATUS_LENGTH_MAX = 100


@dataclass(frozen=True)
class Workflow:
    """A named set of statuses with the transitions between them.

    `transitions` maps each status that one can leave to the statuses that it can become.
    None means that any change is allowed. A status without an entry is final.
    """

    name: str
    statuses: tuple[str, ...]
    initial: str
    transitions: Mapping[str, tuple[str, ...]] | None

    def require_status(self, status: str) -> None:
        if status not in self.statuses:
            raise UnknownStatus(status=status, allowed=list(self.statuses))

    def allowed_from(self, status: str) -> list[str]:
        """The statuses that a booking in `status` can change to, in the workflow's order.

        A status that an older workflow had and this one has not allows nothing, unless any
        change is allowed.
        """
        if self.transitions is None:
            return [other for other in self.statuses if other != status]
        return list(self.transitions.get(status, ()))


DEFAULT = Workflow(
    name="booking",
    statuses=("pending", "confirmed", "in_progress", "completed", "cancelled"),
    initial="pending",
    transitions={
        "pending": ("confirmed", "cancelled"),
        "confirmed": ("in_progress", "cancelled"),
        "in_progress": ("completed", "cancelled"),
    },
)


def read_workflow(path: Path) -> Workflow:
    """Read a workflow from a TOML file. Raises WorkflowError naming the key that is wrong."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkflowError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkflowError(f"{path}: is not TOML: {error}") from error
    try:
        return _workflow(document)
    except WorkflowError as error:
        raise WorkflowError(f"{path}: {error}") from error


def _workflow(document: Mapping[str, Any]) -> Workflow:
    unknown = sorted(set(document) - {"name", "statuses", "initial", "transitions"})
    if unknown:
        raise WorkflowError(f"{unknown[0]!r} is not a key of a workflow")
    statuses = _names(document.get("statuses"), "statuses")
    if not statuses:
        raise WorkflowError("'statuses' must name at least one status")
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise WorkflowError("'name' must be a text")
    initial = document.get("initial")
    if initial not in statuses:
        raise WorkflowError(f"'initial' is {initial!r} but must be one of 'statuses'")
    return Workflow(name, statuses, str(initial), _transitions(document, statuses))


def _transitions(
    document: Mapping[str, Any], statuses: tuple[str, ...]
) -> dict[str, tuple[str, ...]] | None:
    table = document.get("transitions")
    if table is None:
        return None
    if not isinstance(table, dict):
        raise WorkflowError("'transitions' must be a table")
    transitions = {}
    for status, targets in table.items():
        key = f"transitions.{status}"
        for mentioned in (status, *_names(targets, key)):
            if mentioned not in statuses:
                raise WorkflowError(f"'{key}' has {mentioned!r}, which is not in 'statuses'")
        if status in targets:
            raise WorkflowError(f"'{key}' leads to itself; the same status records nothing")
        transitions[status] = tuple(targets)
    return transitions


def _names(value: object, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise WorkflowError(f"'{key}' must be a list of texts")
    if len(set(value)) != len(value):
        raise WorkflowError(f"'{key}' names a status twice")
    if any(len(item) > STATUS_LENGTH_MAX or not item.isprintable() for item in value):
        raise WorkflowError(
            f"'{key}' may hold printable names of at most {STATUS_LENGTH_MAX} characters"
        )
    return tuple(value)
