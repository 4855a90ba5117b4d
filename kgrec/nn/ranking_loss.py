"""Ranking losses over true items and sampled negatives, for edge models and sequence models alike."""

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
from kgrec.nn.embedding import NodeEmbedding, Table, cosine, dot, scaled
from kgrec.nn.entries import entries
from kgrec.nn.row_shards import refused
from kgrec.samplers import Negatives
from kgrec.settings import settings

#: Names of ranking losses, the values of the setting `loss`
LossName = Literal["bpr", "bce", "gbce", "softmax", "sampled_softmax", "ccl", "bpr_max", "top1_max"]
TINY = 1e-12


@settings
class RankingLossConfig:
    """Settings of a ranking loss. The settings of models with a ranking loss are subclasses."""

    #: loss of a ranking: softmax compares each true item with all items; the others compare it with sampled negatives,
    #: which costs less in a large catalog
    loss: LossName = "bpr"
    #: number of negative items sampled for each true item, or with `shared` for each batch; more usually rank better,
    #: and cost more time
    negatives: NonNegativeInt = 1
    #: negatives are sampled in proportion to popularity ** alpha; 0: all items are equally likely; 1: popular items are
    #: more likely, which gives harder negatives
    alpha: NonNegativeFloat = 0.0
    #: never sample an item that the user has as a negative; not applied with `shared` or `in_batch`, where a batch's
    #: users share negatives
    reject: bool = True
    #: sample one set of negatives for the whole batch, not one for each example; faster when there are many negatives
    shared: bool = False
    #: the true items of the other examples in the batch are negatives too; many negatives at little cost
    in_batch: bool = False
    #: keep only this many negatives of each example, those with the highest scores (dynamic negative sampling); 0: keep
    #: all
    hard: NonNegativeInt = 0
    #: score by the cosine of two vectors, not by their dot product; lower `temperature` too, as cosines lie between -1
    #: and 1
    cosine: bool = False
    #: scores are divided by it; below 1 (0.1, say) with `cosine`, so that scores differ enough
    temperature: PositiveFloat = 1.0
    #: with `cosine`, recommending multiplies each score by |v|^magnitude, the length of the item's vector v; vectors
    #: are longer where more is known, so more than 0 favours well-known items
    magnitude: NonNegativeFloat = 0.0
    #: with gbce, its calibration t: 0 is plain bce, 1 corrects in full for having sampled only some of the negatives
    gbce_t: NonNegativeFloat = 0.75
    #: with ccl, a negative counts only where its cosine is above this (-1 to 1); lower it to push more negatives away
    ccl_margin: float = 0.8
    #: with ccl, weight of the negatives against the positives; raise it to push negatives away more
    ccl_weight: PositiveFloat = 150.0
    #: with bpr_max, weight of its regularisation, which keeps the negatives' scores small; raise it where scores grow
    #: without limit
    bpr_max_weight: NonNegativeFloat = 1.0

    @model_validator(mode="after")
    def _fits(self) -> RankingLossConfig:
        if self.loss != "softmax" and not self.negatives and not self.in_batch:
            raise ValueError(f"loss {self.loss} needs negatives: set negatives to 1 or more, or in_batch=true")
        if self.hard and self.loss in ("softmax", "sampled_softmax", "gbce"):
            raise ValueError(
                f"loss {self.loss} estimates a sum over all items, which hard negatives cannot: set loss=bpr or hard=0"
            )
        if self.loss == "ccl" and not self.cosine:
            raise ValueError("loss ccl is defined for cosines: set cosine=true, or choose another loss")
        if self.magnitude and not self.cosine:
            raise ValueError(
                "magnitude scales cosines, but scores are dot products here: set cosine=true, or leave magnitude out"
            )
        return self


def product(config: RankingLossConfig, vector: Tensor, item: Table, items: Tensor, *, serves: bool = False) -> Tensor:
    """Scores of vectors [B, D] with items, by dot product or cosine as the settings say: [B, C]. items: [C], the same
    for all, or [B, C], a list for each vector. serves: true when recommending, false in training."""
    if config.cosine:
        scores = cosine(vector, item, items, config.magnitude if serves else 0.0)
    else:
        scores = dot(vector, item, items)
    return scores if config.temperature == 1 else scores / config.temperature


def linear_product(config: RankingLossConfig, user: Tensor, item: Tensor) -> dict[str, Tensor]:
    """The parts of a linear scorer: vectors of users [U, D] and items [I, D], scaled so that their dot products are the
    scores that `product` serves."""
    if config.cosine:
        user, item = functional.normalize(user, dim=-1), scaled(item, config.magnitude)
    return {"user": user if config.temperature == 1 else user / config.temperature, "item": item}


@dataclass(frozen=True)
class Drawn:
    """True items and their sampled negatives: n examples that belong to R rows of vectors or scores."""

    tail: Tensor  #: LongTensor [n], the true items
    negative: Tensor | None = None  #: LongTensor [n, K], or [K] if all examples share them
    log_q: Tensor | None = None  #: FloatTensor like negative, logarithm of the probability of each draw
    ptr: Tensor | None = None  #: LongTensor [R + 1], examples ptr[r] to ptr[r + 1] belong to row r; None: n = R
    #: LongTensor [R], flat, the user of each row; needed where users and items are the same nodes, so that users are
    #: never their own negatives
    user: Tensor | None = None


class RankingLoss:
    """A ranking loss chosen by name, over all items or over the negatives that `stages` sample.

    known: the target edges that training sees. The negatives are sampled items, for each true item or for each batch,
    the true items of the batch's other examples (`in_batch`), or both. A negative that equals the true item does not
    count. If a batch shares its negatives, each distinct item counts once, and `sampled_softmax` corrects for the
    probability that it is among them: 1 - (1 - p)^n (1 - q)^m, where p is its share of the edges, n the number of the
    batch's other examples, and q its probability in each of m draws. Where users and items are the same nodes, a user
    is never their own negative or class.
    """

    def __init__(self, config: RankingLossConfig, known: Graph) -> None:
        self.config, self.known = config, known
        self.items = known.range(known.target[2])
        self.classes = known.drawable(known.target[2])  #: LongTensor [C], the items that may be drawn
        self.class_of = torch.full((known.num_nodes + 1,), -1, device=known.device)
        self.class_of[self.classes] = torch.arange(len(self.classes), device=known.device)
        count = functional.pad(known.index.num_in, (0, 1)).double()
        self.share = count / max(1, known.num_edges)  #: DoubleTensor [N + 1], p
        self.drawing = self._drawing()

    def _drawing(self) -> Negatives | None:
        """The sampler of negatives; None if the loss samples none."""
        c = self.config
        if c.loss == "softmax" or not c.negatives:
            return None
        reject = self.known if c.reject and not (c.shared or c.in_batch) else None
        return Negatives(self.known, c.negatives, alpha=c.alpha, shared=c.shared, reject=reject)

    def stages(self) -> list[Negatives]:
        """The sampling stages that the loader needs."""
        return [] if self.drawing is None else [self.drawing]

    @property
    def over_all(self) -> bool:
        """Whether the loss is over the whole catalog; then a batch should hold all edges of a user together."""
        return self.config.loss == "softmax"

    def of_vectors(
        self, vector: Tensor, item: NodeEmbedding | Vectors, batch: Drawn, bias: NodeEmbedding | None = None
    ) -> Tensor:
        """The loss where scores are products of vectors. vector: [R, D], of users or of steps; bias: the items'."""
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
        """The loss of any scores. score: a function from items [R, K], a list for each row, to scores [R, K], and from
        items [C], the same for all, to [R, C]."""
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
        """The users of the rows, LongTensor [R], if users and items are the same nodes, otherwise None."""
        return batch.user if self.known.same_ends else None

    def _with_bias(
        self, vector: Tensor, item: NodeEmbedding | Vectors, items: Tensor, bias: NodeEmbedding | None
    ) -> tuple[Tensor, Tensor]:
        """Vectors [R, D] and [C, D] whose dot products are the scores; with a bias both have one more number."""
        if isinstance(item, NodeEmbedding) and item.rows is not None and self.over_all:
            raise refused("the scores of all items in each step (loss=softmax)")
        whole = len(items) == item.count and getattr(item, "rows", None) is None
        classes = item.table() if whole else item(items)
        if self.config.cosine:
            vector, classes = functional.normalize(vector, dim=-1), functional.normalize(classes, dim=-1)
        vector = vector / self.config.temperature
        if bias is None:
            return vector, classes
        return torch.cat([vector, vector.new_ones(len(vector), 1)], -1), torch.cat([classes, bias(items)], -1)

    def _loss(self, positive: Tensor, negative: Tensor, hit: Tensor, log_count: Tensor) -> Tensor:
        c = self.config
        if (
            c.loss in ("bpr_max", "top1_max") and (alone := hit.all(1)).any()
        ):  # examples without any negative have no softmax
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
        """The distinct negatives that all examples share, LongTensor [C], ascending, and the logarithm of the
        probability that each is among them, FloatTensor [C]."""
        drawn = []
        if self.config.in_batch:
            drawn.append(batch.tail)
        if batch.negative is not None:
            drawn.append(batch.negative.reshape(-1))
        items = torch.unique(torch.cat(drawn))
        missed = torch.zeros(len(items), dtype=torch.float64, device=items.device)  # log probability of not being drawn
        if self.config.in_batch:  # an example's own item does not count
            missed += (len(batch.tail) - 1) * torch.log1p(-self.share[items].clamp(max=1 - TINY))
        if batch.negative is not None:
            assert self.drawing is not None
            log_q = self.drawing.log_probability(items, self.items.start, self.items.stop)
            missed += batch.negative.numel() * torch.log1p(-log_q.double().exp().clamp(max=1 - TINY))
        return items, (-torch.expm1(missed)).clamp(min=TINY).log().float()
