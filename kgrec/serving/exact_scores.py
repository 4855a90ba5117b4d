"""The scores that lists show, where these are products of vectors: each is summed in float64 and rounded once.

A model computes scores in float32, and their last digits hang on how many users are asked for at once and on the
library that multiplies. Shown scores do not, so that one user's list is the same alone, among others, and without torch
(`kgrec.serving.quick_lists`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from kgrec.evaluation.ranking import Best, scoring
from kgrec.linear_scores import LinearScores
from kgrec.model import goes_with_score
from kgrec.training.scorer_files import TOLERANCE
from kgrec.training.trained_model import TrainedModel


def with_exact_scores(
    run: TrainedModel, found: Best, user: Tensor, by_model: Tensor, *, keep_order: bool = False
) -> Best:
    """The same items with exact scores, best first, if the run's scores are products of vectors; else what was found.

    user: LongTensor [B], flat; by_model: BoolTensor [B], whether the model serves them; keep_order: leave the items as
    they stand."""
    scores = product_of(run)
    if scores is None:
        return found
    users, items = (run.graph.range(run.graph.target[end]) for end in (0, 2))
    local = user.cpu().numpy() - users.start
    row = np.flatnonzero(by_model.cpu().numpy() & (local >= 0) & (local < len(users)))
    if not len(row):
        return found
    flat, former, tie_order = (part.cpu().numpy() for part in (found.item, found.score, found.tie_order))
    there = flat[row] != run.graph.pad
    exact = scores.of_pairs(local[row], np.where(there, flat[row] - items.start, 0))
    exact[~there] = -np.inf
    if not _is_near(exact[there], former[row][there]):
        return found
    flat, former, tie_order = flat.copy(), former.astype(np.float32), tie_order.copy()
    if keep_order:
        former[row] = exact
    else:
        order = np.lexsort((tie_order[row], -exact))
        flat[row], former[row], tie_order[row] = (
            np.take_along_axis(part, order, 1) for part in (flat[row], exact, tie_order[row])
        )
    return Best(*(torch.from_numpy(part).to(found.item.device) for part in (flat, former, tie_order)))


def _is_near(exact: np.ndarray, score: np.ndarray) -> bool:
    """Whether these are a model's scores at all: a model of a stranger may say otherwise than it scores."""
    return bool(np.abs(exact - score).max(initial=0) <= TOLERANCE * np.abs(score).max(initial=0))


def product_of(run: TrainedModel) -> LinearScores | None:
    """A run's scores as products of vectors, made once; None if they are none."""
    return run.made_once("exact scores", None, lambda: next(_products(run), None))


def _products(run: TrainedModel) -> Iterator[LinearScores]:
    model = run.model
    with scoring(model):
        parts = model.linear_scorer() if goes_with_score(type(model)) else None
    if parts is None or parts.kind != "dot":
        return
    arrays = {name: (part if part.dtype == torch.float64 else part.float()) for name, part in parts.tensors.items()}
    scores = LinearScores("dot", {name: part.detach().cpu().numpy() for name, part in arrays.items()}, parts.constant)
    users, items = (len(run.graph.range(run.graph.target[end])) for end in (0, 2))
    if (scores.num_users, scores.num_items) == (users, items):
        yield scores
