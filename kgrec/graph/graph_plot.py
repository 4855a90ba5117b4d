"""Pictures of a graph: its types and relations with their counts, and histograms of degrees and times."""

from __future__ import annotations

import math

import numpy as np
import torch

from kgrec.graph.graph import Graph
from kgrec.graph.parts import NO_TIME
from kgrec.plots.charts import CHARACTER, HEIGHT, WIDTH, bar_chart, drawing, shortened, stacked, text
from kgrec.plots.markup import Markup, element

MOST_TYPES = 20  #: node types that are drawn; of more, the largest
MOST_NAMES = 3  #: relations that are named along one line
LONGEST = 30  #: characters of a name
BINS = 20  #: of the histogram of times
YEAR = 366 * 86_400
Area = tuple[float, float, float, float]  #: left, top, right and bottom end


def graph_plot(graph: Graph) -> Markup:
    """The schema, and below it the degrees of users and items, and the times of edges where some have one."""
    schema, height = _schema(graph)
    parts = [(height, schema)]
    if graph.schema.target is not None:
        parts.append((HEIGHT, degree_plot(graph)))
    if bool((graph.time != NO_TIME).any()):
        parts.append((HEIGHT, time_plot(graph)))
    return stacked("The graph", parts)


def schema_plot(graph: Graph) -> Markup:
    """Node types as boxes with their numbers of nodes, and relations as lines with their numbers of edges. Relations
    between the same two types share a line; the target relation's is the thickest."""
    return _schema(graph)[0]


def _schema(graph: Graph) -> tuple[Markup, float]:
    counts = {name: node.count for name, node in graph.schema.nodes.items()}
    kept = sorted(counts, key=lambda name: -counts[name])[:MOST_TYPES]
    target = graph.schema.target
    ends = [] if target is None else [one for one in dict.fromkeys((target[0], target[2])) if one in counts]
    others = [name for name in counts if name in kept and name not in ends]
    middle = len(others) // 2
    order = [*ends[:1], *others[:middle], *ends[1:], *others[middle:]]
    height = 150.0 + 70 * max(1, len(order) - 1)
    place = _places(order, height)
    lines: dict[tuple[str, str], list[tuple[str, int, bool]]] = {}
    for one, start, stop in zip(graph.edge_types, graph.relation_ptr, graph.relation_ptr[1:]):
        if one[0] in place and one[2] in place:
            lines.setdefault((one[0], one[2]), []).append((one[1], stop - start, one == target))
    boxes = [_box(place[name], name, counts[name]) for name in order]
    taken = [_around(place[name], name, counts[name]) for name in order]
    drawn = [_line(place, pair, relations, (pair[1], pair[0]) in lines, taken) for pair, relations in lines.items()]
    left = len(counts) - len(order)
    more = text(12, height - 10, f"and {left:,} smaller types of nodes", class_="quiet") if left > 0 else None
    said = f"{len(counts)} types of nodes, {len(graph.edge_types)} relations"
    curves, labels = [one for one, _ in drawn], [one for _, one in drawn]
    return drawing("Types and relations", WIDTH, height, curves, boxes, labels, more, summary=said), height


def _places(order: list[str], height: float) -> dict[str, tuple[float, float]]:
    """The middle of each box, on an ellipse, the first at the left."""
    across, down = WIDTH / 2 - 120, (height - 150) / 2 if len(order) > 2 else 0
    found = {}
    for place, name in enumerate(order):
        angle = math.pi + 2 * math.pi * place / max(1, len(order))
        found[name] = (WIDTH / 2 + across * math.cos(angle), 40 + (height - 60) / 2 + down * math.sin(angle))
    return found


def _around(place: tuple[float, float], name: str, count: int) -> Area:
    """Where the box of a type is."""
    wide = 24 + 1.25 * CHARACTER * max(len(shortened(name, LONGEST)), len(f"{count:,}"))
    return place[0] - wide / 2, place[1] - 21, place[0] + wide / 2, place[1] + 21


def _rectangle(area: Area, **attributes: object) -> Markup:
    x, y, x2, y2 = area
    return element("rect", x=f"{x:.1f}", y=f"{y:.1f}", width=f"{x2 - x:.1f}", height=f"{y2 - y:.1f}", **attributes)


def _box(place: tuple[float, float], name: str, count: int) -> list[Markup]:
    x, y = place
    box = _rectangle(_around(place, name, count), rx=8, class_="box")
    label = text(x, y - 3, shortened(name, LONGEST), "middle", class_="name")
    return [box, label, text(x, y + 14, f"{count:,}", "middle", class_="quiet")]


def _line(
    place: dict[str, tuple[float, float]],
    pair: tuple[str, str],
    relations: list[tuple[str, int, bool]],
    both: bool,
    taken: list[Area],
) -> tuple[Markup, list[Markup]]:
    """A line between two types, and its labels. both: whether another line leads back, so that this one is bent. taken:
    where boxes and other labels are; the labels' own place is added."""
    (x, y), (x2, y2) = place[pair[0]], place[pair[1]]
    class_ = "edge target" if any(is_target for *_, is_target in relations) else "edge"
    if pair[0] == pair[1]:
        start, end = f"{x - 20:.1f} {y - 20:.1f}", f"{x + 20:.1f} {y - 20:.1f}"
        path = f"M {start} C {x - 60:.1f} {y - 75:.1f} {x + 60:.1f} {y - 75:.1f} {end}"
        middles = [(x, y - 66), (x, y - 84), (x, y - 50)]
    else:
        length = math.hypot(x2 - x, y2 - y) or 1.0
        bend = 46.0 if both else 0.0
        c, d = (x + x2) / 2 - (y2 - y) / length * bend, (y + y2) / 2 + (x2 - x) / length * bend
        path = f"M {x:.1f} {y:.1f} Q {c:.1f} {d:.1f} {x2:.1f} {y2:.1f}"
        along = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74)
        middles = [
            ((1 - t) ** 2 * x + 2 * t * (1 - t) * c + t * t * x2, (1 - t) ** 2 * y + 2 * t * (1 - t) * d + t * t * y2)
            for t in along
        ]
    relations = sorted(relations, key=lambda one: (not one[2], -one[1]))
    said = [f"{shortened(name, LONGEST)} {count:,}" for name, count, _ in relations[:MOST_NAMES]]
    if len(relations) > MOST_NAMES:
        rest = relations[MOST_NAMES:]
        said.append(f"and {len(rest):,} more, {sum(count for _, count, _ in rest):,}")
    wide, high = CHARACTER * max(map(len, said)) + 4, 16.0 * len(said)
    areas = [(one - wide / 2, two - high / 2, one + wide / 2, two + high / 2) for one, two in middles]
    area = next((one for one in areas if not any(_overlap(one, other) for other in taken)), areas[0])
    taken.append(area)
    middle = (area[0] + area[2]) / 2
    labels = [text(middle, area[1] + 12 + 16 * row, one, "middle") for row, one in enumerate(said)]
    return element("path", d=path, class_=class_), [_rectangle(area, class_="ground"), *labels]


def _overlap(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def degree_parts(degree: np.ndarray) -> dict[str, int]:
    """How many nodes have how many edges, in parts that double in width.

    >>> degree_parts(np.array([0, 1, 2, 3, 4, 9]))
    {'0': 1, '1': 1, '2': 1, '3-4': 2, '5-8': 0, '9-16': 1}
    """
    part = np.ceil(np.log2(np.maximum(degree, 1))).astype(np.int64) + 1
    part[degree == 0] = 0
    counts = np.bincount(part)
    ends = [(0, 0), (1, 1), *(((1 << one) // 2 + 1, 1 << one) for one in range(1, len(counts)))]
    names = [f"{low:,}" if low == high else f"{low:,}-{high:,}" for low, high in ends]
    return dict(zip(names, counts.tolist()))


def degree_plot(graph: Graph) -> Markup:
    """How many target edges users and items have, as shares of users and of items."""
    edges, found = graph.only(graph.target), dict[str, dict[str, int]]()
    for node_type, end, way in ((graph.target[0], edges.head, "from"), (graph.target[2], edges.tail, "to")):
        nodes = graph.range(node_type)
        degree = torch.bincount(end.long(), minlength=graph.pad)[nodes.start : nodes.stop].cpu().numpy()
        found[f"{way} {node_type}"] = degree_parts(degree)
    names = max((list(parts) for parts in found.values()), key=len)
    shares = {name: [parts.get(one, 0) / max(1, sum(parts.values())) for one in names] for name, parts in found.items()}
    return bar_chart(f"Edges of {graph.target[1]}", names, shares, "number of edges", "share of nodes")


def time_plot(graph: Graph) -> Markup:
    """How many edges there are over time, in twenty parts of equal length."""
    times = graph.time[graph.time != NO_TIME].cpu().numpy()
    first, last = int(times.min()), int(times.max())
    counts, ends = np.histogram(times, bins=BINS if last > first else 1)
    unit, cut = ("M", 7) if last - first > YEAR else ("D", 10) if last - first > 40 * 86_400 else ("h", 13)
    starts = [str(np.datetime64(int(one), "s").astype(f"datetime64[{unit}]"))[:cut] for one in ends[:-1]]
    names = [one[5:] if unit != "M" else one for one in starts]
    label = f"{np.datetime64(first, 's').astype('datetime64[D]')} to {np.datetime64(last, 's').astype('datetime64[D]')}"
    distinct = [name if names.count(name) == 1 else f"{name} " for name in names]
    return bar_chart("Edges over time", distinct, {"edges": counts.tolist()}, label, "edges")
