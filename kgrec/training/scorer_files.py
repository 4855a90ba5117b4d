"""A model's scorer for NumPy: `scorer.json`, and the tensors that are not among the model's weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from kgrec.evaluation.ranking import Scorer, scoring
from kgrec.evaluation.served_users import ServedUsers
from kgrec.evaluation.trained_nodes import Trained
from kgrec.files import write_json
from kgrec.graph import Graph
from kgrec.linear_scores import LinearScores
from kgrec.model import Recommender, ScorerParts, goes_with_score
from kgrec.training.tensor_files import save_tensors

CHECKED = 8  #: number of users whose scores are compared before a scorer is kept
TOLERANCE = 1e-3  #: share of the largest score; far above rounding, far below the error of a wrong formula


def checked_scorer(model: Recommender, known: Graph) -> ScorerParts | None:
    """The model's scorer for NumPy. None if it has none, or if it inherits one but defines its own `score`. The scorer
    must give the model's scores for some users; otherwise it is left out with a warning."""
    with scoring(model):
        parts = model.linear_scorer() if goes_with_score(type(model)) else None
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
        f"{type(model).__name__}.linear_scorer gives other scores than {type(model).__name__}.score, so the run folder "
        "has no scorer for NumPy; correct linear_scorer, or let it return None",
        stacklevel=2,
    )
    return None


def how_served(model: Recommender, known: Graph, trained: Graph) -> Tensor:
    """How each user of a run is served, a ServedBy: CharTensor [N + 1]. known: what the run knows; trained: what
    training saw."""
    scorer = Scorer(model, known)
    return ServedUsers(scorer, Trained(trained, model, scorer.device)).of_users


def save_scorer(parts: ScorerParts, weights: Mapping[str, Tensor], folder: Path, more: Mapping[str, Any]) -> None:
    """Write scorer.json, and to scorer.safetensors the tensors that are not among the weights. more: what scorer.json
    says besides."""
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
    document: dict[str, Any] = {"kind": parts.kind, "constant": parts.constant, "tensors": places}
    write_json(folder / "scorer.json", {**document, **more})


def _within(tensor: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """The weight that a tensor is a contiguous part of, and the index of its first number there; None if there is
    none."""
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
