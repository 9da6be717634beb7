"""`python -m benchmarks.runs DIRECTORY`: what came of every goal in every run that is kept there.

A run is a JSON file of `benchmarks`; their names are in the order of what was measured.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import number

BESIDE_CONSTANTS = ("record", "change, 32 clients", "constant answer of FastAPI")
HEAD = """\
# Every run

What came of each goal in each run that is kept here, in the order of the commits that were
measured: the median of our figure, or of the ratio to what it is compared with; of growth, in
brackets to how many events. **Bold** is missed. Made by `python -m benchmarks.runs`; the files
have the spread, the machine, and what the medians are made from.

| work | compared with | goal | full size | small size |
| --- | --- | --- | --- | --- |
"""
_EVENTS = re.compile(r", ([\d,]+) events \(.*\)$")

Lines = dict[tuple[str, str, str], dict[str, list[str]]]
"""By work, what it is compared with, and the goal: what came of it, by size."""


def main() -> int:
    sys.stdout.write(every_run(Path(sys.argv[1])))
    return 0


def every_run(directory: Path) -> str:
    lines: Lines = {}
    for file in sorted(directory.glob("*.json")):
        run = json.loads(file.read_text(encoding="utf-8"))
        for key, cell in _cells(run["rows"], run["facts"]["commit"]):
            found = lines.setdefault(key, {"full": [], "small": []})
            found["small" if run["facts"]["size"] == "small" else "full"].append(cell)
    return HEAD + "".join(
        f"| {' | '.join((*key, ', '.join(cells['full']), ', '.join(cells['small'])))} |\n"
        for key, cells in sorted(lines.items())
    )


def _cells(
    rows: Iterable[Mapping[str, Any]], commit: str
) -> Iterable[tuple[tuple[str, str, str], str]]:
    for row in rows:
        if (row["subject"], row["name"], row["against"]) == BESIDE_CONSTANTS:
            yield ("a constant answer", "", ""), f"{commit} {number(row['peer'])}/s"
        if row["goal"] is None:
            continue
        events = _EVENTS.search(row["name"])
        name = row["name"][: events.start()] if events else row["name"]
        of_ratio = "×" in row["goal"]
        figure = number(row["ratio"]["median"] if of_ratio else row["ours"])
        cell = f"{commit} {figure if row['met'] else f'**{figure}**'}"
        size = f" ({_short(events[1])})" if events else ""
        yield (f"{row['subject']}: {name}", row["against"] or "", row["goal"]), cell + size


def _short(events: str) -> str:
    return events.replace(",000,000", "m").replace(",000", "k")


if __name__ == "__main__":
    sys.exit(main())
