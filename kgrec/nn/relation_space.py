"""TransR: a fact is a translation from its head to its tail, in a space of its relation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kgrec.nn import losses
from kgrec.nn.grouped import grouped_product
from kgrec.rows import RelationRows, declare_rows


class TransR(nn.Module):
    """g(h, r, t) = |W_r e_h + e_r - W_r e_t|^2, small where a fact holds (Lin et al. 2015; Wang et al. 2019, eq. 1)."""

    def __init__(self, relations: RelationRows | int, dim: int, relation_dim: int) -> None:
        """relations: the relations in the order of their numbers. Their number alone is enough to compute; then it is
        not recorded which relation each row of the parameters stands for."""
        super().__init__()
        num_relations = relations if isinstance(relations, int) else len(relations)
        self.relation = nn.Parameter(torch.empty(num_relations, relation_dim))  #: [R, K], e_r
        self.projection = nn.Parameter(torch.empty(num_relations, dim, relation_dim))  #: [R, D, K], W_r
        nn.init.xavier_uniform_(self.relation)
        bound = (6 / (dim + relation_dim)) ** 0.5
        nn.init.uniform_(self.projection, -bound, bound)
        if isinstance(relations, RelationRows):
            declare_rows(self, relation=relations, projection=relations)

    def project(self, vector: Tensor, relation: Tensor) -> Tensor:
        """W_r e for vectors [n, D] and relations [n]: [n, K]."""
        return grouped_product(vector, relation, self.projection)

    def energies(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """g of heads [B, D] and relations [B] with C tails for each, [B, C, D]: [B, C]."""
        size = tails.shape[1]
        apart = self.project((head.unsqueeze(1) - tails).flatten(0, 1), relation.repeat_interleave(size))
        moved = apart.unflatten(0, (-1, size)) + self.relation.index_select(0, relation).unsqueeze(1)
        return moved.square().sum(-1)

    def loss(self, ends: Tensor, relation: Tensor, l2: float) -> Tensor:
        """-log sigmoid(g(h, r, t') - g(h, r, t)), mean (Wang et al. 2019, eq. 2), + l2 times the squares of the vectors
        of each fact. ends: [B, 2 + K, D], vectors of the head, the tail and K negative tails; relation: LongTensor [B].
        """
        energy = self.energies(ends[:, 0], relation, ends[:, 1:])
        return losses.bpr(-energy[:, 0], -energy[:, 1:]) + self.penalty(ends, relation, l2)

    def penalty(self, ends: Tensor, relation: Tensor, l2: float) -> Tensor:
        """The part of `loss` that is regularisation."""
        squares = ends.square().sum() + self.relation.square().sum(1).index_select(0, relation).sum()
        return l2 * squares / len(relation)

    def attention(self, head: Tensor, relation: int, tail: Tensor) -> Tensor:
        """pi = (W_r e_t)' tanh(W_r e_h + e_r), before the softmax, for E edges of one relation: [E] (Wang et al. 2019,
        eq. 4). head, tail: vectors, [E, D]."""
        weight = self.projection[relation]
        return ((tail @ weight) * torch.tanh(head @ weight + self.relation[relation])).sum(-1)
