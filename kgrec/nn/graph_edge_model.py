"""Edge models in which a graph network computes the vectors of users and items."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from kgrec import ranks
from kgrec.graph import Graph
from kgrec.model import ScorerParts
from kgrec.nn.added_rows import Holder
from kgrec.nn.computed_vectors import Vectors
from kgrec.nn.edge_model import EdgeModel
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.fold_in import Folding, NewUsersEdges
from kgrec.nn.graph_folding import GraphFolding
from kgrec.nn.propagation import row_sums, symmetric
from kgrec.nn.ranking_loss import Drawn, RankingLoss, linear_product, product
from kgrec.nn.row_shards import is_sharding, refused
from kgrec.nn.sharded_tables import ShardedTable
from kgrec.rows import NodeRows, declare_rows


class GraphEdgeModel(Holder, EdgeModel, ABC):
    """A score is the dot product (or cosine / temperature) of two final vectors. `encode` computes the final vectors
    from the tables `user` and `item` and the normalised `adjacency` of the two. `refresh` stores them once an epoch for
    scoring. `l2` regularises the vectors of the tables, not the final ones."""

    def __init__(
        self, graph: Graph, config: Any, width: int | None = None, *, tables: bool = True, adjacency: bool = True
    ) -> None:
        """width: length D of a final vector; None: `config.dim`. tables, adjacency: false for a model that makes its
        own, or that needs none."""
        super().__init__(graph, config, centred=config.task != "ranking")
        self.users, self.items = graph.range(graph.target[0]), graph.range(graph.target[2])
        width = width or config.dim
        #: FloatTensor [U + 1, D], the last row zeros; where several processes share the rows, a ShardedTable
        self.user_vector: Any
        self.item_vector: Any  #: FloatTensor [I + 1, D], the same for items
        self.shares_rows = is_sharding()
        for name, end in (("user_vector", 0), ("item_vector", 2)):
            nodes = graph.range(graph.target[end])
            if self.shares_rows:
                setattr(self, name, ShardedTable.computed(nodes, width))
            else:
                self.register_buffer(name, torch.zeros(len(nodes) + 1, width))
                declare_rows(self, **{name: NodeRows.of(graph, graph.target[end], computed=True)})
        known, (source, _, target) = graph.only(graph.target), graph.target
        if tables:
            self.user = NodeEmbedding(known, source, config.dim, config.init_std, config, end="users")
            self.item = NodeEmbedding(known, target, config.dim, config.init_std, config, end="items")
        if adjacency:
            self.adjacency = symmetric(known)

    @abstractmethod
    def encode(self) -> tuple[Tensor, Tensor]:
        """Final vectors of all users, [U, D], and all items, [I, D]."""

    def looked_up(self, end: Literal["users", "items"], node: Tensor) -> Tensor:
        """Final vectors of some users or items from look-ups alone: [n, D]. This is for tables whose rows several
        processes share. node: LongTensor [n], flat, ascending. Raises KgrecError for a model whose vectors need those
        of all nodes."""
        raise refused(
            f"the vectors of all {end} at once, for propagation over the whole graph",
            "use kgat with sampled neighborhoods (fanouts), or mf",
        )

    def refresh(self) -> None:
        """Compute and store the vectors that scoring reads."""
        if self.shares_rows:
            self.keep_own(partial(self.looked_up, "users"), partial(self.looked_up, "items"))
        else:
            self.keep(*self.encode())

    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        if self.shares_rows and ranking.over_all:
            raise refused("the scores of all items in each step (loss=softmax)")
        of_user, of_item = self.step_tables(user, drawn.tail, drawn.negative)
        return ranking.of_vectors(of_user(user), of_item, drawn)

    def step_tables(self, user: Tensor, *item: Tensor | None) -> tuple[Vectors, Vectors]:
        """Final vectors of a training step's users [n] and items [*S], in a form that is read by flat numbers. Where
        each process has whole tables, they are those of all users and items."""
        if not self.shares_rows:
            return self.tables(*self.encode())
        users, items = user.unique(), torch.cat([one.flatten() for one in item if one is not None]).unique()
        return _of_some(users, self.looked_up("users", users)), _of_some(items, self.looked_up("items", items))

    def own_vectors(self) -> Tensor:
        """The vectors of the two tables in the order of the adjacency, users before items: [U + I, D]."""
        return torch.cat([self.user.table(), self.item.table()])

    def split(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Splits vectors of users and items, [U + I, D], into [U, D] and [I, D]."""
        user, item = vector.split([len(self.users), len(self.items)])
        return user, item

    def tables(self, user: Tensor, item: Tensor) -> tuple[Vectors, Vectors]:
        """Vectors of all users [U, D] and items [I, D], in a form that is read by flat numbers."""
        return _padded(self.users, user), _padded(self.items, item)

    def keep(self, user: Tensor, item: Tensor, first: int = 0) -> int:
        """Store K columns of the vectors for scoring, of all users, [U, K], and all items, [I, K], from the column
        `first` on. Returns the column where the next ones go."""
        stop = first + user.shape[1]
        self.user_vector[:-1, first:stop], self.item_vector[:-1, first:stop] = user, item
        return stop

    def keep_own(self, user: Callable[[Tensor], Tensor], item: Callable[[Tensor], Tensor], first: int = 0) -> int:
        """The same, of the rows that this process keeps. user, item: functions from flat nodes [n], ascending, to their
        K columns, [n, K]. All processes call this together."""
        self.user_vector.set_columns(user, first)
        stop: int = self.item_vector.set_columns(item, first)
        ranks.barrier()  # nobody looks these rows up before all are set
        return stop

    def final(self, end: Literal["users", "items"]) -> Vectors | ShardedTable:
        """The final vectors of users or items that scoring reads."""
        nodes, vector = (self.users, self.user_vector) if end == "users" else (self.items, self.item_vector)
        return vector if isinstance(vector, ShardedTable) else Vectors(nodes.start, vector)

    def pair_scores(self, user: Tensor, items: Tensor) -> Tensor:
        of_user: Vectors | ShardedTable
        of_item: Vectors | ShardedTable
        if self.training:
            of_user, of_item = self.step_tables(user, items)
        else:
            of_user, of_item = self.final("users"), self.final("items")
        added, vector = self.added, of_user(user)
        vector = vector if added is None else added.over(vector, user)
        return product(self.config, vector, of_item, items, serves=not self.training)

    # ------------------------------------------------------------------ new users

    @property
    def user_table(self) -> NodeEmbedding:
        """What holds the vectors with which users begin."""
        return self.user

    def layers_around(self, known: Graph, whole: Callable[[], Graph]) -> Any:
        """What `new_vectors` makes vectors of new users of, made once; None: of nothing but their own. known: the
        target edges; whole: all of the graph."""
        return None

    def new_vectors(self, own: Tensor, edges: NewUsersEdges, layers: Any) -> Tensor:
        """The final vectors of users whose own are these, [U, D], each attached alone: [U, K]."""
        return own

    def folding(self, known: Graph, whole: Callable[[], Graph]) -> Folding:
        return GraphFolding(self, known, self.fold_in, self.layers_around(known, whole))

    def propagated(self, known: Graph, layers: int) -> Propagated:
        """The items' vectors that each of some layers of `adjacency` reads."""
        adjacency, vector, found = symmetric(known.only(known.target)), self.own_vectors(), []
        for layer in range(layers):
            if layer:
                vector = adjacency(vector)
            found.append(self.split(vector)[1])
        degree = torch.bincount(known.only(known.target).tail, minlength=known.num_nodes)
        return Propagated(found, degree[self.items.start : self.items.stop], self.items.start)

    def linear_scorer(self) -> ScorerParts:
        vectors = linear_product(self.config, self.user_vector[:-1], self.item_vector[:-1])
        return ScorerParts("dot", vectors, self.mean.item())


@dataclass(frozen=True, eq=False)
class Propagated:
    """The items' vectors that the layers of D^-1/2 A D^-1/2 read, as they are without new users."""

    layers: list[Tensor]  #: [I, D] each
    degree: Tensor  #: LongTensor [I], users of each item
    first: int  #: the first item's flat number
    made: dict[str, Any] = field(default_factory=dict)  #: of the last users, whose edges every step goes along

    def along(self, edges: NewUsersEdges) -> list[Tensor]:
        """What each layer makes of users' edges, where an item has the one user more: [U, D] each."""
        if self.made.get("edges") is not edges:
            item = edges.item - self.first
            value = ((self.degree[item] + 1).double() * edges.number[edges.row].double()).rsqrt()
            self.made.update(edges=edges, found=[row_sums(edges.ptr, item, value, layer) for layer in self.layers])
        found: list[Tensor] = self.made["found"]
        return found


def _of_some(node: Tensor, vector: Tensor) -> Vectors:
    """Vectors [n, D] of some nodes, LongTensor [n], ascending."""

    def find(wanted: Tensor) -> Tensor:
        place = torch.searchsorted(node, wanted).clamp(max=len(node) - 1)
        return place.masked_fill(node[place] != wanted, -1)

    return Vectors(0, functional.pad(vector, (0, 0, 0, 1)), find)


def _padded(nodes: range, vector: Tensor) -> Vectors:
    return Vectors(nodes.start, functional.pad(vector, (0, 0, 0, 1)))
