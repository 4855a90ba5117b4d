"""Positives: the edges that a model which ranks learns from and is measured on; where edges say which are clicks, those
alone."""

from __future__ import annotations

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.graph.schema import CLICK

TASKS = ("ranking", "link")  #: in which an edge says that somebody likes something, whatever its label


def positives(graph: Graph, task: str, all_edges: bool = False) -> tuple[Graph, int]:
    """The graph that a task learns from and is measured on, and how many target edges are left out of it.

    In a ranking, and where interactions are one relation among facts, the target edges whose label `click` is 0 are
    left out: what was shown and not clicked was not liked. It is neither trained on nor held out, it is no part of a
    history, and it is not seen, so that it may be recommended. Ratings and clicks are predicted of all edges.
    all_edges: leave none out; so does a recipe with `all_edges: true`.

    Raises KgrecError where no edge is a click, and where labels are neither 1 nor 0.
    """
    if task not in TASKS or all_edges or graph.schema.takes_all_edges or not has_click_labels(graph):
        return graph, 0
    name = graph.target[1]
    try:
        clicked = graph.clicks() > 0
    except KgrecError as error:
        raise KgrecError(f"{error}; or train on all {name!r} edges alike, by --all-edges") from error
    left_out = len(clicked) - int(clicked.sum())
    if not left_out:
        return graph, 0
    if left_out == len(clicked):
        raise KgrecError(
            f"none of the {left_out:,} {name!r} edges is a click, and a ranking learns from clicks alone; mend "
            "`click:` in the recipe, or train on all edges by --all-edges"
        )
    return graph.where_target(clicked), left_out


def has_click_labels(graph: Graph) -> bool:
    """Whether the target edges say which of them are clicks."""
    label = graph.edge_features.get(graph.target, {}).get(CLICK) if graph.schema.target is not None else None
    return label is not None and label.schema.kind == "numeric"
