"""Losses that several models share. Every one is a mean over examples and returns a scalar.

positive: scores of the true items [n]; negative: those of drawn ones [n, K].
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LOG2_E = math.log2(math.e)
FLOATS = 1 << 20  #: logits that `softmax_over` holds at once on the CPU
FLOATS_CUDA = 1 << 26  #: the same on a GPU, where small products cost more


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
    """bce with its positive part weighed by beta, against the overconfidence that few negatives of many classes cause:
    beta = a (t (1 - 1/a) + 1/a), a = K / (classes - 1); t = 0 is bce, t = 1 is calibrated as if all were seen (gSASRec,
    Petrov & Macdonald 2023, eqs. 9 and 12).

    >>> import torch
    >>> round(gbce(torch.tensor([0.0]), torch.tensor([[0.0]]), classes=3, t=1.0).item(), 4)  # (1/2 + 1) log 2
    1.0397
    """
    rate = negative.shape[-1] / max(1, classes - 1)
    beta = rate * (t * (1 - 1 / rate) + 1 / rate)
    return (beta * F.softplus(-positive) + F.softplus(negative).sum(-1)).mean()


def sampled_softmax(positive: Tensor, negative: Tensor, log_count: Tensor) -> Tensor:
    """Cross-entropy of the true item among itself and the drawn ones, mean. log_count: [K] or [n, K], the logarithm of
    how often each item is drawn in expectation (K q for K draws); it is taken from the drawn items' scores and not from
    the true one's, so that the sum of exponentials estimates that over all items (Bengio & Senécal 2008).

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
    """-log of the sum over K of s sigmoid(positive - negative), plus weight * the sum of s negative^2, mean, where s is
    the softmax of the negatives: BPR against those that matter (Hidasi & Karatzoglou 2018, eq. 10).

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
    hidden: Tensor, vectors: Tensor, positive: Tensor, own: Tensor, log_count: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the true item against classes that all examples share, mean, with its exact gradient and without
    ever holding all logits.

    hidden: [n, D]; vectors: [C, D], of the classes; positive: [n], hidden . the true item's vector; own: LongTensor
    [n], which class is the true item, -1 where none is. log_count: [C], as in `sampled_softmax`; None: every class is
    there once, and the loss is the full softmax. The gradient is taken in the forward pass, chunk by chunk of examples,
    so its time is that of three products and its memory that of one chunk.

    >>> import torch
    >>> items = torch.eye(3)
    >>> hidden = torch.tensor([[0.0, 0.0, 0.0]])
    >>> round(softmax_over(hidden, items, torch.tensor([0.0]), torch.tensor([1])).item(), 4)  # log 3
    1.0986
    """
    loss: Tensor = _SoftmaxOver.apply(hidden, vectors, positive, own, log_count)
    return loss


class _SoftmaxOver(torch.autograd.Function):
    """`softmax_over`: softplus(log sum over the other classes of exp(h.v - log_count) - positive)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, vectors: Tensor, positive: Tensor, own: Tensor, log_count: Tensor | None
    ) -> Tensor:
        kind = hidden.device.type
        low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        h, v = hidden.detach().to(low), vectors.detach().to(low)
        scaled = h * LOG2_E  # powers of 2 take half the time of powers of e
        shift = None if log_count is None else (log_count * LOG2_E).to(low)
        of_hidden = torch.empty_like(hidden, dtype=torch.float32)
        of_vectors = torch.zeros_like(vectors, dtype=torch.float32)
        of_positive = torch.empty_like(positive, dtype=torch.float32)
        total = torch.zeros((), device=hidden.device)
        rows = max(1, (FLOATS_CUDA if hidden.is_cuda else FLOATS) // max(1, len(vectors)))
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            logits = scaled[part] @ v.T
            if shift is not None:
                logits -= shift
            there = own[part] >= 0
            logits[there.nonzero().squeeze(1), own[part][there]] = -math.inf
            top = logits.amax(1, keepdim=True)
            weight = logits.sub_(top).exp2_()
            mass = weight.sum(1, dtype=torch.float32)
            gap = mass.log() + top.squeeze(1).float() / LOG2_E - positive[part]
            total += F.softplus(gap).sum()
            share = torch.sigmoid(gap) / len(hidden)
            of_positive[part] = -share
            weight *= (share / mass).to(low).unsqueeze(1)
            of_hidden[part] = weight @ v
            of_vectors += weight.T @ h[part]
        ctx.save_for_backward(of_hidden, of_vectors, of_positive)
        return total / len(hidden)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        of_hidden, of_vectors, of_positive = ctx.saved_tensors
        return of_hidden * gradient, of_vectors * gradient, of_positive * gradient, None, None
