"""A multi-layer perceptron on the vectors of a pair, computed without concatenating them."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from kgrec.nn.cpu_products import Linear
from kgrec.nn.dropout import Dropout
from kgrec.nn.edge_model import EdgeModelConfig
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.pair_pass import pair_scores
from kgrec.nn.steady_products import SteadyLinear, may_serve
from kgrec.search_ranges import Between
from kgrec.settings import settings

MANY = 2  #: look-ups for each item from which its part of the first layer is computed once
CELLS = 1 << 20  #: outputs of one layer that scoring keeps in memory at once


@settings
class PairMLPConfig(EdgeModelConfig):
    """Settings of edge models with a multi-layer perceptron."""

    #: learning rate of the optimizer; lower it where the loss jumps, raise it where the loss hardly falls
    lr: Annotated[PositiveFloat, Between(5e-4, 0.05, log=True)] = 5e-3
    #: widths of the perceptron's hidden layers, from its input to its output; wider or more layers can express more,
    #: and overfit sooner
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 32, 16)
    #: share of a layer's output that training sets to 0; raise it against overfitting
    dropout: Annotated[float, Field(ge=0, lt=1), Between(0.0, 0.6)] = 0.0
    #: standard deviation of the vectors' random initial values; rarely needs a change
    init_std: PositiveFloat = 0.05

    FORMER: ClassVar = {"layers": "hidden"}


class PairMLP(nn.Module):
    """Linear layers with ReLU between them, from [u; v] to one number.

    The first layer is `W_u u + W_v v + b`, so the part of each user and of each item is computed only once. Without
    gradients, items are scored in chunks, so that memory does not grow with the catalog.
    """

    def __init__(self, dim: int, layers: tuple[int, ...], dropout: float = 0.0) -> None:
        super().__init__()
        self.of_user, self.of_item = SteadyLinear(dim, layers[0]), Linear(dim, layers[0], bias=False)
        self.hidden = nn.ModuleList(Linear(a, b) for a, b in pairwise(layers))
        self.out = nn.Linear(layers[-1], 1)
        self.dropout = Dropout(dropout)
        self.widest = max(layers)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Scores: [B, C]. user: [B, D]; item: [C, D], the same for all users, or [B, C, D], a list for each user."""
        if torch.is_grad_enabled():
            return self._scores(self.of_user(user), self.of_item(item))
        of_user = self.of_user(user)
        size = max(1, CELLS // max(1, len(user) * self.widest))
        scores = of_user.new_empty(len(user), item.shape[-2])  # made first: made in between it would break up the heap
        for start in range(0, item.shape[-2], size):
            part = item[..., start : start + size, :]
            scores[:, start : start + size] = self._scores(of_user, self.of_item(part))
        return scores

    def of_pairs(self, user: Tensor, table: NodeEmbedding, items: Tensor) -> Tensor:
        """Scores of users with items by their vectors in a table: [B, C]. user: [B, D]; items: LongTensor, flat, [C],
        the same for all users, or [B, C]. In training on the CPU the first layer's part of an item that several lists
        name is computed once."""
        learns = torch.is_grad_enabled() and user.dtype == torch.float32 and user.requires_grad
        if items.dim() == 1 or items.device.type != "cpu" or not learns or torch.is_autocast_enabled("cpu"):
            return self(user, table(items))
        many = items.numel() >= MANY * table.count or table.by_distinct
        vectors, place = table.distinct(items) if many and table.added is None else (table(items), None)
        return pair_scores(user, vectors, place, self.layers(), self.dropout.levels_dropped())

    def layers(self) -> list[nn.Parameter]:
        """The weights of the layers, as `pair_scores` takes them."""
        rest = [one for layer in (*self.hidden, self.out) for one in (layer.weight, layer.bias)]
        return [self.of_user.weight, self.of_user.bias, self.of_item.weight, *rest]

    def _scores(self, of_user: Tensor, of_item: Tensor) -> Tensor:
        serves = may_serve(of_user) and not torch.is_grad_enabled() and not self.dropout.levels_dropped()
        relu = torch.relu_ if serves else self.dropout.of_relu  # in place it takes half of the memory, and less time
        x = relu(of_user.unsqueeze(1) + of_item)
        for layer in self.hidden:
            x = relu(layer(x))
        scores: Tensor = self.out(x).squeeze(-1)
        return scores
