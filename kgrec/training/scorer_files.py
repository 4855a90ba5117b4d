"""A model's scores for NumPy: `scorer.json`, and the tensors that the model's own weights do not hold already."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from kgrec.evaluation.ranking import Scorer, scoring
from kgrec.files import write_json
from kgrec.graph import Graph
from kgrec.linear_scores import LinearScores
from kgrec.model import Recommender, ScorerParts
from kgrec.training.tensor_files import save_tensors

CHECKED = 8  #: users whose scores are computed both ways before a scorer is kept
TOLERANCE = 1e-3  #: of the largest score; far above rounding, far below what another formula gives


def checked_scorer(model: Recommender, known: Graph) -> ScorerParts | None:
    """What a model offers for NumPy; None where it offers nothing, and where it inherits an offer and has a `score` of
    its own. The offer must give the model's own scores for some users, else it is left out with a warning."""
    with scoring(model):
        parts = model.linear_scorer() if _goes_with_score(type(model)) else None
        if parts is None:
            return None
        users, items = known.nodes(known.target[0]), known.nodes(known.target[2])
        users = users[:: max(1, len(users) // CHECKED)][:CHECKED]
        query = Scorer(model, known).query(users.to(known.device))
        wanted = model.score(query, items).float().cpu().numpy()
        scores = LinearScores(
            parts.kind, {name: tensor.cpu().numpy() for name, tensor in parts.tensors.items()}, parts.constant
        )
        if scores.reads_history:
            first, last = int(items[0]), int(items[-1])
            histories = [row[(row >= first) & (row <= last)] - first for row in query.history.cpu().numpy()]
            found = scores.of_histories(histories)
        else:
            found = scores.of_users((users - known.range(known.target[0]).start).cpu().numpy())
    if np.abs(found - wanted).max(initial=0) <= TOLERANCE * np.abs(wanted).max(initial=0):
        return parts
    warnings.warn(
        f"{type(model).__name__}.linear_scorer gives other scores than its score, so the run folder keeps none for "
        "NumPy; define linear_scorer beside score, or let it return None",
        stacklevel=2,
    )
    return None


def _goes_with_score(kind: type[Recommender]) -> bool:
    """Whether no class below the one that makes the offer has a `score` of its own."""
    offers, scores = (
        next(n for n, one in enumerate(kind.__mro__) if name in vars(one)) for name in ("linear_scorer", "score")
    )
    return offers <= scores


def save_scorer(parts: ScorerParts, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write scorer.json, and what stands in none of the weights to scorer.safetensors."""
    places, own = dict[str, Any](), dict[str, Tensor]()
    for name, tensor in parts.tensors.items():
        place = _within(tensor, weights)
        if place is None:
            own[name] = tensor
            place = {"file": "scorer.safetensors", "tensor": name, "start": 0}
        else:
            place = {"file": "model.safetensors", **place}
        places[name] = place | {"shape": list(tensor.shape)}
    if own:
        save_tensors(folder / "scorer.safetensors", own)
    write_json(folder / "scorer.json", {"kind": parts.kind, "constant": parts.constant, "tensors": places})


def _within(tensor: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """The weight that holds a tensor's numbers one after the other, and the place of the first in it; None: none."""
    if not tensor.is_contiguous():
        return None
    for name, weight in weights.items():
        same = weight.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr() and weight.numel()
        start = tensor.storage_offset() - weight.storage_offset()
        if (
            same
            and weight.dtype == tensor.dtype
            and weight.is_contiguous()
            and 0 <= start <= weight.numel() - tensor.numel()
        ):
            return {"tensor": name, "start": start}
    return None
