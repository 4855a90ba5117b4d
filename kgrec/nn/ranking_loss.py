"""Losses of rankings over what the samplers drew, for edges and for sequences alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator
from torch import Tensor
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.nn import losses
from kgrec.nn.computed_vectors import Vectors
from kgrec.nn.embedding import NodeEmbedding, cosine, dot, scaled
from kgrec.nn.entries import entries
from kgrec.samplers import Negatives
from kgrec.settings import settings

#: Losses of rankings, as the setting `loss` takes them
LossName = Literal["bpr", "bce", "gbce", "softmax", "sampled_softmax", "ccl", "bpr_max", "top1_max"]
TINY = 1e-12


@settings
class RankingLossConfig:
    """Settings of a ranking loss; those of models that have one go on from here."""

    loss: LossName = "bpr"  #: of a ranking: of each true item beside drawn ones, or beside all with softmax
    negatives: NonNegativeInt = 1  #: items drawn for each true one, or for each batch where `shared`
    alpha: NonNegativeFloat = 0.0  #: negatives are drawn in proportion to popularity ** alpha; 0: all alike
    reject: bool = True  #: draw no item that the user has; with `shared` or `in_batch` the others' items may be such
    shared: bool = False  #: one draw serves the whole batch
    in_batch: bool = False  #: the other examples' true items are negatives too
    hard: NonNegativeInt = 0  #: of the negatives only so many, the best scored, are kept (dynamic); 0: all
    cosine: bool = False  #: scores are cosines of vectors, not dot products
    temperature: PositiveFloat = 1.0  #: with `cosine`, scores are divided by it
    #: of cosines, when they serve: each times |v|^magnitude of the item's vector v, which is longer where more is known
    magnitude: NonNegativeFloat = 0.0
    gbce_t: NonNegativeFloat = 0.75  #: t of gbce: 0 is bce, 1 is calibrated
    ccl_margin: float = 0.8  #: with ccl, the cosine above which a negative counts
    ccl_weight: PositiveFloat = 150.0  #: with ccl, how much the negatives count
    bpr_max_weight: NonNegativeFloat = 1.0  #: with bpr_max, how much its regularisation counts

    @model_validator(mode="after")
    def _fits(self) -> RankingLossConfig:
        if self.loss != "softmax" and not self.negatives and not self.in_batch:
            raise ValueError(f"loss {self.loss} wants negatives: set negatives to 1 or more, or in_batch")
        if self.hard and self.loss in ("softmax", "sampled_softmax", "gbce"):
            raise ValueError(
                f"hard negatives do not estimate a sum over all items, so {self.loss} cannot take them: set loss=bpr"
            )
        if self.loss == "ccl" and not self.cosine:
            raise ValueError("ccl is a loss of cosines: set cosine=true")
        if self.magnitude and not self.cosine:
            raise ValueError(
                "magnitude is of cosines; products have the whole length: set cosine=true, or leave it out"
            )
        return self


def product(
    config: RankingLossConfig, vector: Tensor, item: NodeEmbedding | Vectors, items: Tensor, *, serves: bool = False
) -> Tensor:
    """Scores of vectors [B, D] with items [C], or [B, C] for lists of each one's own, as the settings say: [B, C].
    serves: recommends, and does not learn."""
    if config.cosine:
        scores = cosine(vector, item, items, config.magnitude if serves else 0.0)
    else:
        scores = dot(vector, item, items)
    return scores / config.temperature


def linear_product(config: RankingLossConfig, user: Tensor, item: Tensor) -> dict[str, Tensor]:
    """Vectors of users [U, D] and items [I, D] whose dot products are what `product` serves, as parts of a scorer: the
    same where nothing is to be scaled."""
    if config.cosine:
        user, item = functional.normalize(user, dim=-1), scaled(item, config.magnitude)
    return {"user": user if config.temperature == 1 else user / config.temperature, "item": item}


@dataclass(frozen=True)
class Drawn:
    """True items and what was drawn beside them. n examples, of R rows of vectors or scores."""

    tail: Tensor  #: LongTensor [n], the true items
    negative: Tensor | None = None  #: LongTensor [n, K], or [K] where shared
    log_q: Tensor | None = None  #: FloatTensor like negative
    ptr: Tensor | None = None  #: LongTensor [R + 1], examples ptr[r] to ptr[r + 1] are of row r; None: n = R
    #: LongTensor [R], the user of each row, flat: where users are items too, nobody is a negative or class of their own
    user: Tensor | None = None


class RankingLoss:
    """A loss by name, over all items or over negatives that `stages` draw.

    known: the target edges that training sees. Draws: `count` items for each true one or for each batch, the tails of
    the other examples (`in_batch`), or both; a draw that is the true item is no negative. Where a batch shares its
    negatives, each distinct one counts once, and `sampled_softmax` corrects it by how probably it is among them: 1 - (1
    - p)^n (1 - q)^m, with p its share of the edges, n the batch's other examples, q its probability in each of m draws.
    Where users are items too, a user is no negative, and no class of the softmax, of their own.
    """

    def __init__(self, config: RankingLossConfig, known: Graph) -> None:
        self.config, self.known = config, known
        self.items = known.range(known.target[2])
        self.classes = known.drawable(known.target[2])  #: LongTensor [C], the items that may be drawn
        self.class_of = torch.full((known.num_nodes + 1,), -1, device=known.device)
        self.class_of[self.classes] = torch.arange(len(self.classes), device=known.device)
        count = torch.bincount(known.tail, minlength=known.num_nodes + 1).double()
        self.share = count / max(1, known.num_edges)  #: DoubleTensor [N + 1], p
        self.drawing = self._drawing()

    def _drawing(self) -> Negatives | None:
        """What draws negatives; None where none are drawn."""
        c = self.config
        if c.loss == "softmax" or not c.negatives:
            return None
        reject = self.known if c.reject and not (c.shared or c.in_batch) else None
        return Negatives(self.known, c.negatives, alpha=c.alpha, shared=c.shared, reject=reject)

    def stages(self) -> list[Negatives]:
        """What a loader must draw."""
        return [] if self.drawing is None else [self.drawing]

    @property
    def over_all(self) -> bool:
        """Whether the loss is over the whole catalog, so that a user's edges are best taken together."""
        return self.config.loss == "softmax"

    def of_vectors(
        self, vector: Tensor, item: NodeEmbedding | Vectors, batch: Drawn, bias: NodeEmbedding | None = None
    ) -> Tensor:
        """The loss where a score is a product: vector [R, D], of users or of steps; bias: of items."""
        c = self.config

        def score(items: Tensor) -> Tensor:
            scores = product(c, vector, item, items)
            return scores if bias is None else scores + bias(items).squeeze(-1)

        if c.loss == "softmax":
            of_classes, user = self._with_bias(vector, item, self.classes, bias), self._user(batch)
            barred = None if user is None else self.class_of[user]
            return losses.softmax_over(*of_classes, self.class_of[batch.tail], batch.ptr, barred)
        if c.loss == "sampled_softmax" and (c.shared or c.in_batch):
            items, log_count = self._candidates(batch)
            user = self._user(batch)
            no_negative = batch.tail if user is None else torch.stack([batch.tail, user], 1)
            place = torch.searchsorted(items, no_negative).clamp(max=len(items) - 1)
            own = place.masked_fill(items[place] != no_negative, -1)
            positive = score(batch.tail.unsqueeze(1)).squeeze(1)
            return losses.sampled_softmax_over(*self._with_bias(vector, item, items, bias), positive, own, log_count)
        return self.of_scores(score, batch)

    def of_scores(self, score: Callable[[Tensor], Tensor], batch: Drawn) -> Tensor:
        """The loss of any scores. score: items [R, K], each row's own, or [C], for all -> [R, K] or [R, C]."""
        c, user = self.config, self._user(batch)
        if c.loss == "softmax":
            scores = score(self.classes)
            if user is not None:
                scores = scores.masked_fill(self.classes == user.unsqueeze(1), losses.NO_LOGIT)
            log_share = scores.log_softmax(-1)
            row = torch.arange(len(log_share), device=log_share.device)
            row = row if batch.ptr is None else row.repeat_interleave(batch.ptr.diff())
            return -entries(log_share, row, self.class_of[batch.tail]).mean()
        tail = batch.tail.unsqueeze(1)
        if c.shared or c.in_batch:
            items, log_count = self._candidates(batch)
            hit = items == tail if user is None else (items == tail) | (items == user.unsqueeze(1))
            return self._loss(score(tail).squeeze(1), score(items), hit, log_count)
        assert batch.negative is not None
        assert batch.log_q is not None
        scores = score(torch.cat([tail, batch.negative], 1))
        log_count = batch.log_q + math.log(batch.negative.shape[1])
        return self._loss(scores[:, 0], scores[:, 1:], batch.negative == tail, log_count)

    def _user(self, batch: Drawn) -> Tensor | None:
        """The users of the rows where they are items too, LongTensor [R], else None."""
        return batch.user if self.known.same_ends else None

    def _with_bias(
        self, vector: Tensor, item: NodeEmbedding | Vectors, items: Tensor, bias: NodeEmbedding | None
    ) -> tuple[Tensor, Tensor]:
        """Vectors [R, D] and items [C, D] whose products are the scores; a bias is one number more of both."""
        classes = item.table() if len(items) == item.count else item(items)
        if self.config.cosine:
            vector, classes = functional.normalize(vector, dim=-1), functional.normalize(classes, dim=-1)
        vector = vector / self.config.temperature
        if bias is None:
            return vector, classes
        return torch.cat([vector, vector.new_ones(len(vector), 1)], -1), torch.cat([classes, bias(items)], -1)

    def _loss(self, positive: Tensor, negative: Tensor, hit: Tensor, log_count: Tensor) -> Tensor:
        c = self.config
        if c.loss in ("bpr_max", "top1_max") and (alone := hit.all(1)).any():  # no softmax of no negatives
            kept = ~alone
            if not kept.any():
                return positive.sum() * 0
            return self._loss(positive[kept], negative[kept], hit[kept], log_count) * kept.float().mean()
        negative = negative.masked_fill(hit, losses.NO_LOGIT)
        if c.hard and c.hard < negative.shape[1]:
            negative = negative.topk(c.hard).values
        match c.loss:
            case "bpr":
                return losses.bpr(positive, negative)
            case "bce":
                return losses.bce(positive, negative)
            case "gbce":
                return losses.gbce(positive, negative, classes=len(self.classes), t=c.gbce_t)
            case "ccl":
                return losses.ccl(positive, negative, margin=c.ccl_margin, weight=c.ccl_weight)
            case "bpr_max":
                return losses.bpr_max(positive, negative, weight=c.bpr_max_weight)
            case "top1_max":
                return losses.top1_max(positive, negative)
            case _:
                return losses.sampled_softmax(positive, negative, log_count)

    def _candidates(self, batch: Drawn) -> tuple[Tensor, Tensor]:
        """Distinct items that all examples are held against, LongTensor [C], rising, and the logarithm of each one's
        chance to be among them, FloatTensor [C]."""
        drawn = []
        if self.config.in_batch:
            drawn.append(batch.tail)
        if batch.negative is not None:
            drawn.append(batch.negative.reshape(-1))
        items = torch.unique(torch.cat(drawn))
        missed = torch.zeros(len(items), dtype=torch.float64, device=items.device)  # log of the chance to be in no draw
        if self.config.in_batch:  # an example's own item is no chance
            missed += (len(batch.tail) - 1) * torch.log1p(-self.share[items].clamp(max=1 - TINY))
        if batch.negative is not None:
            assert self.drawing is not None
            log_q = self.drawing.log_probability(items, self.items.start, self.items.stop)
            missed += batch.negative.numel() * torch.log1p(-log_q.double().exp().clamp(max=1 - TINY))
        return items, (-torch.expm1(missed)).clamp(min=TINY).log().float()
