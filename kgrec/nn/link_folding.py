"""Folding in of users for models of facts: by the loss of their facts of the target relation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from kgrec.graph import Graph
from kgrec.nn import losses
from kgrec.nn.added_rows import Holder
from kgrec.nn.fold_in import FoldingSteps, Loss, NewUsersEdges, Places, VectorFolding, shares, softmax_loss
from kgrec.nn.losses import NO_LOGIT

if TYPE_CHECKING:
    from kgrec.nn.link_model import LinkModel


class LinkFolding(VectorFolding):
    """Users of a model of facts, whose items are the tails of the target relation: held against all items that they do
    not have, with `loss: sampled_softmax`, else against some drawn for each at each step. The facts backwards, from
    items to users, are left out. `l2` weighs a user's vector as in training."""

    def __init__(self, model: LinkModel, known: Graph, how: FoldingSteps, seed: int = 0) -> None:
        super().__init__(model, known, how, seed)
        self.link_model, self.config = model, model.config
        self.classes = known.drawable(known.target[2])

    @property
    def width(self) -> int:
        return len(self.classes)

    @property
    def tables(self) -> list[Any]:
        return [self.link_model.user_holder]

    def of_trained(self, table: Any) -> Tensor:
        return self.link_model.vectors_of(self.trained).detach()

    def placed(self, own: Mapping[Any, Tensor], edges: NewUsersEdges) -> Mapping[Holder, Tensor]:
        return own

    def loss_of(self, user: Tensor, edges: NewUsersEdges) -> Loss:
        c, model, classes = self.config, self.link_model, self.classes
        places, times = Places.of(edges, classes), edges.number.float()
        row, own = places.row, places.own(len(user), len(classes))

        def loss(vectors: Mapping[Any, Tensor], step: int) -> Tensor:
            scores = model.catalog_scores(user, model.target_number, classes) / c.temperature
            positive = scores[row, places.place].masked_fill(~places.there, 0)  # what training withheld is no class
            if c.loss == "sampled_softmax":
                found = softmax_loss(scores, positive, row, own)
            else:
                column = (shares(edges.position, c.negatives, [self.seed, step]) * len(classes)).long()
                negative = scores[row.unsqueeze(1), column]
                negative = negative.masked_fill(own[row.unsqueeze(1), column], NO_LOGIT)
                found = len(row) * (losses.bpr if c.loss == "bpr" else losses.bce)(positive, negative)
            return found + c.l2 * sum(vector.square().sum(1) @ times for vector in vectors.values())

        return loss
