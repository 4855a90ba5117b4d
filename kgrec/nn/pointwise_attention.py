"""Pointwise attention: past steps are added up by weights that are not normalised over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kgrec.nn.packed_paths import Paths
from kgrec.nn.steady_products import serves

CELLS, CELLS_CUDA = 1 << 18, 1 << 26  #: weights that are in memory at once; on the CPU they stay in a core's cache
STEADY = 32  #: steps that are computed at once where nothing is learned, so that no path depends on the longest


def pointwise_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    paths: Paths,
    of_distance: Tensor,
    of_time: Tensor | None = None,
    bucket: Tensor | None = None,
) -> Tensor:
    """out_i = 1 / P * sum of silu(query_i . key_j + of_distance[i - j] + of_time[bucket_ij]) value_j over j <= i
    (Zhai et al. 2024, eq. 2): [B, L, H, D], where P is the number of distances.

    query, key, value: [B, L, H, D], padded on the right (see Paths.padded). Where nothing is learned, L is a multiple
    of STEADY (see Paths.rounded). of_distance: [P], the last for longer distances too;
    of_time: [T], and bucket: IntTensor [B, L, L], numbers from 0 to T - 1; None: times are not read. Weights are
    computed for a few paths at a time, as wide as their longest, and again for the gradient, so that they are never all
    in memory. Rows past a path's end are not zeros and must not be read."""
    tensors = (query, key, value, of_distance.to(query.dtype), None if of_time is None else of_time.to(query.dtype))
    if paths.places is not None:
        return _dense(*tensors, bucket)
    return _Pointwise.apply(*tensors, bucket, _parts(paths, query))


def _parts(paths: Paths, rows: Tensor) -> list[tuple[Tensor | slice, int]]:
    """Which paths are computed at once, and how wide: those of about the same length."""
    length = paths.length.tolist()
    if serves(rows):  # each alone, so that its numbers do not depend on the others
        return [(slice(n, n + 1), -(-one // STEADY) * STEADY) for n, one in enumerate(length)]
    cells = CELLS_CUDA if rows.is_cuda else CELLS
    found: list[tuple[Tensor | slice, int]] = []
    order = sorted(range(len(length)), key=length.__getitem__)
    while order and (width := length[order[-1]]):
        size = max(1, cells // (rows.shape[2] * width**2))
        chosen, order = order[-size:], order[:-size]
        found.append((torch.tensor(chosen, device=rows.device), width))
    return found


def _dense(
    query: Tensor, key: Tensor, value: Tensor, of_distance: Tensor, of_time: Tensor | None, bucket: Tensor | None
) -> Tensor:
    """The same with all weights in memory at once."""
    query, key, value = (rows.transpose(1, 2) for rows in (query, key, value))
    distance = _distances(query.shape[2], query.device)
    logit = query @ key.transpose(2, 3) + of_distance[distance.clamp(min=0, max=of_distance.shape[0] - 1)]
    if of_time is not None and bucket is not None:
        logit = logit + functional.embedding(bucket, of_time.unsqueeze(1)).squeeze(-1).unsqueeze(1)
    weight = functional.silu(logit) * (distance >= 0) / of_distance.shape[0]
    return (weight @ value).transpose(1, 2)


def _distances(width: int, device: torch.device) -> Tensor:
    """i - j: LongTensor [width, width]."""
    place = torch.arange(width, device=device)
    return place.unsqueeze(1) - place


class _Pointwise(torch.autograd.Function):
    """See `pointwise_attention`."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        of_distance: Tensor,
        of_time: Tensor | None,
        bucket: Tensor | None,
        parts: list[tuple[Tensor | slice, int]],
    ) -> Tensor:
        tensors = query, key, value, of_distance, of_time, bucket
        ctx.save_for_backward(*tensors)
        ctx.parts, found = parts, torch.zeros_like(value)
        with torch.autocast(query.device.type, enabled=False):
            for part in _in_parts(tensors, parts):
                part.put(found, functional.silu(part.logit).mul_(part.shown) @ part.value)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, _, _, of_distance, of_time, _ = ctx.saved_tensors
        of_query, of_key, of_value = (torch.zeros_like(query) for _ in range(3))
        by_place = query.new_zeros(query.shape[1], query.shape[1])
        by_bucket = None if of_time is None else torch.zeros_like(of_time)
        for part in _in_parts(ctx.saved_tensors, ctx.parts):
            gradient = part.of(gradients[0])
            weight = functional.silu(part.logit).mul_(part.shown)
            part.put(of_value, weight.transpose(2, 3) @ gradient)
            of_weight = (gradient @ part.value.transpose(2, 3)).mul_(part.shown)
            of_logit = torch.ops.aten.silu_backward(of_weight, part.logit)
            part.put(of_query, of_logit @ part.key)
            part.put(of_key, of_logit.transpose(2, 3) @ part.query)
            by_path = of_logit.sum(1) if of_logit.shape[1] > 1 else of_logit.squeeze(1)  # [b, w, w]
            by_place[: part.width, : part.width] += by_path.sum(0)
            if by_bucket is not None and part.bucket is not None:
                by_bucket.index_add_(0, part.bucket, by_path.reshape(-1))
        distance = _distances(len(by_place), by_place.device).clamp(min=0, max=len(of_distance) - 1)
        by_distance = torch.zeros_like(of_distance).index_add_(0, distance.reshape(-1), by_place.reshape(-1))
        return of_query, of_key, of_value, by_distance, by_bucket, None, None


@dataclass(eq=False)
class _Part:
    """What is computed of b paths at once, up to a width w."""

    rows: Tensor | slice  #: which paths
    width: int
    shown: Tensor  #: FloatTensor [w, w], what weights are multiplied by
    query: Tensor  #: [b, H, w, D], as are key and value
    key: Tensor
    value: Tensor
    logit: Tensor  #: [b, H, w, w]
    bucket: Tensor | None  #: IntTensor [b * w * w]

    def of(self, rows: Tensor) -> Tensor:
        """Its part of rows [B, L, H, D]: [b, H, w, D]."""
        return rows[self.rows, : self.width].transpose(1, 2)

    def put(self, rows: Tensor, values: Tensor) -> None:
        """The same written. values: [b, H, w, D]."""
        rows[self.rows, : self.width] = values.transpose(1, 2)


def _in_parts(tensors: tuple[Any, ...], parts: list[tuple[Tensor | slice, int]]) -> Iterator[_Part]:
    query, key, value, of_distance, of_time, bucket = tensors
    distance = _distances(max((width for _, width in parts), default=0), query.device)
    bias = of_distance[distance.clamp(min=0, max=len(of_distance) - 1)]
    shown = (distance >= 0).to(query.dtype) / len(of_distance)
    for rows, width in parts:
        if width:
            own, others, values = (one[rows, :width].transpose(1, 2).contiguous() for one in (query, key, value))
            logit, numbers = (own @ others.transpose(2, 3)).add_(bias[:width, :width]), None
            if of_time is not None and bucket is not None:
                numbers = bucket[rows, :width, :width].reshape(-1)
                logit.add_(of_time.index_select(0, numbers).view(-1, 1, width, width))
            yield _Part(rows, width, shown[:width, :width], own, others, values, logit, numbers)
