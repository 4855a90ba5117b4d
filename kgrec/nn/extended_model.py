"""A trained model over a larger graph: the same weights, and rows for the nodes that were added."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from kgrec.errors import KgrecError, some
from kgrec.graph import Graph
from kgrec.model import Recommender, scoring
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.feature_columns import Column
from kgrec.rows import NodeRows, rows_of


def extended_model(model: Recommender, bigger: Graph) -> tuple[Recommender, list[str]]:
    """A trained model's weights over a graph with more nodes, edges, or both, and what could not be read of the new
    nodes, a sentence each. The model is on the CPU or a GPU, as the given one is, and in eval mode.

    bigger: the graph that the model was built of, where new nodes stand behind the others of their types, and all
    edges that vectors are to be made by. What a model holds of each node (`kgrec.rows`) begins with zeros for a new
    one, as of a node that is not known; columns of features are read by the means, categories and words of training. A
    graph network makes its vectors anew over all edges of the graph, and so those of the other nodes may shift.

    Raises KgrecError where the model holds something of each node that is no row of its own, as EASE's weights of each
    pair of items are, and so cannot know a new one.
    """
    kind, former = type(model), model.state_dict()
    with torch.random.fork_rng(devices=[]):
        grown = kind(Graph.empty(bigger.schema), model.config)
        _require_rows(model, grown, bigger)
        if {name for name, _ in grown.named_buffers()} - grown.state_dict().keys():  # what is made of the edges
            grown = kind(bigger.to("cpu"), model.config)
    grown = grown.to(next(iter(former.values())).device).eval()
    with torch.no_grad():
        _copy_rows(model, grown)
        notes = [note for one, other in _tables(model, grown) for note in _take_columns(one, other, bigger)]
    with scoring(grown):
        grown.refresh()
    return grown, notes


def _require_rows(model: Recommender, grown: Recommender, bigger: Graph) -> None:
    """Raise KgrecError for what a larger graph makes larger, and whose rows stand for no node."""
    former, rows = model.state_dict(), rows_of(model)
    of_columns = {f"{name}.{own}" for name, column in _columns(model) for own, _ in column.named_buffers()}
    of_columns |= {f"{name}.is_trained" for name, module in model.named_modules() if isinstance(module, NodeEmbedding)}
    wrong = [
        name
        for name, tensor in grown.state_dict().items()
        if tensor.shape != former[name].shape
        and not isinstance(rows.get(name), NodeRows)
        and name.lstrip(".") not in {one.lstrip(".") for one in of_columns}
    ]
    if wrong:
        shown = ", ".join(f"{name} {list(former[name].shape)}" for name in wrong[:3])
        raise KgrecError(
            f"{type(model).__name__} has learned {shown}, which has no row for a node that was not there in training "
            f"(the graph has {some([f'{len(nodes):,} {name}' for name, nodes in bigger.ranges.items()])}); train it "
            "again with the new nodes, or take a model whose nodes are known by edges or features, such as kgat"
        )


def _copy_rows(model: Recommender, grown: Recommender) -> None:
    """Fill the parameters and buffers of the larger model: rows by node type, and the rest as it is."""
    former, before, after = model.state_dict(), rows_of(model), rows_of(grown)
    for name, tensor in grown.state_dict().items():
        old, new = before.get(name), after.get(name)
        if isinstance(old, NodeRows) and isinstance(new, NodeRows):
            tensor.zero_()
            for node_type in new.counts:
                here, there = new.at(node_type), old.at(node_type)
                if here is not None and there is not None:
                    tensor[here.start : here.start + there.stop - there.start] = former[name][there]
            if len(former[name]) > len(old):
                tensor[len(new) :] = former[name][len(old) :]
        elif tensor.shape == former[name].shape:
            tensor.copy_(former[name])


def _take_columns(former: NodeEmbedding, grown: NodeEmbedding, bigger: Graph) -> Iterator[str]:
    """Fill a table's columns of features, and which of its nodes have an id part; yields what could not be read."""
    if former.features is None or grown.features is None:
        return
    trained: Tensor = former.is_trained.clone()
    grown.is_trained.zero_()
    for node_type in grown.node_rows.counts:
        here, there = grown.node_rows.at(node_type), former.node_rows.at(node_type)
        if here is not None and there is not None:
            grown.is_trained[here.start : here.start + there.stop - there.start] = trained[there]
    for (node_type, name), one, other in zip(grown.features.names, former.features.columns, grown.features.columns):
        assert isinstance(one, Column)
        assert isinstance(other, Column)
        there = former.node_rows.at(node_type)
        values = bigger.features.get(node_type, {}).get(name)
        if values is not None and there is not None and (note := other.take(one, name, values, trained[there])):
            yield note


def _columns(model: nn.Module) -> Iterator[tuple[str, Column]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, Column))


def _tables(model: nn.Module, grown: nn.Module) -> Iterator[tuple[NodeEmbedding, NodeEmbedding]]:
    """The tables of vectors of both, in pairs."""
    others = dict(grown.named_modules())
    for name, module in model.named_modules():
        other = others[name]
        if isinstance(module, NodeEmbedding) and isinstance(other, NodeEmbedding):
            yield module, other
