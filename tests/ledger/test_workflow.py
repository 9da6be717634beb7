"""The statuses and transitions that a ledger allows."""

from pathlib import Path

import pytest

from ledger.errors import UnknownStatus, WorkflowError
from ledger.workflow import DEFAULT, STATUS_LENGTH_MAX, read_workflow

TABLE_RESERVATION = """
name = "table reservation"
statuses = ["asked", "reserved", "seated", "nicht erschienen"]
initial = "asked"

[transitions]
asked = ["reserved"]
reserved = ["seated", "nicht erschienen"]
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "workflow.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        ("pending", ["confirmed", "cancelled"]),
        ("confirmed", ["in_progress", "cancelled"]),
        ("in_progress", ["completed", "cancelled"]),
        ("completed", []),
        ("cancelled", []),
    ],
)
def test_default_allows_exactly_the_documented_transitions(status: str, allowed: list[str]) -> None:
    assert allowed == DEFAULT.allowed_from(status)


def test_default_has_the_documented_statuses_and_starts_pending() -> None:
    assert DEFAULT.statuses == (
        "pending",
        "confirmed",
        "in_progress",
        "completed",
        "cancelled",
    )
    assert DEFAULT.initial == "pending"


def test_a_file_gives_name_statuses_initial_and_transitions(written) -> None:
    workflow = read_workflow(written(TABLE_RESERVATION))

    assert workflow.name == "table reservation"
    assert workflow.statuses == ("asked", "reserved", "seated", "nicht erschienen")
    assert workflow.initial == "asked"
    assert workflow.allowed_from("asked") == ["reserved"]
    assert workflow.allowed_from("reserved") == ["seated", "nicht erschienen"]


def test_a_status_without_a_line_is_final(written) -> None:
    workflow = read_workflow(written(TABLE_RESERVATION))

    assert workflow.allowed_from("seated") == []


def test_without_a_transitions_table_any_other_status_is_allowed(written) -> None:
    workflow = read_workflow(
        written('name = "free"\nstatuses = ["on", "off", "broken"]\ninitial = "on"')
    )

    assert workflow.allowed_from("off") == ["on", "broken"]


def test_an_empty_transitions_table_makes_every_status_final(written) -> None:
    """It is not the same as no table at all."""
    workflow = read_workflow(
        written('name = "frozen"\nstatuses = ["on", "off"]\ninitial = "on"\n[transitions]')
    )

    assert workflow.allowed_from("on") == []


def test_a_status_of_an_older_workflow_leads_nowhere_unless_any_change_is_allowed(written) -> None:
    free = read_workflow(written('name = "free"\nstatuses = ["on", "off"]\ninitial = "on"'))

    assert DEFAULT.allowed_from("waitlisted") == []
    assert free.allowed_from("waitlisted") == ["on", "off"]


def test_an_unknown_status_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(UnknownStatus) as refused:
        DEFAULT.require_status("waitlisted")

    assert refused.value.status == "waitlisted"
    assert refused.value.allowed == list(DEFAULT.statuses)


HEAD = 'name = "n"\nstatuses = ["on", "off"]\ninitial = "on"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = ", "is not TOML"),
        (b"name = '\xff'", "is not TOML"),
        ("", "'statuses' must be a list of texts"),
        ("statuses = []", "'statuses' must name at least one status"),
        ('statuses = "on"', "'statuses' must be a list of texts"),
        ('statuses = ["on", 1]', "'statuses' must be a list of texts"),
        ('statuses = ["on", ""]', "'statuses' must be a list of texts"),
        ('statuses = ["on", "on"]', "'statuses' names a status twice"),
        ('statuses = ["on\\n"]', "'statuses' may hold printable names"),
        (f'statuses = ["{"o" * (STATUS_LENGTH_MAX + 1)}"]', "'statuses' may hold printable names"),
        ('statuses = ["on"]', "'name' must be a text"),
        ('statuses = ["on"]\nname = 1', "'name' must be a text"),
        ('statuses = ["on"]\nname = "n"', "'initial' is None"),
        ('statuses = ["on"]\nname = "n"\ninitial = "off"', "'initial' is 'off'"),
        (HEAD + "inital = 1", "'inital' is not a key of a workflow"),
        (HEAD + 'transitions = ["on"]', "'transitions' must be a table"),
        (HEAD + '[transitions]\nof = ["on"]', "'transitions.of' has 'of'"),
        (HEAD + '[transitions]\non = ["of"]', "'transitions.on' has 'of'"),
        (HEAD + '[transitions]\non = "off"', "'transitions.on' must be a list of texts"),
        (HEAD + '[transitions]\non = ["off", "off"]', "'transitions.on' names a status twice"),
        (HEAD + '[transitions]\non = ["on"]', "'transitions.on' leads to itself"),
    ],
)
def test_what_is_wrong_is_named_with_the_file_and_the_key(
    written, text: str | bytes, complaint: str
) -> None:
    path = written(text)

    with pytest.raises(WorkflowError) as refused:
        read_workflow(path)

    assert str(refused.value).startswith(f"{path}: {complaint}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match=r"nowhere\.toml: cannot be read: No such file"):
        read_workflow(tmp_path / "nowhere.toml")
