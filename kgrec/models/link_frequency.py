"""Link frequency: how often an entity is the tail (or head) of a relation; the baseline for link prediction."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kgrec.graph import Graph
from kgrec.nn import LinkScorer
from kgrec.settings import settings


@settings
class LinkFrequencyConfig:
    """Settings of LinkFrequency."""

    task: Literal["link"] = "link"  #: what is held out and measured: facts


class LinkFrequency(LinkScorer):
    """The score of a tail t for (h, r, ?) is the number of training edges of relation r into t. The score of a head for
    (?, r, t) is the number of training edges of r out of it. Neither reads the other end of the fact, so whatever a
    model scores above this baseline comes from the other end. The model is complete once it is built."""

    Config = LinkFrequencyConfig
    reads_head = False

    def __init__(self, graph: Graph, config: LinkFrequencyConfig) -> None:
        super().__init__(graph, config)
        both = graph.both_ways()
        tails = [graph.range(target) for _, _, target in self.edge_types]
        size = torch.tensor([len(nodes) for nodes in tails])
        place = torch.stack([torch.tensor([nodes.start for nodes in tails]), size, size.cumsum(0) - size])
        #: LongTensor [3, R]: for each relation its first tail, its number of tails, and the position of its first count
        self.place: Tensor
        self.register_buffer("place", place.to(graph.device), persistent=False)
        first, _, start = self.place[:, both.relation]
        self.count: Tensor  #: FloatTensor [sum over relations of the number of nodes of the tail's type]
        self.register_buffer("count", torch.bincount(start + both.tail - first, minlength=int(size.sum())).float())

    def list_scores(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        first, size, start = self.place[:, relation].unsqueeze(2)
        number = tails - first
        count = self.count[start + number.clamp(min=0).minimum(size - 1)]
        return count.masked_fill((number < 0) | (number >= size), 0.0)

    def catalog_scores(self, head: Tensor, relation: int, tails: Tensor) -> Tensor:
        one = torch.full_like(tails[:1], relation)
        return self.list_scores(head, one, tails.unsqueeze(0)).expand(len(head), -1)
