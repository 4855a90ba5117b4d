"""`kgrec info`: tables that describe what a graph holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kgrec.cli.options import GraphFolder, Json
from kgrec.cli.output import console, plain, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


LONGEST_NAME = 60  #: characters of a node's name in the sample edges, at a terminal


def info(
    graph: GraphFolder,
    samples: Annotated[
        int, typer.Option("--samples", min=0, help="Number of sample edges to show for each relation.")
    ] = 3,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="An SVG file to draw types, relations, degrees and times in.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file that --plot names.")] = False,
    as_json: Json = False,
) -> None:
    """Describe a graph: node and edge types, counts, sample edges, degrees, times, link coverage, features, splits."""
    from kgrec.graph import Graph
    from kgrec.graph.description import info as describe
    from kgrec.plots.svg_files import check_svg_path, write_svg

    if plot is not None:
        check_svg_path(plot, overwrite)
    found = Graph.load(graph)
    facts = describe(found, samples)
    print_json(facts) if as_json else show(facts, console())
    if plot is not None:
        from kgrec.graph.graph_plot import graph_plot

        write_svg(plot, graph_plot(found), overwrite=overwrite)


def show(info: dict[str, Any], screen: Console) -> None:
    """Print the facts as tables."""
    for table in (
        _node_table(info),
        _relation_table(info["relations"]),
        _sample_table(info["relations"], LONGEST_NAME if screen.is_terminal else None),
        _interaction_table(info),
        _feature_table(info),
        _split_table(info),
    ):
        if table.row_count:
            screen.print(table)


def _table(title: str, *columns: str, numbers: str = "") -> Table:
    """An empty table. numbers: names of the columns that hold numbers; these are aligned right."""
    table = plain(title, columns, [])
    for column in table.columns:
        column.justify = "right" if str(column.header) in numbers.split() else "left"
    return table


def _node_table(info: dict[str, Any]) -> Table:
    table = _table("Nodes", "type", "count", "name in the source", numbers="count")
    for name, node in info["nodes"].items():
        table.add_row(name, f"{node['count']:,}", node["label"])
    return table


def _relation_table(relations: list[dict[str, Any]]) -> Table:
    columns = ("source", "relation", "target", "edges", "items", "name in the source")
    table = _table("Relations", *columns, numbers="edges items")
    for edge in relations:
        inverse = f" (inverse of {edge['inverse_of']})" if edge["inverse_of"] else ""
        counts = (f"{edge[key]:,}" if edge[key] is not None else "" for key in ("count", "items"))
        table.add_row(edge["source"], edge["relation"], edge["target"], *counts, edge["label"] + inverse)
    return table


def _sample_table(relations: list[dict[str, Any]], longest: int | None) -> Table:
    """Some edges of each relation. longest: how many characters of a node's name are shown; None: all."""
    edges = [(relation, edge) for relation in relations for edge in relation["sample"]]
    extra = {
        "weight": any(edge["weight"] != 1 for _, edge in edges),
        "time": any(edge["time"] is not None for _, edge in edges),
    }
    table = _table("Sample edges", "edge", *(name for name, is_there in extra.items() if is_there), numbers="weight")
    for relation, edge in edges:
        source, target = (_node_name(edge[end], longest) for end in ("source", "target"))
        values = {"weight": f"{edge['weight']:g}", "time": edge["time"] or ""}
        shown = (values[name] for name, is_there in extra.items() if is_there)
        table.add_row(f"{source} -> {relation['relation']} -> {target}", *shown)
    return table


def _node_name(node: dict[str, str | None], longest: int | None) -> str:
    """A node's label with its id, or only its id."""
    label, name = (_cut(node[key] or "", longest) for key in ("label", "id"))
    return f"{label} ({name})" if label else name


def _cut(text: str, longest: int | None) -> str:
    return text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"


def _interaction_table(info: dict[str, Any]) -> Table:
    table = _table("Interactions", "", "")
    if info["target"] is not None:
        table.add_row("target", "-".join(info["target"]))
        same = info["target"][0] == info["target"][2]  # as user follows user
        for end, name, way in (("user", info["target"][0], "from"), ("item", info["target"][2], "to")):
            edges = f"edges {way} each {name}" if same else f"edges of each {name}"
            table.add_row(edges, _summary_text(info["degrees"][end]))
        if info["clicks"] is not None:
            clicks, others = info["clicks"]["clicks"], info["clicks"]["others"]
            learned = "all edges" if info["standard"].get("positives") else "clicks only"
            table.add_row("clicks", f"{clicks:,} of {clicks + others:,} edges; rankings learn from {learned}")
        table.add_row("density", f"{info['density']:.4%}")
        links = info["links"]
        table.add_row("items with facts", f"{links['with_facts']:,} of {links['items']:,} ({links['share']:.1%})")
        share = f"{links['interacted_with_facts']:,} of {links['interacted']:,} ({links['interacted_share']:.1%})"
        table.add_row("items with interactions that have facts", share)
    if info["time"] is not None:
        time = info["time"]
        table.add_row("times", f"{time['first']} ({time['first_unix']}) to {time['last']} ({time['last_unix']})")
    return table


def _summary_text(summary: dict[str, float]) -> str:
    least, median, mean, most = (summary[name] for name in ("min", "median", "mean", "max"))
    return f"{least:,} to {most:,}, median {median:g}, mean {mean:.1f}; {summary['without']:,} with none"


def _feature_table(info: dict[str, Any]) -> Table:
    table = _table("Features", "of", "column", "kind", "missing", "categories", "dim", numbers="missing categories dim")
    for owner, columns in {**info["features"], **info["edge_features"]}.items():
        for name, feature in columns.items():
            sizes = (str(feature.get(key, "")) for key in ("categories", "dim"))
            table.add_row(owner, name, feature["kind"], f"{feature['missing']:.1%}", *sizes)
    return table


def _split_table(info: dict[str, Any]) -> Table:
    table = _table("Splits and candidates", "name", "")
    for name, parts in info["splits"].items():
        table.add_row(name, ", ".join(f"{count:,} {part}" for part, count in parts.items()))
    for name, lists in info["candidates"].items():
        table.add_row(name, f"{lists['users']:,} users, items: {_summary_text(lists['items_per_user'])}")
    for what, name in info["standard"].items():
        table.add_row(f"standard {what}", name)
    return table
