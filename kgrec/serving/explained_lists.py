"""How good the explanations of a run are, over many of its users."""

from __future__ import annotations

from typing import Any

import numpy as np

from kgrec.errors import KgrecError, unknown_name
from kgrec.evaluation.explanation_quality import ExplanationQuality, explanation_quality
from kgrec.evaluation.ranking import scoring
from kgrec.paths.path_explainer import By
from kgrec.serving.explanation import BYS, explainer_of, must_have_paths
from kgrec.serving.list_options import ListOptions
from kgrec.serving.ranked_lists import check_k, must_know_interactions, ranker_for
from kgrec.training.trained_model import TrainedModel

USERS = 200  #: whose lists are explained


def measure_explanations(
    run: TrainedModel, *, users: int = USERS, k: int = 10, by: str = "drop", seed: int = 0
) -> dict[str, Any]:
    """What the explanations of some users' lists are like: see `kgrec.evaluation.explanation_quality`.

    users: how many are drawn of those who did something that the run knows; k: items of each list; by: how the path of
    each item is chosen, "drop" or "attention"; seed: of the users and of the random paths. Faithfulness is measured for
    both ways where the model has both. Raises KgrecError as `Run.explain`, and for a number of users below 1."""
    must_know_interactions(run)
    must_have_paths(run)
    check_k(run, k)
    if not isinstance(users, int) or isinstance(users, bool) or users < 1:
        raise KgrecError(f"users is {users!r}; a whole number of at least 1 is wanted")
    if by not in BYS:
        raise unknown_name("way to choose paths", by, BYS)
    explainer = explainer_of(run)
    masking = explainer.masking
    ways: tuple[By, ...] = () if masking is None else BYS if masking.by == "attention" else ("drop",)
    if by not in ways and masking is not None:
        raise KgrecError(f"{run.name} has no attention to choose paths by; leave `by` out, or say drop")
    ranker = ranker_for(run, ListOptions(k=k))
    drawn = np.random.default_rng(seed).permutation(ranker.scorer.seen.head.unique().cpu().numpy())[:users]
    with scoring(run.model):
        found: ExplanationQuality = explanation_quality(
            explainer,
            ranker,
            drawn.tolist(),
            k=k,
            by=by,
            compared=ways,
            seed=seed,
        )
    return {
        "model": run.name,
        "by": by if masking is not None else "weight of the past item",
        "k": k,
        **found.to_json(),
    }
