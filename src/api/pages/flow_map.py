"""Where the statuses and transitions of a flow stand on paper: layers from left to right. Pure.

grandalf finds the layers and the order in them (decision 0020). A line that passes a layer has a
place of its own there, so it crosses no box.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

from grandalf.graphs import Edge, Graph, Vertex, graph_core
from grandalf.layouts import SugiyamaLayout, VertexViewer
from grandalf.utils.poset import Poset

from projections.analytics.transitions import Transition

EDGES_MAX = 24
"""More lines than this nobody can follow; the table has all of them."""

WIDTH, HEIGHT = 150, 48
_GAP, _ROW, _MARGIN = 170, 40, 24
_PASSING = 26
_LABEL = 17
_STROKE_MIN, _STROKE_MAX = 1.2, 7.0

Point = tuple[float, float]
Pair = tuple[str, str]


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
    """The `EDGES_MAX` most frequent transitions, and the statuses that they and first entries lead
    to or come from, each once, left of those that follow it where there is no way back."""
    changes = [row for row in rows if row.from_status is not None]
    shown = sorted(changes, key=lambda row: -row.changes)[:EDGES_MAX]
    pairs = {(str(row.from_status), row.to_status): row for row in shown}
    first = [row.to_status for row in rows if row.from_status is None]
    placed = _place(dict.fromkeys([*first, *(status for pair in pairs for status in pair)]), pairs)
    boxes = []
    for status, (x, y) in placed.centres.items():
        entered = sum(row.changes for row in rows if row.to_status == status)
        boxes.append(Box(status, entered, x - WIDTH / 2, y - HEIGHT / 2))
    return FlowMap(
        boxes,
        _lines(pairs, placed),
        max((box.x + WIDTH for box in boxes), default=0) + _MARGIN,
        max((y + HEIGHT / 2 for _, y in placed.points()), default=0) + _MARGIN,
        len(changes) - len(shown),
    )


@dataclass(frozen=True)
class _Placed:
    """The centre of each box, and through which points each line passes the layers between."""

    centres: dict[str, Point]
    between: dict[Pair, list[Point]]

    def points(self) -> Iterable[Point]:
        yield from self.centres.values()
        for points in self.between.values():
            yield from points


class _Passed:
    """Hears from grandalf through which points an edge goes, from centre to centre."""

    points: Sequence[Point] = ()

    def setpath(self, points: Sequence[Point]) -> None:
        self.points = points


def _place(statuses: Iterable[str], pairs: Iterable[Pair]) -> _Placed:
    """Parts that nothing connects stand below each other."""
    vertices = {status: Vertex(status) for status in statuses}
    for vertex in vertices.values():  # grandalf draws from top to bottom: turned by a quarter
        vertex.view = VertexViewer(w=HEIGHT, h=WIDTH)
    edges = [Edge(vertices[a], vertices[b]) for a, b in pairs if a != b]
    for edge in edges:
        edge.view = _Passed()
    graph = Graph(list(vertices.values()), edges)
    placed, top = _Placed({}, {}), float(_MARGIN)
    for part in graph.C:
        # In our order: in grandalf's own the same flow would be drawn in another way each time.
        part.sV = Poset(vertex for vertex in vertices.values() if vertex in part.sV)
        part.sE = Poset(edge for edge in edges if edge in part.sE)
        centres, between = _place_part(part)
        points = [*centres.values(), *(point for some in between.values() for point in some)]
        left = min(x for x, _ in points) - WIDTH / 2 - _MARGIN
        up = min(y for _, y in points) - HEIGHT / 2 - top
        moved = {name: (x - left, y - up) for name, (x, y) in centres.items()}
        placed.centres.update(moved)
        placed.between.update(
            {pair: [(x - left, y - up) for x, y in some] for pair, some in between.items()}
        )
        top = max(y for _, y in points) - up + HEIGHT / 2 + _ROW
    return placed


def _place_part(part: graph_core) -> tuple[dict[str, Point], dict[Pair, list[Point]]]:
    back = _ways_back(list(part.sV))
    roots = [vertex for vertex in part.sV if all(edge in back for edge in vertex.e_in())]
    layout = SugiyamaLayout(part)
    layout.xspace, layout.yspace = _ROW, _GAP
    layout.dw, layout.dh = _PASSING, WIDTH  # what a line that passes takes
    layout.init_all(roots=roots, inverted_edges=back)
    layout.draw(8)
    centres = {vertex.data: _turned(vertex.view.xy) for vertex in part.sV}
    between = {
        (edge.v[0].data, edge.v[1].data): [_turned(point) for point in edge.view.points[1:-1]]
        for edge in part.sE
    }
    return centres, between


def _ways_back(order: Sequence[Vertex]) -> list[Edge]:
    """Edges that lead back to where one came from; without them nothing goes round."""
    back: list[Edge] = []
    under_way: dict[Vertex, bool] = {}

    def visit(vertex: Vertex) -> None:
        under_way[vertex] = True
        for edge in vertex.e_out():
            if under_way.get(edge.v[1]):
                back.append(edge)
            elif edge.v[1] not in under_way:
                visit(edge.v[1])
        under_way[vertex] = False

    for vertex in order:
        if vertex not in under_way:
            visit(vertex)
    return back


def _turned(point: Point) -> Point:
    return float(point[1]), float(point[0])


def _lines(pairs: Mapping[Pair, Transition], placed: _Placed) -> list[Line]:
    most = max((row.changes for row in pairs.values()), default=1)
    ways = _ways(pairs, placed)
    labels = _labels(ways)
    return [
        Line(
            row,
            _path(ways[pair]),
            _STROKE_MIN + (_STROKE_MAX - _STROKE_MIN) * sqrt(row.changes / most),
            *labels[pair],
        )
        for pair, row in pairs.items()
        if pair in ways
    ]


def _ways(pairs: Iterable[Pair], placed: _Placed) -> dict[Pair, list[Point]]:
    """Corners of each line. Those that touch a side of a box share it out, in the order of where
    they go, so that they do not lie on each other."""
    touching: dict[tuple[str, int], list[tuple[float, Pair]]] = {}
    between = {pair: placed.between[pair] for pair in pairs if pair in placed.between}
    for pair, passed in between.items():
        for here, there, points in ((*pair, passed), (*pair[::-1], passed[::-1])):
            nearest = points[0] if points else placed.centres[there]
            side = 1 if nearest[0] > placed.centres[here][0] else -1
            touching.setdefault((here, side), []).append((nearest[1], pair))
    ends: dict[tuple[str, Pair], Point] = {}
    for (status, side), some in touching.items():
        x, y = placed.centres[status]
        for place, (_, pair) in enumerate(sorted(some), start=1):
            share = (place / (len(some) + 1) - 0.5) * HEIGHT
            ends[status, pair] = (x + side * WIDTH / 2, y + share)
    ways = {}
    for pair, passed in between.items():
        start, end = ends[pair[0], pair], ends[pair[1], pair]
        half = WIDTH / 2 if end[0] > start[0] else -WIDTH / 2
        corners = [corner for x, y in passed for corner in ((x - half, y), (x + half, y))]
        ways[pair] = [start, *corners, end]
    return ways


def _path(way: Sequence[Point]) -> str:
    text = "M{:g} {:g}".format(*way[0])
    for (x1, y1), (x2, y2) in pairwise(way):
        bend = (x2 - x1) / 2
        text += f"C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
    return text


def _labels(ways: Mapping[Pair, Sequence[Point]]) -> dict[Pair, Point]:
    """In the middle of the gap before its end, moved where two would stand on each other."""
    columns: dict[float, list[tuple[float, Pair]]] = {}
    for pair, way in ways.items():
        (x1, y1), (x2, y2) = way[-2:]
        columns.setdefault(round((x1 + x2) / 2), []).append(((y1 + y2) / 2 - 6, pair))
    labels: dict[Pair, Point] = {}
    for x, some in columns.items():
        lowest = float("-inf")
        for y, pair in sorted(some):
            lowest = max(y, lowest + _LABEL)
            labels[pair] = (x, lowest)
    return labels
