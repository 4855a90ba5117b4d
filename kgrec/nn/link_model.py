"""Link models: they score facts of any relation, and learn from all edges of the graph."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.model import Objective, Query, Recommender
from kgrec.nn import losses
from kgrec.nn.added_rows import Added, Holder
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.fold_in import Folding, FoldingSteps, ProfileFolding
from kgrec.nn.link_folding import LinkFolding
from kgrec.nn.row_shards import is_sharding
from kgrec.nn.sharded_tables import ShardedTable, with_sharded_rows
from kgrec.rows import NodeRows, RelationRows, declare_rows
from kgrec.samplers import Batch, Edges, Loader, Negatives
from kgrec.search_ranges import Between, OneOf
from kgrec.settings import settings

NODE_TABLES = ("node_emb", "node_emb_im")  #: names of tables of nodes in torch_geometric.nn.kge
FLOATS = 1 << 24  #: numbers of vectors that are in memory at once when lists are scored


@settings
class LinkModelConfig:
    """Settings that all link models have."""

    #: what is held out and measured: interactions (ranking) or facts (link); training is the same for both
    task: Literal["ranking", "link"] = "ranking"
    #: length of an entity's vector (embedding size); longer vectors can express more, and cost memory and time
    dim: Annotated[PositiveInt, Between(16, 256, log=True)] = 64
    #: loss that compares each true fact with its sampled negatives
    loss: Literal["bpr", "bce", "sampled_softmax"] = "sampled_softmax"
    #: number of negative tails sampled for each true fact, none of them known to be true; more usually rank better, and
    #: cost more time
    negatives: Annotated[PositiveInt, Between(4, 128, log=True)] = 16
    temperature: PositiveFloat = 1.0  #: the loss divides scores by it; lower it where scores differ too little
    batch_size: PositiveInt = 2048  #: edges in a training batch; larger batches are faster and need more memory
    #: learning rate of the optimizer; lower it where the loss jumps, raise it where the loss hardly falls
    lr: Annotated[PositiveFloat, Between(1e-3, 0.1, log=True)] = 1e-2
    #: weight of L2 regularisation of an edge's vectors: both ends, the relation and the negatives; raise it against
    #: overfitting
    l2: Annotated[NonNegativeFloat, OneOf((0.0, 1e-4, 1e-3, 1e-2, 0.1))] = 0.0


class LinkScorer(Recommender, ABC):
    """A model that scores facts (head, relation, tail) of any relation of the graph, in both directions; this is what
    link prediction evaluates. Users are recommended the tails of the target relation."""

    reads_head: ClassVar[bool] = True  #: whether scores depend on the head; if not, they depend on relation and tail

    reads_all_edges = True
    reads_facts = True

    def __init__(self, graph: Graph, config: Any) -> None:
        super().__init__(graph, config)
        self.task = config.task
        self.edge_types = list(graph.two_way_edges())  #: edge types by the number of the relation
        self.target_number = self.edge_types.index(graph.target)
        self.num_nodes = graph.num_nodes
        self.users, self.items = graph.range(graph.target[0]), graph.range(graph.target[2])

    @property
    def learns_facts(self) -> bool:
        return True

    @property
    def list_width(self) -> int:
        """How many numbers `list_scores` keeps in memory for each tail."""
        return 1

    @abstractmethod
    def list_scores(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """Scores of the facts of each head [B] and its relation [B] with its own list of tails [B, C]: FloatTensor
        [B, C]. Nodes are flat numbers; `num_nodes` stands for any unknown node. Relations are indices of `edge_types`.
        """

    @abstractmethod
    def catalog_scores(self, head: Tensor, relation: int, tails: Tensor) -> Tensor:
        """Scores of the facts of heads [B] and one relation with the same tails [C] for all: FloatTensor [B, C]."""

    def score(self, query: Query, items: Tensor) -> Tensor:
        user, items = query.user, items.clamp(max=self.num_nodes)
        if items.dim() == 1:
            return self.catalog_scores(user, self.target_number, items)
        user = user.clamp(max=self.num_nodes)
        rows = max(1, FLOATS // (self.list_width * max(1, items.shape[1])))
        relation = torch.full_like(user, self.target_number)
        parts = zip(user.split(rows), relation.split(rows), items.split(rows))
        return torch.cat([self.list_scores(*part) for part in parts])


class LinkModel(LinkScorer, ABC):
    """A link model that is trained on all edges in both directions.

    Interactions are one relation among others, and users are recommended the tails of the target relation (CFKG, Ai et
    al. 2018). Every relation has an inverse, so replacing only tails also covers heads (reciprocal relations, Lacroix
    et al. 2018). Negative tails have the type of the true tail and never make a known fact. `task: link` holds out
    facts instead of interactions.
    """

    fold_in: ClassVar[FoldingSteps] = FoldingSteps()  #: how vectors of new users are fitted

    @property
    def list_width(self) -> int:
        return int(self.config.dim)

    @property
    def user_holder(self) -> Holder | None:
        """The module that gives `catalog_scores` the vectors of heads; None for a model that new users cannot be
        folded into."""
        return None

    def vectors_of(self, node: Tensor) -> Tensor:
        """The vectors of nodes [n] in that module: [n, D]; by default those that l2 regularises, side by side."""
        return torch.cat([weight[node] for weight in self.weighed()[0]], 1)

    def folding(self, known: Graph, whole: Callable[[], Graph]) -> Folding:
        """Computes vectors of new users: see `kgrec.nn.fold_in`."""
        return ProfileFolding(self, known) if self.user_holder is None else LinkFolding(self, known, self.fold_in)

    @abstractmethod
    def weighed(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The parameters that l2 regularises: vectors of nodes, [N + 1, *] each, and of relations, [R, *] each. Tables
        of nodes whose rows several processes share are not among them."""

    def objectives(self, graph: Graph) -> list[Objective]:
        c, both = self.config, graph.both_ways()
        facts = Loader(Edges(both), Negatives(both, c.negatives, reject=both), batch_size=c.batch_size)
        return [
            Objective(
                "facts",
                facts,
                self.loss,
                list(self.parameters()),
                lr=c.lr,
                penalty=self.penalty if c.l2 else None,
            )
        ]

    def loss(self, batch: Batch) -> Tensor:
        """The loss of edges and their negative tails. A draw that equals the true tail does not count."""
        c = self.config
        assert batch.relation is not None
        assert batch.negative is not None
        assert batch.log_q is not None
        tails = torch.cat([batch.tail.unsqueeze(1), batch.negative], 1)
        scores = self.list_scores(batch.head, batch.relation, tails) / c.temperature
        positive = scores[:, 0]
        negative = scores[:, 1:].masked_fill(batch.negative == batch.tail.unsqueeze(1), losses.NO_LOGIT)
        match c.loss:
            case "bpr":
                loss = losses.bpr(positive, negative)
            case "bce":
                loss = losses.bce(positive, negative)
            case _:
                loss = losses.sampled_softmax(positive, negative, batch.log_q + math.log(c.negatives))
        return loss + self.penalty(batch) if c.l2 else loss

    def penalty(self, batch: Batch) -> Tensor:
        """The part of `loss` that is regularisation."""
        return self.config.l2 * self._squares(batch) / len(batch)

    def _squares(self, batch: Batch) -> Tensor:
        """The sum over edges of the squares of the vectors that each edge uses."""
        assert batch.relation is not None
        assert batch.negative is not None
        of_nodes, of_relations = self.weighed()
        ends, number = torch.cat([batch.head, batch.tail]), batch.negative.shape[1]
        count = torch.bincount(ends, minlength=self.num_nodes + 1).float()
        count += torch.bincount(batch.negative.flatten(), minlength=self.num_nodes + 1) / number
        used = torch.bincount(batch.relation, minlength=len(self.edge_types)).float()
        parts = [weight.square().sum(1) @ count for weight in of_nodes]
        parts += [one.squares(ends) + one.squares(batch.negative) / number for one in self.sharded_tables()]
        parts += [weight.square().flatten(1).sum(1) @ used for weight in of_relations]
        return torch.stack(parts).sum()

    def sharded_tables(self) -> list[NodeEmbedding | ShardedTable]:
        """The tables of nodes whose rows several processes share."""
        tables = (one for one in self.modules() if isinstance(one, NodeEmbedding | ShardedTable))
        return [table for table in tables if table.rows is not None]


class KGELinkModel(Holder, LinkModel, ABC):
    """A link model whose scores come from a class of torch_geometric.nn.kge, `kge`. Negatives and loss are those of
    LinkModel, not of torch_geometric. An unknown node has the zero vector."""

    def __init__(
        self,
        graph: Graph,
        config: Any,
        kge: type[nn.Module],
        *,
        angles: bool = False,
        **settings: Any,
    ) -> None:
        """kge: the class; angles: whether relations are angles, which l2 does not regularise; settings: arguments of
        the class besides its sizes."""
        super().__init__(graph, config)
        self.angles = angles

        def make(rows: int) -> nn.Module:
            return kge(rows, len(self.edge_types), config.dim, **settings)

        count, relations = graph.num_nodes, RelationRows(self.edge_types)
        self.kge = with_sharded_rows(make, count) if is_sharding() else make(count + 1)
        with torch.no_grad():
            for weight in self.weighed()[0]:
                weight[-1].zero_()
        self.rows = NodeRows.of(graph)
        for name, table in self.kge.named_children():
            if not isinstance(table, ShardedTable):
                declare_rows(self.kge, **{name: self.rows if name.startswith("node_emb") else relations})

    def list_scores(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        head, relation = head.unsqueeze(1), relation.unsqueeze(1)
        if self.angles:  # torch_geometric's RotatE takes flat lists of facts; the other classes broadcast
            facts = (node.flatten() for node in torch.broadcast_tensors(head, relation, tails))
            flat: Tensor = self.kge(*facts)
            return flat.view_as(tails)
        scores: Tensor = self.kge(head, relation, tails)
        return scores

    def node_vectors(self, node_type: str) -> Tensor | None:
        """Vectors of all nodes of a type: [N, D]; complex ones as real and imaginary parts, [N, 2 D]."""
        at = self.rows.at(node_type)
        return None if at is None else torch.cat([weight.detach()[at] for weight in self.weighed()[0]], 1)

    def weighed(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        tables = {name.removesuffix(".weight"): weight for name, weight in self.kge.named_parameters()}
        nodes = [weight for name, weight in tables.items() if name in NODE_TABLES]
        relations = [weight for name, weight in tables.items() if name.startswith("rel_emb")]
        return nodes, [] if self.angles else relations

    def node(self, node: Tensor, part: Literal["", "_im"] = "") -> Tensor:
        """Vectors of nodes [n]: [n, D]. part: `_im` gives their imaginary parts."""
        table = self.kge.get_submodule(f"node_emb{part}")
        if isinstance(table, ShardedTable):
            return table(node)
        found = functional.embedding(node.clamp(max=self.num_nodes), self.kge.get_parameter(f"node_emb{part}.weight"))
        added = self.added
        if added is None:
            return found
        parts = added.vector.tensor_split(len(self.weighed()[0]), dim=1)
        return Added(added.first, parts[1 if part else 0]).over(found, node)

    @property
    def user_holder(self) -> Holder:
        return self

    def relation(self, number: int, part: Literal["", "_im"] = "") -> Tensor:
        """The vector of a relation: [D]. part: `_im` gives its imaginary part."""
        return self.kge.get_parameter(f"rel_emb{part}.weight")[number]
