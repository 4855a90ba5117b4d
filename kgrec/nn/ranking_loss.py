"""Losses of rankings over what the samplers drew, for edges and for sequences alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator
from torch import Tensor
from torch.nn import functional

from kgrec import losses
from kgrec.graph import Graph
from kgrec.nn.embedding import NodeEmbedding, dot
from kgrec.samplers import Negatives
from kgrec.settings import settings

LossName = Literal["bpr", "bce", "gbce", "softmax", "sampled_softmax", "ccl", "bpr_max", "top1_max"]
NO_SCORE = -1e4  #: of a drawn item that is the true one: it adds nothing to any loss


@settings
class RankingLossConfig:
    """Settings of a ranking loss; those of models that have one go on from here."""

    loss: LossName = "bpr"
    negatives: NonNegativeInt = 1  #: items drawn for each true one, or for each batch where `shared`
    alpha: NonNegativeFloat = 0.0  #: 0 draws uniformly, else by popularity ** alpha
    reject: bool = True  #: draw no item that the user has; not where `shared`
    shared: bool = False  #: one draw serves the whole batch
    in_batch: bool = False  #: the other examples' true items are negatives too
    hard: NonNegativeInt = 0  #: of the negatives only so many, the best scored, are kept (dynamic); 0: all
    cosine: bool = False  #: scores are cosines / temperature, not dot products
    temperature: PositiveFloat = 1.0
    gbce_t: NonNegativeFloat = 0.75  #: of gbce: 0 is bce, 1 calibrated
    ccl_margin: float = 0.8  #: of ccl
    ccl_weight: PositiveFloat = 150.0  #: of the negatives in ccl
    bpr_max_weight: NonNegativeFloat = 1.0  #: of bpr_max's regularisation

    @model_validator(mode="after")
    def _fits(self) -> RankingLossConfig:
        if self.loss != "softmax" and not self.negatives and not self.in_batch:
            raise ValueError(f"loss {self.loss} wants negatives: set negatives to 1 or more, or in_batch")
        if self.hard and self.loss in ("softmax", "sampled_softmax", "gbce"):
            raise ValueError(f"hard negatives do not estimate a sum over all items, so {self.loss} cannot take them")
        if self.loss == "ccl" and not self.cosine:
            raise ValueError("ccl is a loss of cosines: set cosine=true")
        return self


class RankingLoss:
    """A loss by name, over all items or over negatives that `stages` draw.

    known: the target edges that training sees. Draws: `count` items for each true one or for each batch, the tails of
    the other examples (`in_batch`), or both; a draw that is the true item is no negative. Where a batch shares its
    negatives, each distinct one counts once, and `sampled_softmax` corrects it by how probably it is among them: 1 - (1
    - p)^n (1 - q)^m, with p its share of the edges, n the true items of the batch, q its probability in a draw of m.
    """

    def __init__(self, config: RankingLossConfig, known: Graph) -> None:
        self.config, self.known = config, known
        self.items = known.range(known.target[2])
        self.classes = known.drawable(known.target[2])  #: LongTensor [C], the items that may be drawn
        self.class_of = torch.full((known.num_nodes + 1,), -1, device=known.device)
        self.class_of[self.classes] = torch.arange(len(self.classes), device=known.device)
        count = torch.bincount(known.tail, minlength=known.num_nodes + 1).double()
        self.share = count / max(1, known.num_edges)  #: DoubleTensor [N + 1], p

    def stages(self) -> list[Negatives]:
        """What a loader must draw."""
        c = self.config
        if c.loss == "softmax" or not c.negatives:
            return []
        reject = self.known if c.reject and not c.shared else None
        return [Negatives(self.known, c.negatives, alpha=c.alpha, shared=c.shared, reject=reject)]

    @property
    def is_shared(self) -> bool:
        """Whether all examples of a batch have the same negatives."""
        return self.config.shared or self.config.in_batch or self.config.loss == "softmax"

    def of_vectors(
        self, vector: Tensor, item: NodeEmbedding, tail: Tensor, negative: Tensor | None, log_q: Tensor | None,
        bias: NodeEmbedding | None = None,
    ) -> Tensor:  # fmt: skip
        """The loss where a score is a product: vector [n, D], of users or of steps; tail: LongTensor [n], their true
        items; negative: LongTensor [n, K], or [K] where shared, with log_q alike; bias: of items."""
        c = self.config
        scale = 1 / c.temperature
        if c.cosine:
            vector = functional.normalize(vector, dim=-1)
        if c.loss in ("softmax", "sampled_softmax") and self.is_shared:
            items, log_count = self._candidates(tail, negative, log_q)
            vectors = item(items) if len(items) != item.count else item.weight[:-1]
            vectors = (functional.normalize(vectors, dim=-1) if c.cosine else vectors) * scale
            if bias is not None:
                vectors = torch.cat([vectors, bias(items)], -1)
                vector = torch.cat([vector, vector.new_ones(len(vector), 1)], -1)
            own = self._column(items, tail)
            true = item(tail)
            true = (functional.normalize(true, dim=-1) if c.cosine else true) * scale
            positive = (vector * (true if bias is None else torch.cat([true, bias(tail)], -1))).sum(-1)
            return losses.softmax_over(vector, vectors, positive, own, log_count)

        def score(items: Tensor) -> Tensor:
            if items.dim() == 1:
                vectors = item(items)
                found = vector @ (functional.normalize(vectors, dim=-1) if c.cosine else vectors).T * scale
            else:
                found = dot(vector, item, items) * scale
                if c.cosine:
                    found = found / item.norm(items).clamp(min=1e-12)
            return found if bias is None else found + bias(items).squeeze(-1)

        return self.of_scores(score, tail, negative, log_q)

    def of_scores(
        self, score: Callable[[Tensor], Tensor], tail: Tensor, negative: Tensor | None, log_q: Tensor | None
    ) -> Tensor:
        """The loss of any scores. score: items [n, K], each example's own, or [K], for all -> [n, K]; the rest as in
        `of_vectors`."""
        if not self.is_shared:
            assert negative is not None
            assert log_q is not None
            scores = score(torch.cat([tail.unsqueeze(1), negative], 1))
            return self._loss(scores[:, 0], scores[:, 1:], negative == tail.unsqueeze(1), log_q, len(negative[0]))
        items, log_count = self._candidates(tail, negative, log_q)
        positive = score(tail.unsqueeze(1)).squeeze(1)
        hit = items == tail.unsqueeze(1)
        if log_count is None:
            log_count = torch.zeros(len(items), device=items.device)
        return self._loss(positive, score(items), hit, log_count, 1)

    def _loss(self, positive: Tensor, negative: Tensor, hit: Tensor, log_q: Tensor, draws: int) -> Tensor:
        c = self.config
        negative = negative.masked_fill(hit, NO_SCORE)
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
                log_count = log_q + torch.tensor(float(draws)).log().to(log_q.device)
                return losses.sampled_softmax(positive, negative, log_count)

    def _candidates(self, tail: Tensor, negative: Tensor | None, log_q: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Distinct items that all examples are held against, LongTensor [C], and the logarithm of each one's chance to
        be among them, FloatTensor [C]; None where all are."""
        c = self.config
        if c.loss == "softmax":
            return self.classes, None
        missed = torch.zeros_like(self.share)  # log of the chance to be in no draw
        drawn = []
        if c.in_batch:
            drawn.append(tail)
            missed += len(tail) * torch.log1p(-self.share.clamp(max=1 - 1e-12))
        if negative is not None:
            assert log_q is not None
            drawn.append(negative.reshape(-1))
            each = torch.log1p(-log_q.reshape(-1).double().exp().clamp(max=1 - 1e-12))
            missed[negative.reshape(-1)] += each * negative.numel()
        items = torch.unique(torch.cat(drawn))
        chance = -torch.expm1(missed[items])
        return items, chance.clamp(min=1e-12).log().float()

    def _column(self, items: Tensor, tail: Tensor) -> Tensor:
        """Where each true item stands among distinct, rising items, -1 where it does not: LongTensor [n]."""
        if self.config.loss == "softmax":
            return self.class_of[tail]
        place = torch.searchsorted(items, tail).clamp(max=len(items) - 1)
        return place.masked_fill(items[place] != tail, -1)
