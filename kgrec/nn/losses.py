"""Losses that several models share. Each is a mean over examples and returns a scalar.

positive: scores of the true items, [n]; negative: scores of the sampled negatives, [n, K].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kgrec.nn.cpu_products import FEW, by_columns, by_rows

LOG2_E = math.log2(math.e)
FLOATS = 1 << 20  #: logits that a softmax over all items keeps in memory at once on the CPU
FLOATS_CUDA = 1 << 26  #: the same on a GPU, where small matrix products are inefficient
FEWEST = 64  #: rows that there are at least: each chunk reads and writes the vectors of all items
#: logit of an item that must add nothing to any loss; finite, because it may be that of all negatives of an example
NO_LOGIT = -1e4


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """-log sigmoid(positive - negative), mean. positive [*S], negative [*S, K] (Rendle et al. 2009, eq. 4).

    >>> import torch
    >>> round(bpr(torch.tensor([1.0]), torch.tensor([[1.0]])).item(), 4)  # log 2
    0.6931
    """
    return -F.logsigmoid(positive.unsqueeze(-1) - negative).mean()


def squared_error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """(predicted - wanted)^2, mean. Both [B].

    >>> import torch
    >>> squared_error(torch.tensor([3.0, 5.0]), torch.tensor([4.0, 5.0])).item()
    0.5
    """
    return (predicted - wanted).square().mean()


def logistic(logit: Tensor, label: Tensor) -> Tensor:
    """Binary cross-entropy of labels 0 and 1, mean. Both [B].

    >>> import torch
    >>> round(logistic(torch.tensor([0.0]), torch.tensor([1.0])).item(), 4)  # log 2
    0.6931
    """
    return F.binary_cross_entropy_with_logits(logit, label)


def bce(positive: Tensor, negative: Tensor) -> Tensor:
    """-log sigmoid(positive) - sum of log(1 - sigmoid(negative)) over K, mean (He et al. 2017, eq. 7).

    >>> import torch
    >>> round(bce(torch.tensor([0.0]), torch.tensor([[0.0, 0.0]])).item(), 4)  # 3 log 2
    2.0794
    """
    return (F.softplus(-positive) + F.softplus(negative).sum(-1)).mean()


def gbce(positive: Tensor, negative: Tensor, *, classes: int, t: float) -> Tensor:
    """bce with its positive part weighted by beta, against the overconfidence that few negatives out of many classes
    cause. beta = a (t (1 - 1/a) + 1/a), a = K / (classes - 1). t = 0 is bce; t = 1 is calibrated as if all negatives
    were seen (gSASRec, Petrov & Macdonald 2023, eqs. 9 and 12).

    >>> import torch
    >>> round(gbce(torch.tensor([0.0]), torch.tensor([[0.0]]), classes=3, t=1.0).item(), 4)  # (1/2 + 1) log 2
    1.0397
    """
    rate = negative.shape[-1] / max(1, classes - 1)
    beta = rate * (t * (1 - 1 / rate) + 1 / rate)
    return (beta * F.softplus(-positive) + F.softplus(negative).sum(-1)).mean()


def sampled_softmax(positive: Tensor, negative: Tensor, log_count: Tensor) -> Tensor:
    """Softmax cross-entropy of the true item against the sampled negatives, mean. log_count: [K] or [n, K], the
    logarithm of how often each item is expected to be sampled (K q for K draws). It is subtracted from the negatives'
    scores and not from the true item's, so that the sum of exponentials estimates the one over all items (Bengio &
    Senécal 2008).

    >>> import torch
    >>> round(sampled_softmax(torch.tensor([0.0]), torch.zeros(1, 2), torch.zeros(2)).item(), 4)  # log 3
    1.0986
    """
    return F.softplus(torch.logsumexp(negative - log_count, -1) - positive).mean()


def ccl(positive: Tensor, negative: Tensor, *, margin: float, weight: float) -> Tensor:
    """1 - positive + weight * the mean over K of max(0, negative - margin), mean; scores are cosines (SimpleX, Mao et
    al. 2021, eq. 3).

    >>> import torch
    >>> ccl(torch.tensor([0.5]), torch.tensor([[1.0, -1.0]]), margin=0.5, weight=2.0).item()  # .5 + 2 * .25
    1.0
    """
    return (1 - positive + weight * F.relu(negative - margin).mean(-1)).mean()


def bpr_max(positive: Tensor, negative: Tensor, *, weight: float) -> Tensor:
    """-log of the sum over K of s sigmoid(positive - negative), plus weight * the sum of s negative^2, mean. s is the
    softmax of the negatives, so that BPR mostly compares with the highest of them (Hidasi & Karatzoglou 2018, eq. 10).

    >>> import torch
    >>> round(bpr_max(torch.tensor([1.0]), torch.tensor([[1.0]]), weight=0.0).item(), 4)  # log 2
    0.6931
    """
    log_s = F.log_softmax(negative, -1)
    found = torch.logsumexp(log_s + F.logsigmoid(positive.unsqueeze(-1) - negative), -1)
    return (weight * (log_s.exp() * negative.square()).sum(-1) - found).mean()


def top1_max(positive: Tensor, negative: Tensor) -> Tensor:
    """The sum over K of s (sigmoid(negative - positive) + sigmoid(negative^2)), mean, where s is the softmax of the
    negatives (Hidasi & Karatzoglou 2018, eq. 8).

    >>> import torch
    >>> top1_max(torch.tensor([0.0]), torch.tensor([[0.0]])).item()
    1.0
    """
    s = F.softmax(negative, -1)
    rises = torch.sigmoid(negative - positive.unsqueeze(-1)) + torch.sigmoid(negative.square())
    return (s * rises).sum(-1).mean()


def softmax_over(
    vector: Tensor, classes: Tensor, own: Tensor, ptr: Tensor | None = None, barred: Tensor | None = None
) -> Tensor:
    """Full softmax cross-entropy, mean over n examples, with its exact gradient. It never holds all logits in memory.

    vector: [R, D]; classes: [C, D], the vectors of all items; own: LongTensor [n], the class of each true item. ptr:
    LongTensor [R + 1]: the examples ptr[r] to ptr[r + 1] have the vector r, so the examples of one user share a row of
    logits; None: n = R, one example for each vector. barred: LongTensor [R], one class that is left out for each
    vector, -1 for none; None: no class is left out.

    The gradient is computed in the forward pass, in chunks of rows. The time is that of three products of [R, D] with
    [C, D], and the memory that of one chunk.

    >>> import torch
    >>> round(softmax_over(torch.zeros(1, 3), torch.eye(3), torch.tensor([1])).item(), 4)  # log 3
    1.0986
    """
    number = len(own)
    times = vector.new_ones(len(vector)) if ptr is None else ptr.diff()
    log_sum: Tensor = _LogSum.apply(vector, classes, times.float() / number, barred)
    true = F.embedding(own, classes) if ptr is None else F.embedding_bag(own, classes, ptr[:-1], mode="sum")
    return log_sum - (vector * true).sum() / number


def sampled_softmax_over(vector: Tensor, classes: Tensor, positive: Tensor, own: Tensor, log_count: Tensor) -> Tensor:
    """`sampled_softmax` with negatives that all examples share, mean, exact and in chunks as `softmax_over`.

    vector: [n, D]; classes: [C, D], the vectors of the sampled items; log_count: [C]; positive: [n], the logits of the
    true items; own: LongTensor [n], the position of the true item among the classes, where it does not count as a
    negative, -1 if it is not there; or [n, m], the positions of several items that do not count as negatives.

    >>> import torch
    >>> vector, own = torch.zeros(1, 3), torch.tensor([1])
    >>> round(sampled_softmax_over(vector, torch.eye(3), torch.tensor([0.0]), own, torch.zeros(3)).item(), 4)  # log 3
    1.0986
    """
    loss: Tensor = _SampledSoftmax.apply(vector, classes, positive, own, log_count)
    return loss


class _Chunks:
    """Computes exp(logits) a few rows at a time, with logits = vector . classes - log_count less the row's maximum."""

    def __init__(self, vector: Tensor, classes: Tensor, log_count: Tensor | None = None) -> None:
        kind = vector.device.type
        self.dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        self.vector, self.classes = vector.detach().to(self.dtype), classes.detach().to(self.dtype)
        self.transposed = self.classes.T
        self.scaled = self.vector * LOG2_E  # powers of 2 take half the time of powers of e
        self.shift = None if log_count is None else (log_count * LOG2_E).to(self.dtype)
        self.of_vector = torch.empty_like(vector, dtype=torch.float32)
        self.of_classes = torch.zeros_like(classes.T, dtype=torch.float32, memory_format=torch.contiguous_format).T
        fitting = (FLOATS_CUDA if vector.is_cuda else FLOATS) // max(1, len(classes))
        self.multiple = FEW if fitting >= FEW else 1  # rows of many classes are not filled up: each takes long
        rows = max(FEWEST, fitting)
        self.rows = rows - rows % self.multiple  #: how many at a time

    def parts(self) -> Iterator[slice]:
        for start in range(0, len(self.vector), self.rows):
            yield slice(start, start + self.rows)

    def powers(self, part: slice, own: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """exp(logit - maximum of the row), [r, C]; the sums of its rows, [r]; and the log of the sums of exp(logit),
        [r]. own: LongTensor [r] or [r, m], classes that do not count, -1 for none."""
        logits = by_rows(self.scaled[part], self.classes, multiple=self.multiple)
        if self.shift is not None:
            logits -= self.shift
        if own is not None:
            own = own.view(len(logits), -1)
            row, place = (own >= 0).nonzero(as_tuple=True)
            logits[row, own[row, place]] = NO_LOGIT
        top = logits.amax(1, keepdim=True)
        powers = logits.sub_(top).exp2_()
        mass = powers.sum(1, dtype=torch.float32)
        return powers, mass, mass.log() + top.squeeze(1).float() / LOG2_E

    def add_gradient(self, part: slice, powers: Tensor, factor: Tensor) -> None:
        """Add the gradient of the sum of factor * powers * logits, with powers held fixed. factor: [r]. Overwrites
        `powers`."""
        powers *= factor.to(self.dtype).unsqueeze(1)
        self.of_vector[part] = by_rows(powers, self.transposed, multiple=self.multiple)
        self.of_classes += by_columns(powers, self.vector[part], multiple=self.multiple)


class _LogSum(torch.autograd.Function):
    """The sum over rows of weight * log sum exp(vector . classes)."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, classes: Tensor, weight: Tensor, barred: Tensor | None) -> Tensor:
        chunks, total = _Chunks(vector, classes), torch.zeros((), device=vector.device)
        for part in chunks.parts():
            powers, mass, log_sum = chunks.powers(part, None if barred is None else barred[part])
            total += log_sum @ weight[part]
            chunks.add_gradient(part, powers, weight[part] / mass)
        ctx.save_for_backward(chunks.of_vector, chunks.of_classes)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_vector, of_classes = ctx.saved_tensors
        return of_vector * gradient, of_classes * gradient, None, None


class _SampledSoftmax(torch.autograd.Function):
    """`sampled_softmax_over`: the mean of softplus(log sum exp(logits without own) - positive)."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, classes: Tensor, positive: Tensor, own: Tensor, log_count: Tensor) -> Tensor:
        chunks, total = _Chunks(vector, classes, log_count), torch.zeros((), device=vector.device)
        of_positive = torch.empty_like(positive, dtype=torch.float32)
        for part in chunks.parts():
            powers, mass, log_sum = chunks.powers(part, own[part])
            gap = log_sum - positive[part]
            total += F.softplus(gap).sum() / len(vector)
            share = torch.sigmoid(gap) / len(vector)
            of_positive[part] = -share
            chunks.add_gradient(part, powers, share / mass)
        ctx.save_for_backward(chunks.of_vector, chunks.of_classes, of_positive)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        of_vector, of_classes, of_positive = ctx.saved_tensors
        return of_vector * gradient, of_classes * gradient, of_positive * gradient, None, None
