"""ItemKNN: recommends items that many users have together with the items of this user, or that are alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.graph.item_counts import item_counts
from kgrec.in_threads import in_threads
from kgrec.model import Query, Recommender, ScorerParts
from kgrec.nn.common_users import ItemUsers, nearest_items
from kgrec.nn.item_content import ItemContent, ItemContentConfig
from kgrec.nn.stored_indices import require_indices
from kgrec.progress import counted
from kgrec.search_ranges import Between, OneOf
from kgrec.settings import settings

ROWS = 64  #: items whose neighbors a thread finds at a time
CELLS = 1 << 22  #: at most so many similarities at a time


@settings
class ItemKNNConfig(ItemContentConfig):
    """Settings of ItemKNN."""

    #: K, the number of most similar items that are kept for each item; more reach more items and add noise
    neighbors: Annotated[PositiveInt, Between(5, 1000, log=True)] = 100
    #: added to the denominator of similarities; higher: pairs of items with few common users count less
    shrink: Annotated[NonNegativeFloat, OneOf((0.0, 1.0, 10.0, 100.0))] = 0.0
    #: weight of the users who have an item; 0, with a weight for facts, words or columns: similarity by content alone
    users: NonNegativeFloat = 1.0

    @model_validator(mode="after")
    def _compares_something(self) -> ItemKNNConfig:
        if not self.users and not self.reads_content:
            raise ValueError("with users=0 nothing is compared: set facts, words or columns to more than 0")
        return self


class ItemKNN(Recommender):
    """score(u, i) is the sum of sim(i, j) over those items j of the user that are among the K items most similar to i.
    sim(i, j) = users of both / (sqrt(users of i) sqrt(users of j) + shrink), the cosine of two columns of the 0-1
    user-item matrix (Sarwar et al. 2001; shrinkage as in Ferrari Dacrema et al. 2021).

    With `facts`, `words` or `columns`, the matrix has more rows: a row for each fact, word or category, times the root
    of its weight. With `users: 0` these are all it has, and similarity is that of content alone (content kNN; Lops et
    al. 2011, Content-based recommender systems, sec. 3.3.1). An item without users is then never a neighbor, as it is
    in nobody's history, but has neighbors, so that it is recommended too.
    """

    Config = ItemKNNConfig
    paper = "Sarwar et al. 2001, Item-based collaborative filtering recommendation algorithms, WWW"
    reads_history = True
    reads_facts = "facts"
    for_cold: ClassVar[Mapping[str, Any]] = {
        "users": 0.0,
        "facts": 1.0,
        "words": 1.0,
        "columns": 4.0,
        "neighbors": 300,
        "shrink": 1000.0,
    }

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

    @property
    def learns_facts(self) -> bool:
        return self.config.facts > 0

    def fill(self, graph: Graph, shrink: float) -> None:
        """Find the neighbors of every item, for some rows of the item-item matrix at a time; it is never held whole."""
        if not graph.only(graph.target).num_edges:
            return  # no item is similar to another; the buffers are zeros already
        num_items, weight, content = len(self.items), self.config.users, None
        users = ItemUsers.of(graph) if weight else ItemUsers.nobody(num_items)
        square = np.diff(users.user_ptr).astype(np.float32) * np.float32(weight)
        if self.config.reads_content:
            content = ItemContent.of(graph, self.config)
            square = square + content.squares()
            nobody = (item_counts(graph) == 0).cpu().numpy()  # they are in nobody's history
        length = np.sqrt(square).astype(np.float32)
        weight, shrink = float(weight), float(shrink)  # of one type, or the loop is compiled for each
        neighbor, similarity = np.zeros(self.neighbor.shape, np.int64), np.zeros(self.neighbor.shape, np.float32)

        def find(start: int) -> int:
            stop, more = min(start + size, num_items), np.empty((0, num_items), np.float32)
            if content is not None:
                more = content.gram(slice(start, stop))
                more[:, nobody] = 0
            nearest_items(start, stop, *users, weight, length, shrink, more, neighbor, similarity)
            return stop - start

        size = max(1, min(ROWS, CELLS // num_items))
        parts = in_threads(find, range(0, num_items, size), torch.get_num_threads())
        for _ in counted("finding neighbors", parts, num_items, "items", int):
            pass
        self.neighbor.copy_(torch.from_numpy(neighbor))
        self.similarity.copy_(torch.from_numpy(similarity))

    def score(self, query: Query, items: Tensor) -> Tensor:
        has = query.multi_hot(self.items)  # [B, I]
        local = items - self.items.start
        scored = local if items.dim() == 1 else torch.arange(len(self.items), device=items.device)
        neighbor, similarity = self.neighbor[scored], self.similarity[scored]
        score = functional.embedding_bag(neighbor, has.T.contiguous(), per_sample_weights=similarity, mode="sum").T
        return score if items.dim() == 1 else score.gather(1, local)

    def linear_scorer(self) -> ScorerParts:
        return ScorerParts("history_neighbors", {"neighbor": self.neighbor, "similarity": self.similarity})
