"""Training with tables of vectors whose rows several ranks share (`training.shard_vectors`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import nn

from kgrec import ranks
from kgrec.errors import KgrecError
from kgrec.model import Objective, Recommender
from kgrec.nn.row_shards import RowShard, gradients_to_owners, sharded_rows, shards_of
from kgrec.optimizers import SparseAndDense
from kgrec.training.job import TrainingJob


def sharded_model(build: Callable[[], Recommender], job: TrainingJob) -> Recommender:
    """The model that `build` makes, with the rows of its tables shared by all ranks. Raises KgrecError for a job or a
    model that needs whole tables."""
    training = job.training
    for name, found in (("clip_norm", training.clip_norm), ("adversarial.weight", training.adversarial.weight)):
        if found:
            raise KgrecError(
                f"{name} is {found:g}, but it needs all gradients of all vectors, which no process has with sharded "
                "vectors; leave it out, or train without --shard-vectors"
            )
    if job.out is None:
        raise KgrecError("sharded vectors are put together in the run folder; name one with `out` (--out)")
    with sharded_rows() as rounds:
        model = build()
    if not any(one.shard.requires_grad for one in shards_of(model).values()):
        raise KgrecError(
            f"model {job.model!r} has no tables of node vectors that could be sharded; use one that has, such as mf, "
            "or leave --shard-vectors out"
        )
    if ranks.world() > 1:
        ranks.settle_by(rounds.settle)
    with torch.no_grad():
        model.eval().check_sharded()  # what needs whole tables is refused now and not after the first epoch
    return model


def optimizer_of(objective: Objective, shards: Collection[RowShard]) -> torch.optim.Optimizer | SparseAndDense:
    """The optimizer of an objective. For shards it is the same kind, but only touched rows change: SparseAdam for Adam.

    Raises KgrecError for an optimizer that changes all rows in each step."""
    chosen = [one.shard for one in shards if any(one.shard is own for own in objective.parameters)]
    if not chosen:
        return objective.optimizer(objective.parameters, objective.lr)
    tried = objective.optimizer([nn.Parameter(torch.zeros(1))], objective.lr)
    how = tried.param_groups[0]
    touches_all = how.get("weight_decay") or how.get("momentum") or how.get("amsgrad")
    if isinstance(tried, torch.optim.SGD) and not touches_all:
        return objective.optimizer(objective.parameters, objective.lr)
    if isinstance(tried, torch.optim.Adam) and not touches_all:
        own = {"betas": how["betas"], "eps": how["eps"]}
        return SparseAndDense(objective.parameters, objective.lr, *chosen, dense=objective.optimizer, **own)  # type: ignore[arg-type]
    decay = " with weight decay (l2)" if how.get("weight_decay") else ""
    raise KgrecError(
        f"objective {objective.name!r} uses {type(tried).__name__}{decay}, which changes every row in each step; with "
        "sharded vectors only touched rows are updated: set l2=0, or train without --shard-vectors"
    )


def exchange_shards(parameters: Sequence[nn.Parameter], shards: Collection[RowShard]) -> list[nn.Parameter]:
    """Send the gradients of vectors that were looked up to where the rows are. Returns all other parameters."""
    if not shards:
        return list(parameters)
    chosen = [one for one in shards if any(one.shard is own for own in parameters)]
    _check_gradients(shards)
    for one in shards:
        if one not in chosen:
            one.forget()
    if chosen:
        gradients_to_owners(chosen)
    return [own for own in parameters if not any(own is one.shard for one in chosen)]


def forget_gradients(shards: Collection[RowShard]) -> None:
    """Leave out what was looked up, and its gradients. Raises KgrecError if a loss has read a whole table."""
    _check_gradients(shards)
    for one in shards:
        one.forget()


def _check_gradients(shards: Collection[RowShard]) -> None:
    if any(one.shard.grad is not None for one in shards):
        raise KgrecError(
            "the loss reads a whole table of vectors (as l2 of ratings does), which no process has with sharded "
            "vectors; set l2=0, or train without --shard-vectors"
        )
