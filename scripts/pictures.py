"""Draws the pictures of README and docs from real data: `python scripts/pictures.py` writes docs/images/*.svg.

shop.svg: a user of the sample shop, with past items, their facts in the catalog, and the list that EASE recommends.
layers.svg: the packages of kgrec from top to bottom, and how many modules of each package import those below.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections import Counter
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images"
USER = "u0003"
STEPS = 4  #: past items that are shown
#: relation, and the colour of what it leads to
FACTS = {"brand": "#7c3aed", "material": "#0f766e", "category": "#b45309", "parentOrganization": "#be185d"}
FACTS["location"] = "#475569"
#: what each package is for
SAID = {
    "cli": "the command",
    "testing": "checks for models of your own",
    "run": "train(), Run",
    "studies": "compare, backtest, robustness",
    "serving": "recommend, predict, vectors",
    "training": "the training loop, checkpoints, run folders",
    "models": "a file for each model",
    "evaluation": "ranking and metrics",
    "paths": "paths of the graph behind a score",
    "nn": "layers and losses that models share",
    "model": "the protocol: what a model must say",
    "sources": "recipes, tables, RDF",
    "splits": "train, valid, test",
    "samplers": "batches of edges, paths, neighbors",
    "graph": "the graph",
}
#: readable on a light and on a dark page
STYLE = """text{font:13px system-ui,sans-serif;fill:#1f2937}.small{font-size:11px;fill:#4b5563}.head{font-weight:600}
.box{fill:#fff;stroke-width:1.5}.line{fill:none;stroke:#94a3b8;stroke-width:1.3}"""


class Drawing:
    """Boxes with text, and curves between them, as SVG."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.lines: list[str] = []
        self.boxes: list[str] = []

    def box(self, x: float, y: float, text: str, width: float, colour: str, small: str = "") -> tuple[float, ...]:
        """A box with its left side at x and its middle at y, and a second line where there is `small`. Returns its
        left, right and middle."""
        high = 38 if small else 26
        self.boxes.append(
            f'<rect class="box" x="{x:g}" y="{y - high / 2:g}" width="{width:g}" height="{high}" rx="6" '
            f'stroke="{colour}"/>'
        )
        self.text(x + 10, y + (-2 if small else 4.5), text)
        if small:
            self.text(x + 10, y + 13, small, "small")
        return x, x + width, y

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        of_kind = f' class="{kind}"' if kind else ""
        self.boxes.append(f'<text{of_kind} x="{x:g}" y="{y:g}">{escape(text)}</text>')

    def join(self, left: tuple[float, ...], right: tuple[float, ...]) -> None:
        """A curve from the right side of a box to the left side of another."""
        x, y, to_x, to_y = left[1], left[2], right[0], right[2]
        middle = (x + to_x) / 2
        self.lines.append(
            f'<path class="line" d="M{x:g} {y:g}C{middle:g} {y:g} {middle:g} {to_y:g} {to_x:g} {to_y:g}"/>'
        )

    def write(self, name: str, title: str) -> None:
        body = "\n".join([*self.lines, *self.boxes])
        IMAGES.mkdir(parents=True, exist_ok=True)
        (IMAGES / name).write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img">'
            f'<title>{escape(title)}</title><style>{STYLE}</style><rect width="100%" height="100%" rx="8" '
            f'fill="#f8fafc"/>\n{body}\n</svg>\n',
            encoding="utf-8",
        )


def shop() -> None:
    """The picture of one user of the shop: past items, facts, recommended list."""
    import kgrec

    with tempfile.TemporaryDirectory() as folder:
        graph, _ = kgrec.build(ROOT / "graphs/shop/shop.yaml")
        run = kgrec.train("ease", graph, config={"l2": 100.0}, out=str(Path(folder) / "ease.run"))
        listed = run.recommend([USER], k=5)
    seen = graph.only(graph.target)
    user = graph.range("user").start + int(graph.vocabulary["user"].numbers([USER])[0])
    order = seen.time[seen.head == user].argsort(stable=True)
    steps = list(dict.fromkeys(seen.tail[seen.head == user][order].tolist()[::-1]))[:STEPS][::-1]

    def after(node: int, relation: str) -> list[int]:
        """The nodes to which a relation leads from one."""
        of_name = [edge for edge in graph.edge_types if edge[1] == relation]
        views = [graph.only(edge) for edge in of_name]
        return [tail for view in views for tail in view.tail[view.head == node].tolist()]

    def label(node: int) -> str:
        kind = next(name for name in graph.vocabulary if node in graph.range(name))
        return graph.vocabulary[kind].labels([node - graph.range(kind).start])[0]

    drawing = Drawing(1080, 400)
    for x, text in ((20, "a user"), (140, "did: viewed"), (455, "facts, from RDF"), (800, "gets: titles, by EASE")):
        drawing.text(x, 28, text, "head")
    person = drawing.box(20, 190, USER, 70, "#1d4ed8")
    found: list[tuple[str, int]] = []
    edges: list[tuple[int, int]] = []
    for step in steps:
        for relation in ("material", "category", "brand"):
            for node in after(step, relation):
                found.append((relation, node))
                edges.append((step, node))
    column = _places([node for _, node in dict.fromkeys(found)], 60, 380)
    colour = {node: FACTS[relation] for relation, node in found}
    boxes = {n: drawing.box(455, y, label(n), 135, colour[n]) for n, y in column.items()}
    for step, y in _places(steps, 85, 300).items():
        item = drawing.box(140, y, label(step), 255, "#1d4ed8")
        drawing.join(person, item)
        for node in [node for head, node in edges if head == step]:
            drawing.join(item, boxes[node])
    brands = [node for relation, node in dict.fromkeys(found) if relation == "brand"]
    owners = {brand: after(brand, "parentOrganization")[:1] for brand in brands}
    companies = _places(list(dict.fromkeys(o for each in owners.values() for o in each)), 180, 350)
    shown = {}
    for node, y in companies.items():
        where = "in " + ", ".join(map(label, after(node, "location")))
        shown[node] = drawing.box(625, y, label(node), 140, FACTS["parentOrganization"], where)
    for brand, each in owners.items():
        for owner in each:
            drawing.join(boxes[brand], shown[owner])
    for row in listed.to_dicts():
        text = f"{row['rank']}  {row['label']}"
        drawing.box(800, 62 + 52 * (row["rank"] - 1), text, 262, "#15803d", f"    {row['item']}")
    drawing.write("shop.svg", f"{USER} of the sample shop: steps, facts about them, and a list")


def _places(nodes: list[int], top: float, bottom: float) -> dict[int, float]:
    """Evenly spaced heights from top to bottom."""
    gap = (bottom - top) / max(1, len(nodes) - 1) if len(nodes) > 1 else 0.0
    return {node: top + gap * place for place, node in enumerate(nodes)}


def layers() -> None:
    """The picture of the packages; each is above those that it imports. Single modules are in one row at the bottom."""
    import grimp

    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    order = document["tool"]["importlinter"]["contracts"][0]["layers"]
    groups = [[name.strip() for name in row.split("|")] for row in order]
    rows = [group for group in groups if SAID.keys() & set(group)]
    rows.append([name for group in groups if group not in rows for name in group])
    row_of = {name: place for place, row in enumerate(rows) for name in row}
    imports, below = grimp.build_graph("kgrec"), Counter[int]()
    for module in imports.modules:
        for other in imports.find_modules_directly_imported_by(module):
            upper, lower = (row_of.get(name.split(".")[1]) if "." in name else None for name in (module, other))
            if upper is not None and lower is not None and lower > upper:
                below[upper] += 1
    drawing = Drawing(860, 20 + 50 * len(rows))
    for place, row in enumerate(rows):
        y, names = 36 + 50 * place, [name for name in row if not name.startswith("_")]
        said = "; ".join(SAID[name] for name in names if name in SAID) or "files, settings, errors: used by all"
        shown = [name for name in names if name in SAID] or names
        drawing.box(20, y, said, 690, "#1d4ed8", ", ".join(shown[:9]) + (", ..." if len(shown) > 9 else ""))
        drawing.text(725, y + 4, f"{below[place]} imports below" if below[place] else "", "small")
    drawing.write("layers.svg", "The layers of kgrec: each imports those below it, and never one above")


if __name__ == "__main__":
    shop()
    layers()
