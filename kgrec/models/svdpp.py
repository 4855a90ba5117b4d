"""SVD++: matrix factorization in which a user's vector also depends on which items the user rated, and how."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.model import Objective, Query, Recommender
from kgrec.nn import NodeEmbedding, dot, label_loss, label_of, mean_score, squares
from kgrec.samplers import Batch, Loader, Nodes
from kgrec.search_ranges import Between
from kgrec.settings import settings


@settings
class SVDPPConfig:
    """Settings of SVD++."""

    #: what the model learns to predict: rating (a number) or ctr (the probability of a click)
    task: Literal["rating", "ctr"] = "rating"
    #: length of a user's or item's vector (embedding size); longer vectors can express more, and cost memory and time
    dim: Annotated[PositiveInt, Between(16, 256, log=True)] = 64
    #: users in a training batch, each with all of their edges; larger batches are faster and need more memory
    batch_size: PositiveInt = 64
    #: learning rate of the optimizer; lower it where the loss jumps, raise it where the loss hardly falls
    lr: Annotated[PositiveFloat, Between(5e-4, 0.05, log=True)] = 5e-3
    #: lambda, weight of L2 regularisation of all parameters against the sum of the losses of all edges; raise it
    #: against overfitting
    l2: Annotated[NonNegativeFloat, Between(0.1, 100.0, log=True)] = 5.0
    init_std: PositiveFloat = 0.05  #: standard deviation of the vectors' random initial values


class SVDPP(Recommender):
    """score(u, i) = mean + b_u + b_i + v_i.(p_u + |N|^-1/2 sum over j in N of (y_j + (w_uj - m) x_j)). N is the set of
    the user's other known items, w are their weights, and m is the mean of all weights (Koren 2008, eqs. 13 and 15
    together).

    `task: rating` minimises the squared errors of the weights. `task: ctr` minimises the cross-entropy of the clicks,
    and the score is a click's logit. Training predicts each edge from the user's other edges only, as evaluation does.
    For a new user with a history, p_u and b_u are 0 and the other terms are computed from the history.
    """

    Config = SVDPPConfig
    paper = "Koren 2008, Factorization meets the neighborhood: a multifaceted collaborative filtering model, KDD"
    reads_history = True

    def __init__(self, graph: Graph, config: SVDPPConfig) -> None:
        super().__init__(graph, config)
        self.task = config.task
        source, _, target = graph.target
        known = graph.only(graph.target)
        self.num_known = known.num_edges
        self.user, self.item, self.implicit, self.explicit = (
            NodeEmbedding(graph, node_type, config.dim, config.init_std) for node_type in (source, *[target] * 3)
        )
        self.user_bias, self.item_bias = (NodeEmbedding(graph, node_type, 1, std=0.0) for node_type in (source, target))
        self.mean: Tensor  #: FloatTensor [], the mean rating, or the logit of the share of clicks
        self.mean_weight: Tensor  #: FloatTensor [], m
        self.register_buffer("mean_weight", known.weight.mean() if known.num_edges else torch.tensor(0.0))
        self.register_buffer("mean", mean_score(known, config.task))

    def objectives(self, graph: Graph) -> list[Objective]:
        c, known = self.config, graph.only(graph.target)
        users = Nodes(known, known.target[0], label=label_of(c.task))
        batches, parameters = Loader(users, batch_size=c.batch_size), list(self.parameters())
        return [Objective(c.task, batches, self.loss, parameters, lr=c.lr, penalty=self.penalty if c.l2 else None)]

    def loss(self, batch: Batch) -> Tensor:
        assert batch.ptr is not None
        assert batch.weight is not None
        degree = batch.ptr.diff()
        row = torch.arange(len(batch), device=degree.device).repeat_interleave(degree)
        step = self.implicit(batch.tail) + (batch.weight - self.mean_weight).unsqueeze(1) * self.explicit(batch.tail)
        whole = torch.zeros(len(batch), step.shape[1], device=step.device).index_add(0, row, step.float())
        others = (functional.embedding(row, whole) - step) / (degree - 1).clamp(min=1).sqrt()[row].unsqueeze(1)
        vector = functional.embedding(row, self.user(batch.head)) + others
        score = (vector * self.item(batch.tail)).sum(-1) + self.item_bias(batch.tail).squeeze(1) + self.mean
        score = score + functional.embedding(row, self.user_bias(batch.head)).squeeze(1)
        loss = label_loss(self.task, score, batch)
        return loss + self.penalty(batch) if self.config.l2 else loss

    def penalty(self, batch: Batch) -> Tensor:
        """The part of `loss` that is regularisation."""
        return self.config.l2 * squares(self) / self.num_known

    def score(self, query: Query, items: Tensor) -> Tensor:
        score = dot(self.user(query.user) + self._of_history(query), self.item, items)
        return score + self.mean + self.user_bias(query.user) + self.item_bias(items).squeeze(-1)

    def _of_history(self, query: Query) -> Tensor:
        """|N|^-1/2 sum of (y_j + (w_uj - m) x_j) over each user's history: [B, D]."""
        if not query.history.shape[1]:
            return torch.zeros(len(query), self.config.dim, device=query.history.device)
        there = (self.implicit.row(query.history) < self.implicit.count).float()
        total = _sums(self.implicit, query.history, there)
        if query.weight is not None:
            total = total + _sums(self.explicit, query.history, (query.weight - self.mean_weight) * there)
        return total / there.sum(1, keepdim=True).clamp(min=1).sqrt()


def _sums(table: NodeEmbedding, node: Tensor, weight: Tensor) -> Tensor:
    """The sums of the vectors of nodes [B, L], by weights [B, L]: [B, D]."""
    vectors, row = (table.weight, table.row(node)) if table.rows is None else table.distinct(node)
    return functional.embedding_bag(row, vectors, mode="sum", per_sample_weights=weight)
