"""Charts as SVG: lines, bars, and dots with intervals. Colours come from CSS, so that they follow light, dark and
print; each series has a dash pattern or a hatch too, so that no chart is read by colour alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kgrec.plots.markup import Markup, element, escaped

WIDTH, HEIGHT = 720, 300  #: of a chart, in units of its viewBox
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 48  #: what is kept free around the plotted area
SERIES = 6  #: number of looks
OPACITY = (0.9, 0.45, 0.7, 0.3, 0.6, 0.2)  #: of bars
DASHES = (None, "6 3", "2 3", "9 3 2 3", "1 4", "12 4")
MOST_LABELS = 12  #: along an axis of categories, more labels than this are thinned out
CHARACTER = 7.0  #: width of a character in units

COLOURS_LIGHT = {
    "chart-ground": "#ffffff",
    "chart-text": "#1a2224",
    "chart-quiet": "#56646a",
    "chart-grid": "#d9dfe0",
    "series-0": "#0f6b63",
    "series-1": "#b5460f",
    "series-2": "#3f55b5",
    "series-3": "#8a5a00",
    "series-4": "#9a2a72",
    "series-5": "#4b5a60",
}
COLOURS_DARK = {
    "chart-ground": "#1d2326",
    "chart-text": "#e7eceb",
    "chart-quiet": "#a3b1b3",
    "chart-grid": "#364044",
    "series-0": "#6fd3c7",
    "series-1": "#f2a37a",
    "series-2": "#9db0ff",
    "series-3": "#e2bd5c",
    "series-4": "#ec9bd0",
    "series-5": "#b6c2c6",
}


def colours(values: Mapping[str, str]) -> str:
    """CSS declarations of colours."""
    return "".join(f"--{name}:{value};" for name, value in values.items())


def chart_css() -> str:
    """The CSS rules of charts; the colours themselves are custom properties."""
    rules = [
        ".chart{display:block;width:100%;height:auto;font:12px system-ui,'Noto Sans',sans-serif}",
        ".chart .ground{fill:var(--chart-ground)}.chart text{fill:var(--chart-text)}",
        ".chart .quiet{fill:var(--chart-quiet);font-size:12px}.chart .name{font-size:14px;font-weight:600}",
        ".chart .grid{stroke:var(--chart-grid);stroke-width:1}.chart .axis{stroke:var(--chart-quiet);stroke-width:1}",
        ".chart .box{fill:var(--chart-ground);stroke:var(--chart-quiet)}",
        ".chart .edge{fill:none;stroke:var(--chart-quiet);stroke-width:1.5}",
        ".chart .target{stroke:var(--series-0);stroke-width:2.5}",
    ]
    for number in range(SERIES):
        rules.append(f".chart .line{number}{{fill:none;stroke:var(--series-{number});stroke-width:2}}")
        rules.append(f".chart .fill{number}{{fill:var(--series-{number});stroke:var(--series-{number})}}")
    return "".join(rules)


def style() -> str:
    """CSS for a page or a drawing of its own: colours for light, dark and print, and the rules of charts."""
    dark, light = colours(COLOURS_DARK), colours(COLOURS_LIGHT)
    return (
        f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}@media print{{:root{{{light}}}}}"
        f"{chart_css()}"
    )


def standalone(drawing: Markup) -> str:
    """A drawing as a file of its own, with its colours."""
    start, _, rest = drawing.partition(">")
    return f'{start} xmlns="http://www.w3.org/2000/svg"><style>{style()}</style>{rest}\n'


def drawing(title: str, width: float, height: float, *parts: object, summary: str = "") -> Markup:
    """An SVG with a title, which is drawn and read out. summary: read out in place of the picture's parts."""
    label = f"{title}. {summary}" if summary else title
    ground = element("rect", x=0, y=0, width=_n(width), height=_n(height), class_="ground")
    size = f"0 0 {_n(width)} {_n(height)}"
    return element(
        "svg",
        ground,
        text(12, 22, title, class_="name"),
        parts,
        class_="chart",
        viewBox=size,
        role="img",
        aria_label=label,
    )


def stacked(title: str, drawings: Sequence[tuple[float, Markup]]) -> Markup:
    """Several drawings of one width below each other. drawings: the height of each, and the drawing."""
    parts, top = [], 0.0
    for height, one in drawings:
        start = one.replace("<svg", f'<svg x="0" y="{_n(top)}" width="{WIDTH}" height="{_n(height)}"', 1)
        parts.append(Markup(start))
        top += height
    return element("svg", parts, class_="chart", viewBox=f"0 0 {WIDTH} {_n(top)}", role="group", aria_label=title)


def text(
    x: float, y: float, content: object, anchor: str = "start", class_: str | None = None, **more: object
) -> Markup:
    """A line of text. anchor: start, middle or end."""
    anchor_ = None if anchor == "start" else anchor
    return element("text", escaped(content), x=_n(x), y=_n(y), text_anchor=anchor_, class_=class_, **more)


def shortened(content: object, most: int) -> str:
    """A text of at most so many characters, with an ellipsis where it is cut."""
    said = str(content)
    return said if len(said) <= most else f"{said[: most - 1]}…"


def number(value: float) -> str:
    """A number as an axis shows it.

    >>> number(0.25), number(1200000), number(3.0), number(0.00012)
    ('0.25', '1.2M', '3', '0.00012')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.4g}"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers that cover a range, at most `most` + 1.

    >>> ticks(0.0, 0.87, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        high = low = low if math.isfinite(low) else 0.0
        span = 2.0 if low == round(low) else abs(low)  # a single epoch stands between its neighbors
        low, high = low - span / 2, high + span / 2
    rough = (high - low) / max(1, most)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * one for one in (1, 2, 2.5, 5, 10) if size * one >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{step * place:.10g}") for place in range(first, last + 1)]


def line_chart(
    title: str, series: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str = ""
) -> Markup:
    """A line for each series of (x, y); what is not finite is left out."""
    shown = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)] for name, points in series.items()
    }
    everything = [point for points in shown.values() for point in points]
    if not everything:
        return empty(title)
    legend, top = _legend(list(shown))
    x_ticks = ticks(min(x for x, _ in everything), max(x for x, _ in everything))
    if all(x == round(x) for x, _ in everything):  # epochs and windows have no halves
        x_ticks = [one for one in x_ticks if one == round(one)]
    y_ticks = ticks(min(y for _, y in everything), max(y for _, y in everything))
    area = _Area(x_ticks, y_ticks, top)
    lines = []
    for place, points in enumerate(shown.values()):
        look, where = place % SERIES, [f"{_n(area.x(x))},{_n(area.y(y))}" for x, y in points]
        lines.append(element("polyline", points=" ".join(where), class_=f"line{look}", stroke_dasharray=DASHES[look]))
        if len(points) <= 40:
            dots = (
                element("circle", cx=_n(area.x(x)), cy=_n(area.y(y)), r=2.5, class_=f"fill{look}") for x, y in points
            )
            lines.extend(dots)
    said = "; ".join(
        f"{name}: {number(points[0][1])} to {number(points[-1][1])}" for name, points in shown.items() if points
    )
    return drawing(
        title,
        WIDTH,
        HEIGHT,
        legend,
        area.grid(),
        area.x_axis(x_label),
        lines,
        text(LEFT, top - 8, y_label, class_="quiet"),
        summary=said,
    )


def bar_chart(
    title: str, labels: Sequence[str], series: Mapping[str, Sequence[float | None]], x_label: str, y_label: str = ""
) -> Markup:
    """Bars in groups: one group for each label, in it one bar for each series. None: no bar."""
    values = [one for row in series.values() for one in row if one is not None and math.isfinite(one)]
    if not values or not labels:
        return empty(title)
    legend, top = _legend(list(series), bars=True) if len(series) > 1 else (Markup(""), TOP + 16)
    area = _Area([0, len(labels)], ticks(min(0.0, *values), max(0.0, *values)), top)
    wide = (area.x(1) - area.x(0)) * 0.8 / len(series)
    bars = []
    for place, row in enumerate(series.values()):
        for group, value in enumerate(row):
            if value is None or not math.isfinite(value):
                continue
            y = sorted((area.y(value), area.y(0)))
            x = area.x(group) + (area.x(1) - area.x(0)) * 0.1 + place * wide
            bars.append(
                element(
                    "rect",
                    x=_n(x),
                    y=_n(y[0]),
                    width=_n(max(0.5, wide - 1)),
                    height=_n(y[1] - y[0]),
                    class_=f"fill{place % SERIES}",
                    fill_opacity=OPACITY[place % SERIES],
                )
            )
    every = max(1, math.ceil(len(labels) / MOST_LABELS))
    step = area.x(1) - area.x(0)
    marks = [
        text(
            area.x(group + 0.5), HEIGHT - BOTTOM + 16, shortened(label, max(4, int(step * every / CHARACTER))), "middle"
        )
        for group, label in enumerate(labels)
        if group % every == 0
    ]
    name = text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label, "middle", class_="quiet")
    return drawing(
        title, WIDTH, HEIGHT, legend, area.grid(), bars, marks, name, text(LEFT, top - 8, y_label, class_="quiet")
    )


def interval_height(rows: int) -> float:
    """The height of an `interval_chart`."""
    return TOP + 24 + 24 * rows + BOTTOM


def interval_chart(
    title: str, rows: Sequence[tuple[str, int, float, float | None, float | None]], x_label: str, *, zero: bool = False
) -> Markup:
    """A row for each value, with a line from its low to its high end. rows: label, number of the look, value, low,
    high. zero: whether 0 is on the axis, with a line."""
    rows = [row for row in rows if math.isfinite(row[2])]
    if not rows:
        return empty(title)
    ends = [
        end for _, _, value, low, high in rows for end in (value, low, high) if end is not None and math.isfinite(end)
    ]
    x_ticks = ticks(min([*ends, 0.0] if zero else ends), max([*ends, 0.0] if zero else ends))
    most = max(len(label) for label, *_ in rows)
    left = min(330.0, 24 + CHARACTER * most)
    height = interval_height(len(rows))
    scale = (WIDTH - RIGHT - 70 - left) / (x_ticks[-1] - x_ticks[0])

    def x(value: float) -> float:
        return left + (value - x_ticks[0]) * scale

    bottom = height - BOTTOM
    parts = [
        (
            element(
                "line",
                x1=_n(x(one)),
                x2=_n(x(one)),
                y1=TOP + 8,
                y2=_n(bottom),
                class_="axis" if zero and one == 0 else "grid",
            ),
            text(x(one), bottom + 16, number(one), "middle", class_="quiet"),
        )
        for one in x_ticks
    ]
    marks = []
    for place, (label, look, value, low, high) in enumerate(rows):
        y = TOP + 24 + 24 * place
        marks.append(text(12, y + 4, shortened(label, int((left - 16) / CHARACTER))))
        if low is not None and high is not None and math.isfinite(low) and math.isfinite(high):
            marks.append(element("line", x1=_n(x(low)), x2=_n(x(high)), y1=y, y2=y, class_=f"line{look % SERIES}"))
        marks.append(element("circle", cx=_n(x(value)), cy=y, r=4.5, class_=f"fill{look % SERIES}"))
        marks.append(text(WIDTH - 8, y + 4, f"{value:+.4f}" if zero else f"{value:.4f}", "end"))
    name = text((left + WIDTH - RIGHT) / 2, height - 10, x_label, "middle", class_="quiet")
    return drawing(title, WIDTH, height, parts, marks, name)


def empty(title: str) -> Markup:
    """A drawing that says that there is nothing to draw."""
    return drawing(title, WIDTH, 80, text(12, 52, "no values", class_="quiet"))


class _Area:
    """The plotted area: from values to places."""

    def __init__(self, x_ticks: Sequence[float], y_ticks: Sequence[float], top: float) -> None:
        self.x_ticks, self.y_ticks, self.top = x_ticks, y_ticks, top
        self.bottom = HEIGHT - BOTTOM

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_ticks[0]) / (self.x_ticks[-1] - self.x_ticks[0]) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return self.bottom - share * (self.bottom - self.top)

    def grid(self) -> list[Markup]:
        """Horizontal lines with their numbers."""
        found = []
        for one in self.y_ticks:
            y = _n(self.y(one))
            found.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
            found.append(text(LEFT - 8, self.y(one) + 4, number(one), "end", class_="quiet"))
        return found

    def x_axis(self, label: str) -> list[Markup]:
        marks = [text(self.x(one), self.bottom + 16, number(one), "middle", class_="quiet") for one in self.x_ticks]
        return [*marks, text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, label, "middle", class_="quiet")]


def _legend(names: Sequence[str], *, bars: bool = False) -> tuple[list[Markup], float]:
    """The names of series with their looks, and where the plotted area begins."""
    found, x, y = [], 12.0, TOP + 6.0
    for place, name in enumerate(names):
        label, look = shortened(name, 60), place % SERIES
        wide = 38 + CHARACTER * len(label)
        if x > 12 and x + wide > WIDTH:
            x, y = 12.0, y + 18
        if bars:
            mark = {"x": _n(x), "y": _n(y - 9), "width": 16, "height": 10, "fill_opacity": OPACITY[look]}
            found.append(element("rect", class_=f"fill{look}", **mark))
        else:
            mark = {"x1": _n(x), "x2": _n(x + 22), "y1": _n(y - 4), "y2": _n(y - 4), "stroke_dasharray": DASHES[look]}
            found.append(element("line", class_=f"line{look}", **mark))
        found.append(text(x + 27, y, label))
        x += wide
    return found, y + 30


def _n(value: float) -> str:
    """A coordinate."""
    return f"{value:.1f}".removesuffix(".0")
