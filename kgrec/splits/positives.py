"""Positives: the edges that a ranking model learns from and is measured on. If the edges have click labels, these are
only the clicks."""

from __future__ import annotations

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.graph.schema import CLICK

TASKS = ("ranking", "link")  #: tasks in which every edge counts as a positive, so edges that are no clicks must go


def positives(graph: Graph, task: str, all_edges: bool = False) -> tuple[Graph, int]:
    """The graph that a task learns from and is measured on, and how many target edges were left out of it.

    For rankings and for link prediction, target edges with the label `click` 0 are left out: an item that was shown but
    not clicked was not liked. These edges are not trained on and not held out. They are in no history, and their items
    do not count as seen, so they may be recommended. Ratings and clicks are predicted for all edges. all_edges: leave
    none out, as in a recipe with `all_edges: true`.

    Raises KgrecError if no edge is a click, or if a label is neither 1 nor 0.
    """
    if task not in TASKS or all_edges or graph.schema.takes_all_edges or not has_click_labels(graph):
        return graph, 0
    name = graph.target[1]
    try:
        clicked = graph.clicks() > 0
    except KgrecError as error:
        raise KgrecError(f"{error}; or use --all-edges to train on all {name!r} edges") from error
    left_out = len(clicked) - int(clicked.sum())
    if not left_out:
        return graph, 0
    if left_out == len(clicked):
        raise KgrecError(
            f"none of the {left_out:,} {name!r} edges is a click, but a ranking learns only from clicks; correct "
            "`click:` in the recipe, or use --all-edges to train on all edges"
        )
    return graph.where_target(clicked), left_out


def has_click_labels(graph: Graph) -> bool:
    """Whether the target edges have click labels."""
    label = graph.edge_features.get(graph.target, {}).get(CLICK) if graph.schema.target is not None else None
    return label is not None and label.schema.kind == "numeric"
