"""Where the statuses and transitions of a flow stand on paper: layers from left to right. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from projections.analytics.transitions import Transition

EDGES_MAX = 24
"""More lines than this nobody can follow; the table has all of them."""

WIDTH, HEIGHT = 150, 48
_COLUMN, _ROW, _MARGIN = 310, 104, 24
_STROKE_MIN, _STROKE_MAX = 1.2, 7.0


@dataclass(frozen=True, slots=True)
class Box:
    """A status: the left upper corner of its box, and how often it was entered."""

    status: str
    entered: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Line:
    """A transition: an SVG path, its width, and where its number stands."""

    transition: Transition
    path: str
    stroke: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class FlowMap:
    boxes: Sequence[Box]
    lines: Sequence[Line]
    width: float
    height: float
    left_out: int


def draw(rows: Sequence[Transition]) -> FlowMap:
    """Each status once, in the column of how many changes it is away from a first status; the
    `EDGES_MAX` most frequent transitions between them."""
    changes = [row for row in rows if row.from_status is not None]
    shown = sorted(changes, key=lambda row: -row.changes)[:EDGES_MAX]
    entered: dict[str, int] = {}
    for row in rows:
        entered[row.to_status] = entered.get(row.to_status, 0) + row.changes
        if row.from_status is not None:
            entered.setdefault(row.from_status, 0)
    boxes = _boxes(entered, _layers(entered, rows))
    width = max((box.x for box in boxes.values()), default=0) + WIDTH + _MARGIN
    height = max((box.y for box in boxes.values()), default=0) + HEIGHT + 3 * _MARGIN
    most = max((row.changes for row in shown), default=1)
    lines = [_line(row, boxes[row.from_status or ""], boxes[row.to_status], most) for row in shown]
    return FlowMap(list(boxes.values()), lines, width, height, len(changes) - len(shown))


def _layers(statuses: Iterable[str], rows: Sequence[Transition]) -> dict[str, int]:
    layers = {row.to_status: 0 for row in rows if row.from_status is None}
    onward: dict[str, list[str]] = {}
    for row in rows:
        if row.from_status is not None:
            onward.setdefault(row.from_status, []).append(row.to_status)
    if not layers and onward:  # in this period nothing was opened
        layers = {max(onward, key=lambda status: len(onward[status])): 0}
    reached = list(layers)
    for status in reached:  # grows while it is gone through
        for following in onward.get(status, ()):
            if following not in layers:
                layers[following] = layers[status] + 1
                reached.append(following)
    return {status: layers.get(status, 0) for status in statuses}


def _boxes(entered: Mapping[str, int], layers: Mapping[str, int]) -> dict[str, Box]:
    columns: dict[int, list[str]] = {}
    for status in sorted(entered, key=lambda one: (-entered[one], one)):
        columns.setdefault(layers[status], []).append(status)
    tallest = max((len(column) for column in columns.values()), default=0)
    boxes: dict[str, Box] = {}
    for layer, column in columns.items():
        top = (tallest - len(column)) * _ROW / 2 + 2 * _MARGIN
        for place, status in enumerate(column):
            x, y = _MARGIN + layer * _COLUMN, top + place * _ROW
            boxes[status] = Box(status, entered[status], x, y)
    return boxes


def _line(row: Transition, start: Box, end: Box, most: int) -> Line:
    stroke = _STROKE_MIN + (_STROKE_MAX - _STROKE_MIN) * sqrt(row.changes / most)
    if end.x > start.x:
        x1, y1, x2, y2 = start.x + WIDTH, start.y + HEIGHT / 2, end.x, end.y + HEIGHT / 2
        bend = (x2 - x1) / 2
        path = f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
        # Nearer to its end, where lines that begin together have parted.
        return Line(row, path, stroke, x1 + (x2 - x1) * 0.62, y1 + (y2 - y1) * 0.68 - 6)
    x1, x2 = start.x + WIDTH * 0.35, end.x + WIDTH * 0.65
    y1, y2 = start.y, end.y
    if end.x == start.x and end.y > start.y:
        y1, x1, x2 = start.y + HEIGHT, start.x + WIDTH * 0.5, end.x + WIDTH * 0.5
        path = f"M{x1:g} {y1:g}L{x2:g} {y2:g}"
        return Line(row, path, stroke, x1 + 8, (y1 + y2) / 2)
    top = min(y1, y2) - 44
    path = f"M{x1:g} {y1:g}C{x1:g} {top:g} {x2:g} {top:g} {x2:g} {y2:g}"
    return Line(row, path, stroke, (x1 + x2) / 2, top + 16)
