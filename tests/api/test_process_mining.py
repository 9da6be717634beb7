"""pm4py opens our XES and OCEL, and finds in them what the source says."""

import warnings
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner
from hotel import load_hotel, read_source

from api.cli import main
from ledger.database import Database


@pytest.fixture(name="pm4py", scope="module")
def _pm4py() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that it imports, not of our files
        module: ModuleType = pytest.importorskip(
            "pm4py", reason="pm4py is not installed (make .venv/.readers)"
        )
    return module


def export(database: Database, format_: str, path: Path) -> Path:
    load_hotel(database)
    arguments = ["--format", format_, "--output", str(path), "--database-url", database.url]
    result = CliRunner().invoke(main, ["export", *arguments])
    assert result.exit_code == 0, result.output
    return path


# Of pm4py's own installation, whatever the file is.
@pytest.mark.filterwarnings("ignore:Install the optional requirement `r4pm`")
def test_pm4py_opens_the_xes_without_a_warning(
    pm4py: ModuleType, database: Database, tmp_path: Path
) -> None:
    path = export(database, "xes", tmp_path / "hotel.xes")
    source = read_source()

    log = pm4py.read_xes(str(path))

    assert log["case:concept:name"].nunique() == len(source) == 300
    assert len(log) == 771
    ends = Counter(entries[-1].to_status for entries in source.values())
    starts = Counter(entries[0].to_status for entries in source.values())
    assert pm4py.get_end_activities(log) == dict(ends)
    assert pm4py.get_start_activities(log) == dict(starts)
    traces = {
        case: list(zip(events["concept:name"], events["time:timestamp"], strict=True))
        for case, events in log.groupby("case:concept:name", sort=False)
    }
    assert traces == {
        case: [(entry.to_status, entry.created_at) for entry in entries]
        for case, entries in source.items()
    }
    named = log["org:resource"].dropna()
    assert Counter(named) == Counter(
        entry.changed_by for entries in source.values() for entry in entries if entry.changed_by
    )
    assert set(log["lifecycle:transition"]) == {"complete"}
    assert log["version"].tolist() == [n for one in source.values() for n in range(1, len(one) + 1)]


def test_pm4py_opens_the_ocel_without_a_warning(
    pm4py: ModuleType, database: Database, tmp_path: Path
) -> None:
    path = export(database, "ocel", tmp_path / "hotel.jsonocel")
    entries = [entry for one in read_source().values() for entry in one]

    log = pm4py.read_ocel2_json(str(path))

    assert len(log.events) == len(entries)
    assert Counter(log.events["ocel:activity"]) == Counter(entry.to_status for entry in entries)
    kinds = Counter(log.objects["ocel:type"])
    actors = {entry.changed_by for entry in entries} - {None}
    assert kinds == {"booking": 300, "actor": len(actors)}
    assert Counter(log.relations["ocel:type"]) == {
        "booking": len(entries),
        "actor": sum(entry.changed_by is not None for entry in entries),
    }
