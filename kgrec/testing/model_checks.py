"""The checks. Each is a function of a trained model that raises AssertionError if the model fails it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import NO_TIME, Graph
from kgrec.model import Query, Recommender
from kgrec.splits.split import Split, split
from kgrec.testing.order_of_sums import added_in_any_order
from kgrec.testing.subject import Subject, built, one_thread, planted_graph, query_of, trainer_of
from kgrec.testing.withheld import pushed_by_training, read_by_withheld_alone

MARGIN = 0.2  #: on the planted graph, recall@5 must be higher than that of popularity by more than this
RTOL, ATOL = 1e-4, 1e-5  #: tolerances for scores that are computed in different ways


def scores_are_finite_one_for_each_user_and_item(subject: Subject) -> None:
    """`score` returns float32 [B, C] for items [C]."""
    scores = subject.score(subject.query(torch.arange(7)), subject.items)
    assert scores.shape == (7, 40), f"scores of 7 users and 40 items have the shape {tuple(scores.shape)}, not (7, 40)"
    assert scores.dtype == torch.float32, f"scores are {scores.dtype}; float32 is wanted"
    assert scores.isfinite().all(), f"{int((~scores.isfinite()).sum())} of {scores.numel()} scores are not finite"


def scoring_twice_gives_the_same(subject: Subject) -> None:
    """In eval mode a model draws no random numbers; random values that scoring needs are stored in a buffer."""
    query = subject.query(torch.arange(7))
    first, second = subject.score(query, subject.items), subject.score(query, subject.items)
    assert torch.equal(first, second), (
        "the same query has different scores the second time; draw no random numbers in eval mode"
    )


def an_items_score_is_its_own(subject: Subject) -> None:
    """It does not depend on which other items are scored, how often, or in what order."""
    query, some = subject.query(torch.arange(7)), torch.tensor([31, 4, 4, 18])
    whole = subject.score(query, subject.items)
    _close(subject.score(query, subject.items[some]), whole[:, some], "scores of some items alone, and among all items")


def lists_of_each_users_own_agree_with_one_list_for_all(subject: Subject) -> None:
    """Items [B, C], a list for each user, have the same scores as in one list [C] for all users."""
    own = torch.stack([torch.randperm(40, generator=torch.Generator().manual_seed(row))[:5] for row in range(7)])
    query = subject.query(torch.arange(7))
    whole = subject.score(query, subject.items)
    _close(subject.score(query, subject.items[own]), whole.gather(1, own), "scores of items [B, C], and of items [C]")


def a_users_scores_do_not_depend_on_who_else_is_asked_for(subject: Subject) -> None:
    """They are the same for a user alone, among others, and beside a user with a longer history (more padding)."""
    query, pad = subject.query(torch.tensor([3, 50, 9])), subject.train.pad
    history = torch.cat([torch.full((3, 4), pad), query.history], dim=1)
    history[0, :4] = subject.items[torch.tensor([0, 7, 0, 21])]
    alone = subject.score(subject.query(torch.tensor([9])), subject.items)
    _close(subject.score(query, subject.items)[2:], alone, "scores of a user among others, and alone")
    assert query.time is not None
    time = torch.cat([torch.full((3, 4), NO_TIME), query.time], dim=1)
    time[0, :4] = 1
    longer = subject.score(Query(query.user, history, time), subject.items)
    _close(longer[2:], alone, "scores of a user whose history is padded for a longer one, and alone")


def a_user_without_history_has_finite_scores(subject: Subject) -> None:
    """A new user (`graph.pad`) whose history is empty, or only padding, has finite scores of the right shape."""
    pad = subject.train.pad
    for length in (0, 3):
        scores = subject.score(Query(torch.tensor([pad]), torch.full((1, length), pad)), subject.items)
        assert scores.shape == (1, 40), (
            f"scores of a new user with {length} steps of padding have the shape {tuple(scores.shape)}, not (1, 40)"
        )
        assert scores.isfinite().all(), f"a new user with {length} steps of padding has scores that are not finite"


def a_model_built_of_the_schema_takes_the_saved_state(subject: Subject) -> None:
    """All that `score` reads is in the state_dict, whose shapes depend only on the schema and the settings. A model
    that is built from the schema and loads this state has the same scores."""
    query, wanted = subject.query(torch.arange(7)), {n: t.shape for n, t in subject.model.state_dict().items()}
    empty = models.build(subject.name, Graph.empty(subject.train.schema), subject.config)
    found = {n: t.shape for n, t in empty.state_dict().items()}
    assert found == wanted, (
        f"shapes of the state differ: built from the schema alone they are {found}, built from the graph {wanted}"
    )
    with torch.no_grad():
        scores = subject.loaded().score(query, subject.items)
    same = torch.equal(scores, subject.score(query, subject.items))
    assert same, "a model with the saved state has other scores; all that `score` reads must be parameters or buffers"


def its_state_is_dense_tensors(subject: Subject) -> None:
    """The state_dict is not empty, and none of its tensors is sparse."""
    state = subject.model.state_dict()
    assert state, "the model has no state; all that `score` reads must be parameters or buffers"
    sparse = [name for name, tensor in state.items() if tensor.layout != torch.strided]
    assert not sparse, f"{sparse} are sparse; use dense tensors, or persistent=False for buffers that are not state"


def building_leaves_the_graph_and_torchs_generator_alone(subject: Subject) -> None:
    """Building does not change the graph's edges. A model without parameters draws no random numbers."""
    edges = subject.train.edge_index.clone()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        models.build(subject.name, subject.train, subject.config)
        assert subject.before or torch.equal(torch.rand(1), expected), (
            "building draws random numbers, but there are no parameters"
        )
    assert torch.equal(subject.train.edge_index, edges), "building changes the graph's edges"


def every_parameter_is_moved_by_some_objective(subject: Subject) -> None:
    """Each parameter belongs to an objective, and training changes it."""
    still = [name for name, p in subject.model.named_parameters() if torch.equal(p.detach(), subject.before[name])]
    assert not still, f"training does not change {still}; use them in a loss, or make them buffers"
    covered = {id(p) for objective in subject.model.objectives(subject.train) for p in objective.parameters}
    left = [name for name, p in subject.model.named_parameters() if id(p) not in covered]
    assert not left, f"{left} are parameters of no objective; add them to one"
    strangers = covered - {id(p) for p in subject.model.parameters()}
    assert not strangers, f"objectives train {len(strangers)} parameters that do not belong to the model"


def it_learns_more_than_popularity(subject: Subject) -> None:
    """For rankings: recall@5 of each user's two held-out items, among items that are new to the user, must be higher
    than that of popularity. For a model that reads histories this is also checked for new users."""
    if subject.model.task != "ranking":
        pytest.skip(f"it predicts a {subject.model.task}")
    popularity = recall_at_5(models.build("popularity", subject.train), subject.parts, known=True)
    for known in (True, False) if subject.model.reads_history else (True,):
        recall = recall_at_5(subject.model, subject.parts, known=known)
        whom = "known users" if known else "new users with a history"
        assert recall > popularity + MARGIN, (
            f"after {subject.epochs} epochs recall@5 of {whom} is {recall:.3f}, and that of popularity is "
            f"{popularity:.3f}; it must be higher by more than {MARGIN}: use more epochs, or a higher lr"
        )


def training_that_is_resumed_is_equal_to_an_uninterrupted_one(subject: Subject) -> None:
    """A newly built model that continues from a checkpoint ends with exactly the same state, to the last digit."""
    if not subject.before:
        pytest.skip("it is complete when built")
    model = built(subject.name, subject.train, subject.config, seed=1)
    model.load_state_dict(load(subject.saved[0]))
    trainer = trainer_of(model, subject.train, subject.epochs)
    trainer.load_state(load(subject.saved[1]), subject.resume_at)
    with one_thread():
        for _ in trainer.epochs():
            pass
    whole = subject.model.state_dict()
    differ = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, whole[name])]
    assert not differ, (
        f"training that was resumed after epoch {subject.resume_at} of {subject.epochs} ends with other {differ} than "
        "uninterrupted training; all that training reads must be parameters, buffers, or set by `begin` in every epoch"
    )


def training_adds_up_in_one_order(subject: Subject) -> None:
    """No sum depends on which of several threads is first, so that a seed gives the same weights every time."""
    if not subject.before:
        pytest.skip("it is complete when built")
    shapes = sorted(added_in_any_order(subject))
    assert not shapes, (
        f"training adds several values to the same entries of tensors of the shapes {shapes}; threads do this in any "
        "order, so that one seed gives different weights each time; instead of x[index] with a gradient, read rows "
        "by torch.nn.functional.embedding(index, x) and single numbers by kgrec.nn.entries(x, row, column)"
    )


def withheld_items_are_left_alone(subject: Subject) -> None:
    """Training neither raises nor lowers the scores of items that a split withholds (cold items).

    For a model with parameters: parameters that only the scores of withheld items read get no gradient, except that of
    L2 regularisation, which is parallel to the parameter. The items have no facts here, so nothing else reaches them.
    For a ranking model that is complete when built: no withheld item is in the top 5 of any user.
    """
    train = split(planted_graph(), "cold_items:0.2,seed=1").train
    assert train.withheld is not None
    if not subject.before:
        if subject.model.task != "ranking":
            pytest.skip("a cold item gets the mean, which may be higher than the predictions for other items")
        with torch.no_grad():
            scores = models.build(subject.name, train, subject.config).score(query_of(train), subject.items)
        best = subject.items[scores.topk(5).indices]
        assert not torch.isin(best, train.withheld).any(), "items that nobody has in training are in a user's top 5"
        return
    train = train.where(~(torch.isin(train.head, train.withheld) | torch.isin(train.tail, train.withheld)))
    own = read_by_withheld_alone(subject, train)
    if not own:
        pytest.skip("no parameter is read only by the scores of withheld items, so there is nothing to check")
    pushed = pushed_by_training(subject, train, own)
    assert not pushed, (
        f"training has a gradient for entries of {sorted(pushed)} that only the scores of withheld items read; sample "
        "negatives by kgrec.samplers.Negatives, and take softmax classes from graph.drawable(item type)"
    )


def settings_are_checked_and_frozen(subject: Subject) -> None:
    """An unknown setting and a value of the wrong type are errors, and settings cannot be changed (`Config` is
    decorated with kgrec.settings.settings)."""
    graph, kind = Graph.empty(subject.train.schema), models.find(subject.name).Config
    with pytest.raises(UnknownName, match=f"no field 'frobnicate' of model '{subject.name}'"):
        models.build(subject.name, graph, {"frobnicate": 1})
    for field in dataclasses.fields(kind)[:1]:
        with pytest.raises(KgrecError, match=f"{field.name}="):
            models.build(subject.name, graph, {field.name: object()})
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(subject.config, field.name, getattr(subject.config, field.name))


def scores_on_cuda_are_those_on_the_cpu(subject: Subject) -> None:
    """A model that was built on the CPU and moved to CUDA has the same scores there."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and torch sees none")
    query = subject.query(torch.arange(7))
    assert query.time is not None
    there = Query(query.user.cuda(), query.history.cuda(), query.time.cuda())
    with torch.no_grad():
        scores = subject.loaded().to("cuda").score(there, subject.items.cuda())
    assert scores.is_cuda, f"scores of a model on CUDA are on {scores.device}; keep them on the model's device"
    torch.testing.assert_close(scores.cpu(), subject.score(query, subject.items), rtol=1e-3, atol=1e-4)


def recall_at_5(model: Recommender, parts: Split, *, known: bool) -> float:
    """Mean over users of the share of the two held-out items in the top 5 of the items that are new to the user. known:
    users are known by their numbers; false: they are served by their history alone."""
    train, query = parts.train, query_of(parts.train)
    users, items = train.nodes("user"), train.nodes("item")
    if not known:
        query = replace(query, user=torch.full_like(users, train.pad))
    with torch.no_grad():
        scores = model.score(query, items).clone()
    lists = items.expand(len(users), -1)
    scores[train.only(train.target).is_edge(users, lists)] = -torch.inf
    return float(parts.test.is_edge(users, lists).gather(1, scores.topk(5).indices).double().sum(1).mean() / 2)


def _close(found: Tensor, wanted: Tensor, what: str) -> None:
    torch.testing.assert_close(found, wanted, rtol=RTOL, atol=ATOL, msg=lambda message: f"{what}: {message}")


#: The checks that every model must pass; each name says what must hold
CHECKS: tuple[Callable[[Subject], None], ...] = (
    scores_are_finite_one_for_each_user_and_item,
    scoring_twice_gives_the_same,
    an_items_score_is_its_own,
    lists_of_each_users_own_agree_with_one_list_for_all,
    a_users_scores_do_not_depend_on_who_else_is_asked_for,
    a_user_without_history_has_finite_scores,
    a_model_built_of_the_schema_takes_the_saved_state,
    its_state_is_dense_tensors,
    building_leaves_the_graph_and_torchs_generator_alone,
    every_parameter_is_moved_by_some_objective,
    it_learns_more_than_popularity,
    training_that_is_resumed_is_equal_to_an_uninterrupted_one,
    training_adds_up_in_one_order,
    withheld_items_are_left_alone,
    settings_are_checked_and_frozen,
    scores_on_cuda_are_those_on_the_cpu,
)
