"""Times of steps, as sequence models read them: how long before an answer each step was, as a bias of attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.graph import NO_TIME, Graph
from kgrec.settings import settings

if TYPE_CHECKING:
    from kgrec.model import Query
    from kgrec.nn.packed_paths import Paths

#: What a sequence model reads of times, the values of the setting `times`
Times = Literal["none", "steps", "now"]
AT_ONCE = 8  #: paths whose buckets are computed at once
BUCKETS, WIDTH = 80, 0.301  #: of the natural logarithm of seconds: bucket 79 begins at 673 years


@settings
class StepTimesConfig:
    """What a sequence model reads of times."""

    #: what is read of times: none; steps, the time from each step to the one that attends to it; now, the time from
    #: each step to the moment when the next one is wanted, which training takes from the next step itself
    times: Times = "none"


def must_have_times(graph: Graph, model: str) -> None:
    """Raise KgrecError for a graph with edges that have no time. model: who reads them, for the message."""
    missing = int((graph.time == NO_TIME).sum())
    if missing:
        names = "/".join(edge[1] for edge in graph.edge_types)
        raise KgrecError(
            f"{missing:,} of {graph.num_edges:,} {names} edges have no time, and {model} reads the times of steps; "
            "name the column of times in the recipe (`time:`), give each edge a time, or set times=none"
        )


def moments(query: Query) -> tuple[Tensor, Tensor]:
    """When each step of the histories was, and when its next one is wanted: LongTensor [B, L] each, unix seconds.

    The next step of the last one is wanted at `query.now`. Where that is not known, or is before the last step, the
    last step's own time stands for it. Without `query.time` all are NO_TIME."""
    time = torch.full_like(query.history, NO_TIME) if query.time is None else query.time
    if not time.shape[1]:
        return time, time
    final = time.amax(1) if query.now is None else torch.maximum(time.amax(1), query.now)
    following = functional.pad(time[:, 1:], (0, 1), value=NO_TIME)
    return time, torch.where(following == NO_TIME, final.unsqueeze(1), following)


def with_answer(time: Tensor | None, now: Tensor) -> Tensor:
    """The times of steps with that of the answer behind them, as of a hidden step: LongTensor [B, L + 1]. time, now:
    [B, L], as `moments` gives them."""
    assert time is not None
    answer = now[:, -1:] if now.shape[1] else now.new_full((len(now), 1), NO_TIME)
    return torch.cat([time, answer], 1)


def buckets(earlier: Tensor, later: Tensor) -> Tensor:
    """The bucket of the time between two moments, whichever is first: floor(ln(seconds) / 0.301), at most 79, and 80
    where one of them is not known (Zhai et al. 2024, code of the experiments). earlier, later: LongTensor, unix
    seconds, NO_TIME if not known. Returns IntTensor of the broadcast shape.

    >>> buckets(torch.tensor([0, 0, 99, NO_TIME]), torch.tensor([1, 60, 99, 99])).tolist()
    [0, 13, 0, 80]
    """
    unknown = (earlier == NO_TIME) | (later == NO_TIME)
    seconds = (later.masked_fill(later == NO_TIME, 0) - earlier.masked_fill(earlier == NO_TIME, 0)).float()
    found = seconds.abs_().clamp_(min=1).log_().mul_(1 / WIDTH).clamp_(max=BUCKETS - 1).int()
    return found.masked_fill_(unknown, BUCKETS)


class TimeBias(nn.Module):
    """A learned number for each bucket of the time from a step to an answer (see `buckets`), added to attention before
    its activation; 0 where a time is not known."""

    def __init__(self, init_std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(BUCKETS).normal_(std=init_std))

    def table(self) -> Tensor:
        """The bias of each bucket: [81]."""
        return functional.pad(self.weight, (0, 1))

    def forward(self, bucket: Tensor) -> Tensor:
        """bucket: IntTensor of any shape."""
        return self.table().index_select(0, bucket.flatten()).view(bucket.shape)  # its gradient is ten times faster


def path_buckets(paths: Paths, times: Times) -> Tensor | None:
    """The bucket of the time from each step j to the answer of each step i: IntTensor [B, L, L], [b, i, j]. None for
    times "none", and for paths without times."""
    if times == "none" or paths.time is None or paths.now is None:
        return None
    time = paths.padded(paths.time.unsqueeze(1)).squeeze(2)
    answer = time if times == "steps" else paths.padded(paths.now.unsqueeze(1)).squeeze(2)
    if paths.places is not None:
        return buckets(time.unsqueeze(1), answer.unsqueeze(2))
    parts = zip(time.split(AT_ONCE), answer.split(AT_ONCE))  # what is computed on the way takes more than the buckets
    return torch.cat([buckets(own.unsqueeze(1), of.unsqueeze(2)) for own, of in parts])
