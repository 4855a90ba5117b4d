"""Link prediction: the score of a fact, of any relation, learned from all that the graph states."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.model import Objective, Query, Recommender
from kgrec.nn import losses
from kgrec.rows import NodeRows, RelationRows, declare_rows
from kgrec.samplers import Batch, Edges, Loader, Negatives
from kgrec.settings import settings

FLOATS = 1 << 24  #: numbers of vectors that scoring lists holds at once


@settings
class LinkModelConfig:
    """Settings that all models of facts have."""

    #: what is held out and measured: interactions or facts; training is the same
    task: Literal["ranking", "link"] = "ranking"
    dim: PositiveInt = 64  #: numbers in a vector
    loss: Literal["bpr", "bce", "sampled_softmax"] = "sampled_softmax"  #: of each true fact beside the drawn ones
    negatives: PositiveInt = 16  #: tails drawn for each true one, none of them known to be true
    temperature: PositiveFloat = 1.0  #: the loss is of scores / temperature
    batch_size: PositiveInt = 2048  #: edges in a batch
    lr: PositiveFloat = 1e-2  #: step size of the optimizer
    #: weight of the squares of the vectors of an edge's ends, its relation and the tails drawn
    l2: NonNegativeFloat = 0.0


class LinkScorer(Recommender, ABC):
    """The score of a fact (head, relation, tail), of whatever relation the graph has, in either direction: what link
    prediction measures. A user is recommended the tails of the target relation."""

    reads_head: ClassVar[bool] = True  #: whether scores depend on the head; else a relation's are the same for all

    reads_all_edges = True

    def __init__(self, graph: Graph, config: Any) -> None:
        super().__init__(graph, config)
        self.task = config.task
        self.edge_types = list(graph.two_way_edges())  #: what a relation's number stands for
        self.target_number = self.edge_types.index(graph.target)
        self.num_nodes = graph.num_nodes
        self.users, self.items = graph.range(graph.target[0]), graph.range(graph.target[2])

    @property
    def list_width(self) -> int:
        """Numbers that `list_scores` holds for each of its tails."""
        return 1

    @abstractmethod
    def list_scores(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """Scores of each head [B] by its relation [B] with each of its own tails [B, C]: FloatTensor [B, C]. Nodes are
        flat, where `num_nodes` stands for any that is not known; relations are numbers of `edge_types`."""

    @abstractmethod
    def catalog_scores(self, head: Tensor, relation: int, tails: Tensor) -> Tensor:
        """The same scores of each head [B] by one relation with all of the same tails [C]: FloatTensor [B, C]."""

    def score(self, query: Query, items: Tensor) -> Tensor:
        user, items = query.user.clamp(max=self.num_nodes), items.clamp(max=self.num_nodes)
        if items.dim() == 1:
            return self.catalog_scores(user, self.target_number, items)
        rows = max(1, FLOATS // (self.list_width * max(1, items.shape[1])))
        relation = torch.full_like(user, self.target_number)
        parts = zip(user.split(rows), relation.split(rows), items.split(rows))
        return torch.cat([self.list_scores(*part) for part in parts])


class LinkModel(LinkScorer, ABC):
    """The score of a fact, learned over all edges both ways.

    Interactions are a relation among others, so that a user is recommended the tails of the target relation (CFKG, Ai
    et al. 2018). Every relation has an inverse of its own, so corrupting tails alone corrupts both ends (reciprocal
    relations, Lacroix et al. 2018). Drawn tails are of the true one's type, and no known fact. `task: link` holds out
    facts in place of interactions.
    """

    @property
    def list_width(self) -> int:
        return int(self.config.dim)

    @abstractmethod
    def weighed(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """What l2 weighs: vectors of nodes, [N + 1, *] each, and of relations, [R, *] each."""

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
        """The loss of edges and what was drawn beside their tails; a draw that is the true tail is no negative."""
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
        """What of `loss` is regularisation."""
        return self.config.l2 * self._squares(batch) / len(batch)

    def _squares(self, batch: Batch) -> Tensor:
        """The sum over edges of the squares of the vectors behind each."""
        assert batch.relation is not None
        assert batch.negative is not None
        of_nodes, of_relations = self.weighed()
        count = torch.bincount(torch.cat([batch.head, batch.tail]), minlength=self.num_nodes + 1).float()
        drawn = torch.bincount(batch.negative.flatten(), minlength=self.num_nodes + 1)
        count += drawn / batch.negative.shape[1]
        used = torch.bincount(batch.relation, minlength=len(self.edge_types)).float()
        parts = [weight.square().sum(1) @ count for weight in of_nodes]
        parts += [weight.square().flatten(1).sum(1) @ used for weight in of_relations]
        return torch.stack(parts).sum()


class KGELinkModel(LinkModel, ABC):
    """A model of facts whose scores are those of a class of torch_geometric.nn.kge, `kge`; its negatives and its loss
    are ours. A node that is not known has the zero vector."""

    def __init__(
        self,
        graph: Graph,
        config: Any,
        kge: type[nn.Module],
        *,
        angles: bool = False,
        **settings: Any,
    ) -> None:
        """kge: the class; angles: whether relations are angles, which l2 does not weigh; settings: of the class, beside
        its sizes."""
        super().__init__(graph, config)
        self.angles = angles
        self.kge = kge(graph.num_nodes + 1, len(self.edge_types), config.dim, **settings)
        with torch.no_grad():
            for weight in self.weighed()[0]:
                weight[-1].zero_()
        self.rows, relations = NodeRows.of(graph), RelationRows(self.edge_types)
        for name, _ in self.kge.named_children():
            declare_rows(self.kge, **{name: self.rows if name.startswith("node_emb") else relations})

    def list_scores(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        head, relation = head.unsqueeze(1), relation.unsqueeze(1)
        if self.angles:  # RotatE takes one fact a row; the others broadcast
            facts = (node.flatten() for node in torch.broadcast_tensors(head, relation, tails))
            flat: Tensor = self.kge(*facts)
            return flat.view_as(tails)
        scores: Tensor = self.kge(head, relation, tails)
        return scores

    def node_vectors(self, node_type: str) -> Tensor | None:
        """Vectors of all nodes of a type, [N, D], and where they have imaginary parts these beside them, [N, 2 D]."""
        at = self.rows.at(node_type)
        return None if at is None else torch.cat([weight.detach()[at] for weight in self.weighed()[0]], 1)

    def weighed(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        tables = {name.removesuffix(".weight"): weight for name, weight in self.kge.named_parameters()}
        nodes = [weight for name, weight in tables.items() if name.startswith("node_emb")]
        relations = [weight for name, weight in tables.items() if name.startswith("rel_emb")]
        return nodes, [] if self.angles else relations

    def node(self, node: Tensor, part: Literal["", "_im"] = "") -> Tensor:
        """Vectors of nodes [n], their imaginary parts by `_im`: [n, D]."""
        return functional.embedding(node, self.kge.get_parameter(f"node_emb{part}.weight"))

    def relation(self, number: int, part: Literal["", "_im"] = "") -> Tensor:
        """The vector of a relation, its imaginary part by `_im`: [D]."""
        return self.kge.get_parameter(f"rel_emb{part}.weight")[number]
