"""Features of nodes: each column becomes a vector, which is combined with the node's own vector (its id)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator, Field, PositiveInt, model_validator
from torch import Tensor, nn

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.graph import Graph
from kgrec.graph.features import Feature
from kgrec.graph.schema import FeatureSchema, NodeSchema
from kgrec.nn.cpu_products import Linear
from kgrec.nn.feature_columns import Categories, CategorySets, Column, Dense, Numbers
from kgrec.rows import FeatureRows, declare_rows
from kgrec.settings import settings

FeatureNames = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
ALL = "all"  #: stands for every column


@settings
class NodeFeaturesConfig:
    """Settings of node features, shared by all models that look nodes up in a NodeEmbedding."""

    features: FeatureNames = ()  #: columns of nodes to learn from, by name, or `all`; empty: none
    #: whether each node also has a vector of its own; false: nodes are known only by their features, so that new nodes
    #: are treated like old ones
    id_embedding: bool = True
    #: probability that training leaves out a node's own vector, so that the model relies on the features; raise it for
    #: cold items
    id_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    #: how a node's own vector and its features' vectors become one: their sum, or a mean weighted by learned attention,
    #: which can ignore useless features
    combine: Literal["sum", "attention"] = "sum"
    text_dim: PositiveInt = 64  #: length of the vector that a text becomes; a longer one keeps more of the text
    #: how texts become vectors: tfidf (words), or the name or folder of a sentence-transformers model
    text_encoder: str = "tfidf"

    @model_validator(mode="after")
    def _id_or_features(self) -> NodeFeaturesConfig:
        if not self.id_embedding and not self.features:
            raise ValueError(
                "with id_embedding=false and no features, nodes have no vector; set features=all or name some"
            )
        return self


class NodeFeatures(nn.Module):
    """The features of nodes as vectors, combined with the nodes' own vectors (id parts).

    A number is standardised by the mean and standard deviation of the nodes that training sees, and multiplies a
    learned vector. A category has a learned vector; several categories have the mean of their vectors. A text (see
    `text_vectors`) and a dense vector are scaled so that their mean length is 1, and projected.

    **A missing value contributes exactly nothing**: NaN, null, no categories, a vector of zeros, and a category that no
    node in training has. Infinity is an error, and so is NaN in a vector. A column that is constant (numeric,
    categorical) or missing for all nodes in training is an error if it is named; `all` leaves it out. A node type
    without columns has only id parts.

    With `combine: sum`, a node's vector is the sum of its parts. With `attention` it is their mean, weighted by the
    softmax over k of q.tanh(W p_k), over the parts p_k that the node has.
    """

    def __init__(
        self, graph: Graph, node_types: Sequence[str], dim: int, std: float, config: NodeFeaturesConfig
    ) -> None:
        """node_types: the types in the table, in this order. std: standard deviation of the initial vectors.

        Raises UnknownName for a column that no node type of the graph has, KgrecError for the errors named above and
        for a type without columns if `id_embedding` is false."""
        super().__init__()
        self.dim, self.names = dim, list[tuple[str, str]]()
        self.columns = nn.ModuleList()
        self.spans: list[
            tuple[range, range]
        ] = []  #: for each type with columns: its rows of the table, its positions in `columns`
        _require_known(graph, config)
        fitted, stop = fitted_nodes(graph), 0
        for node_type in node_types:
            node, nodes = graph.schema.nodes[node_type], graph.range(node_type)
            rows, first = range(stop, stop := stop + node.count), len(self.columns)
            for name, feature in _wanted(node, config).items():
                column = _column(feature, node.count, dim, std, config)
                _fill(column, graph, node_type, name, fitted[nodes.start : nodes.stop], name in config.features)
                declare_rows(column, weight=FeatureRows(node_type, name, feature.kind, feature.categories))
                self.columns.append(column)
                self.names.append((node_type, name))
            if len(self.columns) > first:
                self.spans.append((rows, range(first, len(self.columns))))
            elif not config.id_embedding:
                raise KgrecError(
                    f"id_embedding=false, but node type {node_type!r} has none of the features "
                    f"{', '.join(config.features)}; it has {some(node.features, 20) or 'no features'}; set "
                    "id_embedding=true, or name features that it has"
                )
        self.is_alone = len(node_types) == 1
        self.attention: Linear | None = None
        if config.combine == "attention" and self.spans:
            self.attention = Linear(dim, dim, bias=False)
            self.query = nn.Parameter(torch.empty(dim).normal_(std=dim**-0.5))

    def forward(self, row: Tensor, of_id: Tensor | None, has_id: Tensor) -> Tensor:
        """The vectors of rows: FloatTensor [n, D]. row: LongTensor [n], rows of the table, one past the last for no
        node; of_id: id parts, [n, D], zeros where has_id is false, None without ids; has_id: BoolTensor [n]."""
        out = of_id if of_id is not None else torch.zeros(len(row), self.dim, device=row.device)
        for at, local, columns in self._of_types(row):
            if self.attention is None:
                for column in columns:
                    out = _added(out, at, column(local).to(out.dtype))
            else:
                parts, there = self._parts(at, local, columns, of_id, has_id)
                mixed = torch.einsum("nk,nkd->nd", self._weights(parts, there), parts).to(out.dtype)
                out = mixed if at is None else out.index_copy(0, at, mixed)
        return out

    def weights(self, row: Tensor, of_id: Tensor | None, has_id: Tensor) -> dict[str, Tensor]:
        """The attention weight of each part, by name (`id`, the columns): FloatTensor [n], 0 where a node lacks it.

        Raises KgrecError with `combine: sum`, which has no weights."""
        if self.attention is None:
            raise KgrecError("features are summed up here, so they have no weights; train with combine=attention")
        found = {} if of_id is None else {"id": has_id.float()}
        for at, local, columns in self._of_types(row):
            weight = self._weights(*self._parts(at, local, columns, of_id, has_id)).float()
            names = [] if of_id is None else ["id"]
            names += [name for (_, name), column in zip(self.names, self.columns) if column in columns]
            for name, of_part in zip(names, weight.unbind(1)):
                before = found.get(name, torch.zeros(len(row), device=row.device))
                found[name] = of_part if at is None else before.index_copy(0, at, of_part)
        return found

    def of_profile(
        self,
        node_type: str,
        profile: Mapping[str, Feature],
        number: int,
        own: Tensor | None = None,
        has_id: Tensor | None = None,
    ) -> Tensor:
        """The vectors of new nodes, which are not in the table, from their features alone: FloatTensor [number, D]. A
        column that `profile` lacks is missing for all of them; a column that the model does not use is ignored.
        own: FloatTensor [number, D], id parts of the nodes of has_id, BoolTensor [number]; None: there are none.

        Raises KgrecError for a column of another kind, with other categories or of another length, for infinite values,
        and for texts: their vectors are computed for all texts together, before training."""
        held = itertools.chain(self.parameters(), self.buffers(), [torch.zeros(0)])  # a type may have no features
        device = next(held).device if own is None else own.device
        out, found = torch.zeros(number, self.dim, device=device), []
        for (of_type, name), column in zip(self.names, self.columns):
            if of_type == node_type and name in profile:
                assert isinstance(column, Column)
                found.append(column.encode(name, _checked(profile[name], name, number)))
        if self.attention is None or not found:
            return sum((vectors for vectors, _ in found), out if own is None else own)
        if own is not None and has_id is not None:
            found.insert(0, (own, has_id))
        parts, there = (
            torch.stack([vectors.float() for vectors, _ in found], 1),
            torch.stack([has for _, has in found], 1),
        )
        return torch.einsum("nk,nkd->nd", self._weights(parts, there), parts)

    def _of_types(self, row: Tensor) -> Iterator[tuple[Tensor | None, Tensor, list[Column]]]:
        """For each node type with columns: the positions in `row` of its nodes (None: all), their rows within the type,
        and the columns."""
        for rows, places in self.spans:
            columns = [column for column in self.columns[places.start : places.stop] if isinstance(column, Column)]
            if self.is_alone:
                yield None, row, columns
                continue
            at = ((row >= rows.start) & (row < rows.stop)).nonzero().squeeze(1)
            yield at, row[at] - rows.start, columns

    def _parts(
        self, at: Tensor | None, local: Tensor, columns: list[Column], of_id: Tensor | None, has_id: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The parts of the nodes of a type, [n, K, D], and which of them each node has, BoolTensor [n, K]."""
        parts, there = [column(local) for column in columns], [column.there[local] for column in columns]
        if of_id is not None:
            parts.insert(0, of_id if at is None else of_id[at])
            there.insert(0, has_id if at is None else has_id[at])
        return torch.stack([part.float() for part in parts], 1), torch.stack(there, 1)

    def _weights(self, parts: Tensor, there: Tensor) -> Tensor:
        """Attention weights, [n, K]. Those of a node sum to 1, if it has any part."""
        assert self.attention is not None
        energy = (torch.tanh(self.attention(parts)) @ self.query).float()
        return energy.masked_fill(~there, torch.finfo(energy.dtype).min).softmax(-1) * there


def require_features(model: nn.Module, config: object, what: str) -> None:
    """Raises KgrecError if the settings name features and the model cannot use any, and UnknownName for a feature that
    none of the node types that the model looks up has."""
    if not isinstance(config, NodeFeaturesConfig) or not config.features:
        return
    tables = [module for module in model.modules() if isinstance(module, NodeFeatures)]
    if not tables:
        raise KgrecError(f"{what} cannot use features of nodes; remove the setting `features`, or use another model")
    known = dict.fromkeys(name for table in tables for _, name in table.names)
    for name in config.features:
        if name != ALL and name not in known:
            raise unknown_name("feature", name, known, f"among the nodes that {what} looks up")


def has_edge(graph: Graph) -> Tensor:
    """Which nodes have an edge: BoolTensor [N], flat."""
    return ((graph.index.num_out > 0) | (graph.index.num_in > 0)).cpu()


def fitted_nodes(graph: Graph) -> Tensor:
    """The nodes that training sees: BoolTensor [N], flat."""
    seen = has_edge(graph)
    if graph.withheld is not None:
        seen[graph.withheld.cpu()] = False
    return seen


def _require_known(graph: Graph, config: NodeFeaturesConfig) -> None:
    known = dict.fromkeys(name for node in graph.schema.nodes.values() for name in node.features)
    for name in config.features:
        if name != ALL and name not in known:
            raise unknown_name("feature", name, known, "of any node type in this graph")


def _wanted(node: NodeSchema, config: NodeFeaturesConfig) -> Mapping[str, FeatureSchema]:
    every = ALL in config.features
    return {name: feature for name, feature in node.features.items() if every or name in config.features}


def _column(feature: FeatureSchema, count: int, dim: int, std: float, config: NodeFeaturesConfig) -> Column:
    """An empty column. Its shape depends only on the schema and the settings."""
    match feature.kind:
        case "numeric":
            return Numbers(count, dim, std)
        case "categorical":
            return Categories(count, feature.categories, dim, std)
        case "multi":
            return CategorySets(count, feature.entries, feature.categories, dim, std)
        case "text":
            return Dense(count, config.text_dim, dim, std, config.text_encoder)
        case "vector":
            return Dense(count, feature.dim, dim, std)


def _fill(column: Column, graph: Graph, node_type: str, name: str, fitted: Tensor, is_named: bool) -> None:
    """Fill a column if the graph has its values (`Graph.empty` has none) and they are neither constant nor missing."""
    feature = graph.features.get(node_type, {}).get(name)
    if feature is None:
        return
    _require_finite(feature, graph, node_type, name)
    is_missing = not (fitted & ~feature.missing).any()
    if not is_missing and not feature.is_constant(fitted):
        column.fill(feature, fitted)
    elif is_named and graph.num_edges:
        raise KgrecError(
            f"feature {name!r} of {node_type} is {'missing' if is_missing else 'the same'} for all "
            f"{int(fitted.sum()):,} nodes in the training data, so there is nothing to learn from it; remove it from "
            "`features`"
        )


def _checked(feature: Feature, name: str, number: int) -> Feature:
    """A column of a profile. Raises KgrecError for one of another length and for infinite values."""
    if len(feature) != number:
        raise KgrecError(f"profile: {name!r} has {len(feature):,} rows for {number:,} queries; give one row for each")
    if feature.infinite.any():
        row = int(feature.infinite.nonzero()[0])
        raise KgrecError(
            f"profile: {name!r} has an infinite value in row {row}; use a missing value if it is not known"
        )
    return feature


def _require_finite(feature: Feature, graph: Graph, node_type: str, name: str) -> None:
    at = feature.infinite.nonzero().squeeze(1).numpy()
    if not len(at):
        return
    ids = graph.vocabulary[node_type].ids(at[:5]) if node_type in graph.vocabulary else at[:5]
    shown = ", ".join(repr(str(one)) for one in ids) + (f" and {len(at) - 5:,} more" if len(at) > 5 else "")
    what, wanted = ("an infinite value", "NaN") if feature.schema.kind == "numeric" else ("NaN or infinity", "zeros")
    raise KgrecError(
        f"feature {name!r} of {node_type} has {what} at {len(at):,} nodes: {shown}; correct these values, or write "
        f"{wanted} where a value is not known"
    )


def _added(out: Tensor, at: Tensor | None, part: Tensor) -> Tensor:
    return out + part if at is None else out.index_add(0, at, part)
