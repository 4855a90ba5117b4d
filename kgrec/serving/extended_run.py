"""A run that knows more nodes: the same weights over the run's own graph and what was added to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch

from kgrec.evaluation.trained_nodes import Trained
from kgrec.graph import Graph
from kgrec.graph.schema import EdgeType
from kgrec.nn.extended_model import extended_model
from kgrec.training.trained_model import TrainedModel

if TYPE_CHECKING:
    import pandas as pd

AnyRun = TypeVar("AnyRun", bound=TrainedModel)


def extended_run(
    run: AnyRun,
    nodes: Mapping[str, pd.DataFrame] | None = None,
    edges: Mapping[EdgeType, pd.DataFrame] | None = None,
) -> tuple[AnyRun, list[str]]:
    """A run of the same weights that knows more nodes, and what could not be read of these, a sentence each.

    nodes: by node type a frame with `id`, and perhaps `label` and feature columns of the type; edges: by edge type
    (source, relation, target) of the run's graph a frame with `source` and `target`, ids of old or new nodes, and
    perhaps `time` and `weight`. Neither need be there: without both it is the run over all that it knows.

    New nodes stand behind the others of their types, so local numbers of known nodes stay, and flat numbers shift. What
    the model holds of each node is zeros for a new one; its features speak by what training learned of them, and a
    graph network makes all vectors anew over all edges that the run knows (those of valid, too) and the new ones.
    Nothing is learned. The new edges count as seen: they are left out of a list, and are a history. A category
    that training has not seen says nothing; whoever reads the frames says so.

    Raises KgrecError where the run has no facts and features of its graph (`--lean`), and where the model cannot know a
    new node (see `kgrec.nn.extended_model`); UnknownName for types and ids that are not there; BadData for an id that
    is known already.
    """
    graph = run.whole_graph()
    bigger, shift = graph.with_nodes(nodes or {})
    bigger = bigger.with_edges(edges or {})
    before = (run.trained or Trained(graph, run.model, "cpu")).num_in.cpu()
    model, notes = extended_model(run.model, _without_later_items(bigger, before, shift))
    trained = None if run.trained is None else _trained(run.trained, bigger, shift, graph)
    known = bigger.to(run.device)
    if trained is not None:
        trained = Trained.stored(known, model, trained.columns)
    return replace(run, model=model, graph=known, trained=trained, has_facts=True, path=None), notes


def _trained(trained: Trained, bigger: Graph, shift: torch.Tensor, graph: Graph) -> Trained:
    """What training saw of each node, and of the new ones what their edges say."""
    found = Trained(bigger, trained.model, "cpu")
    is_new = torch.ones(bigger.num_nodes + 1, dtype=torch.bool)
    is_new[shift.cpu()] = False
    columns = {}
    for name, values in found.columns.items():
        columns[name] = torch.where(is_new, values, torch.zeros_like(values))
        columns[name][shift.cpu()] = getattr(trained, name).cpu().to(values.dtype)
    return Trained.stored(bigger, trained.model, columns)


def _without_later_items(bigger: Graph, num_in: torch.Tensor, shift: torch.Tensor) -> Graph:
    """The graph, of which a model learns nothing from items that had no target edge in training, as texts become
    vectors by the words of those that had one. num_in: LongTensor [N + 1], the edges to each node in training."""
    items, now = bigger.nodes(bigger.target[2]), torch.zeros(bigger.num_nodes + 1, dtype=num_in.dtype)
    now[shift.cpu()] = num_in
    has_edge = torch.isin(items, bigger.only(bigger.target).tail)
    return replace(bigger, withheld=items[has_edge & (now[items] == 0)])
