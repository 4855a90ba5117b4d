"""ItemKNN: recommends items that many users have together with the items of this user."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveInt
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.model import Query, Recommender, ScorerParts
from kgrec.nn.stored_indices import require_indices
from kgrec.settings import settings

BLOCK = 1 << 24  #: similarities that are computed at a time


@settings
class ItemKNNConfig:
    """Settings of ItemKNN."""

    #: K, the number of most similar items that are kept for each item; more reach more items and add noise
    neighbors: PositiveInt = 100
    #: added to the denominator of similarities; higher: pairs of items with few common users count less
    shrink: NonNegativeFloat = 0.0


class ItemKNN(Recommender):
    """score(u, i) is the sum of sim(i, j) over those items j of the user that are among the K items most similar to i.
    sim(i, j) = users of both / (sqrt(users of i) sqrt(users of j) + shrink), the cosine of two columns of the 0-1
    user-item matrix (Sarwar et al. 2001; shrinkage as in Ferrari Dacrema et al. 2021).
    """

    Config = ItemKNNConfig
    paper = "Sarwar et al. 2001, Item-based collaborative filtering recommendation algorithms, WWW"
    reads_history = True

    def __init__(self, graph: Graph, config: ItemKNNConfig) -> None:
        super().__init__(graph, config)
        self.items = graph.range(graph.target[2])
        shape = len(self.items), min(config.neighbors, len(self.items))
        self.neighbor: Tensor  #: LongTensor [I, K], positions (from 0) of the items most similar to each item
        self.similarity: Tensor  #: FloatTensor [I, K], 0 where an item has fewer than K similar items
        self.register_buffer("neighbor", torch.zeros(shape, dtype=torch.long))
        self.register_buffer("similarity", torch.zeros(shape))
        require_indices(self, "neighbor", len(self.items))
        self.fill(graph, config.shrink)

    def fill(self, graph: Graph, shrink: float) -> None:
        """Find the neighbors of every item, for some rows of the item-item matrix at a time."""
        if not graph.only(graph.target).num_edges:
            return  # no item is similar to another; the buffers are zeros already
        num_items, most = self.neighbor.shape
        user, item = graph.only(graph.target).edge_index.cpu().numpy()
        ones = np.ones(len(user), np.float32)
        rows = csr_array((ones, (user, item)), shape=(len(graph.range(graph.target[0])), num_items))
        rows.data[:] = 1  # repeated pairs count once
        columns = rows.T.tocsr()
        length = torch.from_numpy(np.sqrt(columns.sum(1))).float()
        size = max(1, BLOCK // max(1, num_items))
        for start in range(0, num_items, size):
            common = torch.from_numpy((columns[start : start + size] @ rows).toarray())  # [size, I]
            similarity = common / (length[start : start + size, None] * length + shrink).clamp(min=1e-12)
            similarity.diagonal(start).zero_()  # an item is not its own neighbor
            best = similarity.topk(most)
            self.similarity[start : start + size], self.neighbor[start : start + size] = best

    def score(self, query: Query, items: Tensor) -> Tensor:
        has = query.multi_hot(self.items)  # [B, I]
        local = items - self.items.start
        scored = local if items.dim() == 1 else torch.arange(len(self.items), device=items.device)
        neighbor, similarity = self.neighbor[scored], self.similarity[scored]
        score = functional.embedding_bag(neighbor, has.T.contiguous(), per_sample_weights=similarity, mode="sum").T
        return score if items.dim() == 1 else score.gather(1, local)

    def linear_scorer(self) -> ScorerParts:
        return ScorerParts("history_neighbors", {"neighbor": self.neighbor, "similarity": self.similarity})
