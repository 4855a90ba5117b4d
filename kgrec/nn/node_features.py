"""What a node's columns say of it: a vector of each, beside the one of its id."""

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
from kgrec.nn.feature_columns import Categories, CategorySets, Column, Dense, Numbers
from kgrec.rows import FeatureRows, declare_rows
from kgrec.settings import settings

FeatureNames = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
ALL = "all"  #: in place of names: every column


@settings
class NodeFeaturesConfig:
    """Settings of node features, which all models have that look nodes up in a NodeEmbedding."""

    features: FeatureNames = ()  #: columns of nodes by name, or `all`; (): none
    id_embedding: bool = True  #: whether a node has a vector of its own beside what its columns say
    #: chance in training that a node is known by its columns alone
    id_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    combine: Literal["sum", "attention"] = "sum"  #: how a node's own vector and those of its columns become one
    text_dim: PositiveInt = 64  #: numbers in a vector that is made of a text
    #: how texts become vectors: tfidf, or a model of sentence-transformers, by name or folder
    text_encoder: str = "tfidf"

    @model_validator(mode="after")
    def _id_or_features(self) -> NodeFeaturesConfig:
        if not self.id_embedding and not self.features:
            raise ValueError("id_embedding=false leaves a node nothing; set features=all or name some")
        return self


class NodeFeatures(nn.Module):
    """The columns of nodes as vectors, put together with the vector of each id.

    A number is standardised by the mean and deviation of the nodes that training sees and times a vector; a category
    has a vector; several categories the mean of theirs; a text (see `text_vectors`) and a dense vector are projected,
    scaled so that their mean length is 1. **What is missing contributes exactly nothing**: NaN, null, no categories, a
    vector of zeros, and a category that no node in training has. Infinity is an error, and so are NaN in a vector and a
    named column that is constant (numeric, categorical) or missing for all nodes in training; of `all` such a column is
    left out. A node type without columns has its ids alone.

    With `combine: sum` a node's vector is the sum of its parts; with `attention` their mean by softmax over k of
    q.tanh(W p_k), over the parts p_k that the node has.
    """

    def __init__(
        self, graph: Graph, node_types: Sequence[str], dim: int, std: float, config: NodeFeaturesConfig
    ) -> None:
        """node_types: whose rows follow each other in the table. std: of the vectors at the start.

        Raises UnknownName for a column that no node type of the graph has, KgrecError as said above and for a type
        without columns where there is no `id_embedding`."""
        super().__init__()
        self.dim, self.names = dim, list[tuple[str, str]]()
        self.columns = nn.ModuleList()
        self.spans: list[tuple[range, range]] = []  #: of each type with columns: rows of the table; places in `columns`
        _require_known(graph, config)
        fitted, stop = _fitted(graph), 0
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
                    f"id_embedding=false, and node type {node_type!r} has none of the features asked for "
                    f"({', '.join(config.features)}); it has {some(node.features, 20) or 'none at all'}"
                )
        self.is_alone = len(node_types) == 1
        self.attention: nn.Linear | None = None
        if config.combine == "attention" and self.spans:
            self.attention = nn.Linear(dim, dim, bias=False)
            self.query = nn.Parameter(torch.empty(dim).normal_(std=dim**-0.5))

    def forward(self, row: Tensor, of_id: Tensor | None, has_id: Tensor) -> Tensor:
        """row: LongTensor [n], rows of the table, one past the last for no node; of_id: [n, D], zeros where has_id
        (BoolTensor [n]) is false; None: no ids. Returns FloatTensor [n, D]."""
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
        """What each part counts for, by name (`id`, the columns): FloatTensor [n], 0 where a node lacks it.

        Raises KgrecError where parts are added up, which weighs none."""
        if self.attention is None:
            raise KgrecError("features are added up, so they have no weights; set combine=attention")
        found = {} if of_id is None else {"id": has_id.float()}
        for at, local, columns in self._of_types(row):
            weight = self._weights(*self._parts(at, local, columns, of_id, has_id)).float()
            names = [] if of_id is None else ["id"]
            names += [name for (_, name), column in zip(self.names, self.columns) if column in columns]
            for name, of_part in zip(names, weight.unbind(1)):
                before = found.get(name, torch.zeros(len(row), device=row.device))
                found[name] = of_part if at is None else before.index_copy(0, at, of_part)
        return found

    def of_profile(self, node_type: str, profile: Mapping[str, Feature], number: int) -> Tensor:
        """The vectors of nodes that are not in the table, by their columns alone: FloatTensor [number, D]. A column
        that `profile` lacks is missing for all of them; one that is not read here is passed over.

        Raises KgrecError for a column of another kind, of other categories or of another length, for infinite values,
        and for texts, which became vectors together."""
        device = next(itertools.chain(self.parameters(), self.buffers())).device
        out, found = torch.zeros(number, self.dim, device=device), []
        for (of_type, name), column in zip(self.names, self.columns):
            if of_type == node_type and name in profile:
                assert isinstance(column, Column)
                found.append(column.encode(name, _checked(profile[name], name, number)))
        if self.attention is None or not found:
            return sum((vectors for vectors, _ in found), out)
        parts, there = (
            torch.stack([vectors.float() for vectors, _ in found], 1),
            torch.stack([has for _, has in found], 1),
        )
        return torch.einsum("nk,nkd->nd", self._weights(parts, there), parts)

    def _of_types(self, row: Tensor) -> Iterator[tuple[Tensor | None, Tensor, list[Column]]]:
        """For each type with columns: which of the rows are its own (None: all), their places among its nodes, and the
        columns."""
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
        """The parts of nodes of a type, [n, K, D], and which a node has, BoolTensor [n, K]."""
        parts, there = [column(local) for column in columns], [column.there[local] for column in columns]
        if of_id is not None:
            parts.insert(0, of_id if at is None else of_id[at])
            there.insert(0, has_id if at is None else has_id[at])
        return torch.stack([part.float() for part in parts], 1), torch.stack(there, 1)

    def _weights(self, parts: Tensor, there: Tensor) -> Tensor:
        """[n, K], of sum 1 where a node has any part."""
        assert self.attention is not None
        energy = (torch.tanh(self.attention(parts)) @ self.query).float()
        return energy.masked_fill(~there, torch.finfo(energy.dtype).min).softmax(-1) * there


def require_features(model: nn.Module, config: object, what: str) -> None:
    """Raises KgrecError where settings ask for features and the model looks none up, and UnknownName where none of the
    node types that it does look up has a column of a name."""
    if not isinstance(config, NodeFeaturesConfig) or not config.features:
        return
    tables = [module for module in model.modules() if isinstance(module, NodeFeatures)]
    if not tables:
        raise KgrecError(f"{what} takes no features of nodes; take `features` away, or another model")
    known = dict.fromkeys(name for table in tables for _, name in table.names)
    for name in config.features:
        if name != ALL and name not in known:
            raise unknown_name("feature", name, known, f"among the nodes that {what} looks up")


def has_edge(graph: Graph) -> Tensor:
    """Which nodes an edge of the graph touches: BoolTensor [N], flat."""
    touched = torch.zeros(graph.num_nodes, dtype=torch.bool)
    for end in (graph.head, graph.tail):
        touched[end.cpu()] = True
    return touched


def _fitted(graph: Graph) -> Tensor:
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
    """An empty column. Its shape depends on the schema and the settings alone."""
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
    """Fill a column where the graph has its values (`Graph.empty` has none) and there is something to learn of them."""
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
            f"{int(fitted.sum()):,} nodes that training sees, so there is nothing to learn from it; take it out of "
            "`features`"
        )


def _checked(feature: Feature, name: str, number: int) -> Feature:
    """A column of a profile. Raises KgrecError for one of another length and for infinite values."""
    if len(feature) != number:
        raise KgrecError(f"profile: {name!r} has {len(feature):,} rows for {number:,} queries; one for each is wanted")
    if feature.infinite.any():
        row = int(feature.infinite.nonzero()[0])
        raise KgrecError(
            f"profile: {name!r} has an infinite value in row {row}; leave it missing where it is not known"
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
        f"feature {name!r} of {node_type} has {what} at {len(at):,} nodes: {shown}; mend them, or write {wanted} where "
        "the value is not known"
    )


def _added(out: Tensor, at: Tensor | None, part: Tensor) -> Tensor:
    return out + part if at is None else out.index_add(0, at, part)
