"""An explanation as a small drawing: its nodes in columns from the user to the items, as SVG or PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from kgrec.errors import KgrecError, unknown_name
from kgrec.files import whole
from kgrec.output_kinds import marked_kind
from kgrec.printable import printable
from kgrec.serving.relation_words import node_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kgrec.serving.explanation import Explanation, PathNode, ReasonPath

MARKER = "drawn by kgrec explain"  #: what stands in a drawing, by which it is known
KIND = marked_kind("drawing of kgrec's", MARKER)
ENDINGS = (".png", ".svg")
WIDTH, HEIGHT, ACROSS, DOWN = 170, 34, 290, 58  #: of a box, and from one to the next, in pixels
LONGEST = 22  #: characters of a label that are drawn
DOTS_PER_PIXEL = 2


@dataclass(frozen=True)
class Box:
    """A node as it is drawn."""

    kind: str  #: user, had, between or item
    label: str  #: all of it
    x: int  #: of its middle
    y: int

    @property
    def short(self) -> str:
        """What is drawn of its label."""
        return self.label if len(self.label) <= LONGEST else f"{self.label[: LONGEST - 1]}…"


@dataclass(frozen=True)
class Line:
    """A link as it is drawn: from one box to another."""

    start: Box
    stop: Box
    label: str
    onwards: bool  #: whether the relation leads from start to stop


@dataclass(frozen=True)
class Drawing:
    """Boxes and lines, of a width and a height in pixels."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: int
    height: int


def drawing_of(paths: Sequence[ReasonPath]) -> Drawing:
    """The nodes and links of paths, each drawn once."""
    longest = max((len(path.relations) for path in paths), default=0)
    columns: dict[int, list[tuple[PathNode, str]]] = {}
    place: dict[tuple[str, str, int], tuple[int, int]] = {}
    for path in paths:
        for at, node in enumerate(path.nodes):
            column = longest if at == len(path.nodes) - 1 else at
            key = node.type, node.id, column
            if key not in place:
                rows = columns.setdefault(column, [])
                kind = "user" if at == 0 else "item" if column == longest else "had" if at == 1 else "between"
                place[key] = column, len(rows)
                rows.append((node, kind))
    most = max((len(rows) for rows in columns.values()), default=0)
    width, height = ACROSS * longest + WIDTH + 20, max(most, 1) * DOWN + 10
    boxes: dict[tuple[int, int], Box] = {}
    for column, rows in columns.items():
        for row, (node, kind) in enumerate(rows):
            label = printable(node_words(node.label))
            y = (height - (len(rows) - 1) * DOWN) // 2 + row * DOWN
            boxes[column, row] = Box(kind, label, 10 + WIDTH // 2 + column * ACROSS, y)
    lines: dict[tuple[tuple[int, int], tuple[int, int]], dict[tuple[str, bool], None]] = {}
    for path in paths:
        stops = [
            place[node.type, node.id, longest if step == len(path.nodes) - 1 else step]
            for step, node in enumerate(path.nodes)
        ]
        for start, stop, relation in zip(stops, stops[1:], path.relations):
            lines.setdefault((start, stop), {})[printable(relation.label), relation.onwards] = None
    drawn = [
        Line(boxes[start], boxes[stop], ", ".join(label for label, _ in labels), all(onwards for _, onwards in labels))
        for (start, stop), labels in lines.items()
    ]
    return Drawing(tuple(boxes.values()), tuple(drawn), width, height)


def as_svg(paths: Sequence[ReasonPath], title: str, name: str = "paths") -> str:
    """A drawing as SVG that a page can hold: without scripts and styles, in the page's own colors, with a title and a
    description that is read aloud. name: begins the ids in it."""
    drawing = drawing_of(paths)
    title = printable(title)
    said = "; ".join(printable(path.text).replace("*", "") for path in paths) or "no path"
    parts = [
        f'<svg class="paths" role="img" aria-labelledby="{name}-title {name}-said" xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {drawing.width} {drawing.height}" width="{drawing.width}" height="{drawing.height}" '
        f'font-family="system-ui" font-size="13">',
        f'<title id="{name}-title">{escape(title)}</title>',
        f'<desc id="{name}-said">{escape(said)}</desc>',
        f"<!-- {MARKER} -->",
    ]
    for line in drawing.lines:
        x1, x2 = line.start.x + WIDTH // 2, line.stop.x - WIDTH // 2
        parts.append(
            f'<line class="path-link" x1="{x1}" y1="{line.start.y}" x2="{x2}" y2="{line.stop.y}" '
            'stroke="currentColor" stroke-opacity="0.55"/>'
        )
        arrow = "→" if line.onwards else "←"
        x, y = (x1 + x2) // 2, (line.start.y + line.stop.y) // 2 - 5
        parts.append(
            f'<text x="{x}" y="{y}" text-anchor="middle" fill="currentColor" font-size="11">'
            f"{escape(_short(line.label, 18))} {arrow}</text>"
        )
    parts += [
        f'<g class="path-{box.kind}"><title>{escape(box.label)}</title>'
        f'<rect x="{box.x - WIDTH // 2}" y="{box.y - HEIGHT // 2}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
        'fill="none" stroke="currentColor"/>'
        f'<text x="{box.x}" y="{box.y + 5}" text-anchor="middle" fill="currentColor">{escape(box.short)}</text></g>'
        for box in drawing.boxes
    ]
    return "\n".join([*parts, "</svg>"])


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def check_drawing(file: Path) -> None:
    """Raise KgrecError for a file that no drawing can be written to: an ending that is not known, or a PNG where
    matplotlib is not installed."""
    if file.suffix.lower() not in ENDINGS:
        raise unknown_name("form of drawing", file.suffix or file.name, ENDINGS, "to write")
    if file.suffix.lower() == ".png":
        _figure(1, 1)


def write_drawing(explanation: Explanation, file: Path, *, overwrite: bool = False) -> None:
    """Write a drawing as .png or .svg. Raises KgrecError as `check_drawing`, and for a file that is there, unless it is
    a drawing and `overwrite` is set."""
    check_drawing(file)
    title = f"Why {explanation.model} recommends these items to {explanation.user.label}"
    with whole(file, overwrite, KIND) as part:
        if file.suffix.lower() == ".svg":
            part.write_text(as_svg(explanation.paths, title), encoding="utf-8")
        else:
            as_figure(drawing_of(explanation.paths), title).savefig(
                part, format="png", dpi=72 * DOTS_PER_PIXEL, metadata={"Software": MARKER}
            )


def _figure(width: float, height: float) -> Figure:
    """An empty figure. Raises KgrecError if matplotlib, an extra, is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise KgrecError(
            "a drawing as .png needs matplotlib: pip install 'kgrec[plot]', or write .svg, which needs nothing"
        ) from error
    return Figure(figsize=(width, height))


def as_figure(drawing: Drawing, title: str) -> Figure:
    """A drawing as a figure of matplotlib. Raises KgrecError if it is not installed."""
    figure = _figure(max(drawing.width, 300) / 72, (drawing.height + 30) / 72)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, max(drawing.width, 300)), ylim=(drawing.height, -30))
    axes.axis("off")
    axes.text(10, -12, printable(title), parse_math=False, fontsize=9)
    for line in drawing.lines:
        x1, x2 = line.start.x + WIDTH // 2, line.stop.x - WIDTH // 2
        axes.plot([x1, x2], [line.start.y, line.stop.y], color="0.6", linewidth=0.9)
        arrow = "→" if line.onwards else "←"
        middle = (x1 + x2) / 2, (line.start.y + line.stop.y) / 2 - 5
        axes.text(*middle, f"{_short(line.label, 18)} {arrow}", ha="center", color="0.3", parse_math=False, fontsize=7)
    colors = {"user": "#dbe9f6", "had": "#e8f3e1", "between": "#f4f0dc", "item": "#f6dede"}
    for box in drawing.boxes:
        face = {"boxstyle": "round,pad=0.4", "facecolor": colors[box.kind], "edgecolor": "0.4"}
        axes.text(box.x, box.y, box.short, ha="center", va="center", bbox=face, parse_math=False, fontsize=9)
    return figure
