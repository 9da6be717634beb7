"""What was measured: rows of a table, and the files that they go to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True)
class Spread:
    """The ratios of interleaved pairs."""

    median: float
    min: float
    max: float


@dataclass(frozen=True)
class Goal:
    """What is to be reached: by the ratio to the peer, or by our own figure."""

    sign: Literal["≥", "≤"]
    value: float
    of: Literal["ratio", "ours"] = "ratio"

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}{' ×' if self.of == 'ratio' else ''}"

    def is_met(self, found: float) -> bool:
        return found >= self.value if self.sign == "≥" else found <= self.value


@dataclass(frozen=True)
class Row:
    """One line: `ours` and `peer` are medians over the rounds, in `unit`."""

    subject: str
    name: str
    unit: str
    ours: float
    against: str | None = None
    peer: float | None = None
    ratio: Spread | None = None
    goal: str | None = None
    met: bool | None = None


def compare(
    subject: str,
    name: str,
    unit: str,
    ours: Sequence[float],
    against: str,
    peer: Sequence[float],
    goal: Goal | None = None,
) -> Row:
    """Ours and a peer's figures of the same rounds, round by round."""
    ratios = [one / other for one, other in zip(ours, peer, strict=True)]
    spread = Spread(median(ratios), min(ratios), max(ratios))
    return Row(
        subject,
        name,
        unit,
        median(ours),
        against,
        median(peer),
        spread,
        None if goal is None else str(goal),
        None if goal is None else goal.is_met(spread.median),
    )


def alone(
    subject: str, name: str, unit: str, ours: Sequence[float], goal: Goal | None = None
) -> Row:
    """A figure that is compared with nothing but perhaps a goal."""
    found = median(ours)
    met = None if goal is None else goal.is_met(found)
    return Row(subject, name, unit, found, goal=None if goal is None else f"{goal} {unit}", met=met)


def markdown(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    lines = [
        *(f"- {name}: {value}" for name, value in facts.items()),
        "",
        "| work | ours | compared with | its figure | ratio (min to max) | goal | met |",
        "| --- | ---: | --- | ---: | ---: | --- | --- |",
        *(_line(row) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def save(
    directory: Path,
    name: str,
    rows: Sequence[Row],
    facts: Mapping[str, Any],
    samples: Mapping[str, Any],
) -> None:
    """Rows as JSON and Markdown; `samples` is what they were made from."""
    directory.mkdir(parents=True, exist_ok=True)
    document = {"facts": dict(facts), "rows": [asdict(row) for row in rows], "samples": samples}
    content = json.dumps(document, ensure_ascii=False, indent=1)
    (directory / f"{name}.json").write_text(content + "\n", encoding="utf-8")
    (directory / f"{name}.md").write_text(markdown(rows, facts), encoding="utf-8")


def _line(row: Row) -> str:
    peer = "" if row.peer is None else f"{number(row.peer)} {row.unit}"
    ratio = ""
    if row.ratio is not None:
        low, high = number(row.ratio.min), number(row.ratio.max)
        ratio = f"{number(row.ratio.median)} ({low} to {high})"
    met = {None: "", True: "yes", False: "**no**"}[row.met]
    cells = (
        f"{row.subject}: {row.name}",
        f"{number(row.ours)} {row.unit}",
        row.against or "",
        peer,
        ratio,
        row.goal or "",
        met,
    )
    return f"| {' | '.join(cells)} |"


def number(value: float) -> str:
    """As tables have it."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
