"""The checks, each a function of a trained model, that raises AssertionError where it fails."""

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
from kgrec.graph import Graph
from kgrec.model import Query, Recommender
from kgrec.splits.split import Split, split
from kgrec.testing.order_of_sums import added_in_any_order
from kgrec.testing.subject import Subject, built, one_thread, planted_graph, query_of, trainer_of
from kgrec.testing.withheld import pushed_by_training, read_by_withheld_alone

MARGIN = 0.2  #: how much more recall@5 than popularity's a model must have on the planted graph
RTOL, ATOL = 1e-4, 1e-5  #: how near scores must be that are computed along other paths


def scores_are_finite_one_for_each_user_and_item(subject: Subject) -> None:
    """`score` gives float32 [B, C] for items [C]."""
    scores = subject.score(subject.query(torch.arange(7)), subject.items)
    assert scores.shape == (7, 40), f"7 users and 40 items have scores of shape {tuple(scores.shape)}; [B, C] is wanted"
    assert scores.dtype == torch.float32, f"scores are {scores.dtype}; float32 is wanted"
    assert scores.isfinite().all(), f"{int((~scores.isfinite()).sum())} of {scores.numel()} scores are not finite"


def scoring_twice_gives_the_same(subject: Subject) -> None:
    """In eval mode nothing is drawn; what a model needs to draw is kept as a buffer."""
    query = subject.query(torch.arange(7))
    first, second = subject.score(query, subject.items), subject.score(query, subject.items)
    assert torch.equal(first, second), "the same query has other scores the second time; draw nothing in eval mode"


def an_items_score_is_its_own(subject: Subject) -> None:
    """It does not depend on which other items are asked for, how often, or in what order."""
    query, some = subject.query(torch.arange(7)), torch.tensor([31, 4, 4, 18])
    whole = subject.score(query, subject.items)
    _close(subject.score(query, subject.items[some]), whole[:, some], "some items alone, and among all")


def lists_of_each_users_own_agree_with_one_list_for_all(subject: Subject) -> None:
    """Items [B, C], a list for each query, have the scores that they have in one list [C]."""
    own = torch.stack([torch.randperm(40, generator=torch.Generator().manual_seed(row))[:5] for row in range(7)])
    query = subject.query(torch.arange(7))
    whole = subject.score(query, subject.items)
    _close(subject.score(query, subject.items[own]), whole.gather(1, own), "items [B, C], and the same of items [C]")


def a_users_scores_do_not_depend_on_who_else_is_asked_for(subject: Subject) -> None:
    """Alone, in another order, and beside a longer history, which pads the others."""
    query, pad = subject.query(torch.tensor([3, 50, 9])), subject.train.pad
    history = torch.cat([torch.full((3, 4), pad), query.history], dim=1)
    history[0, :4] = subject.items[torch.tensor([0, 7, 0, 21])]
    alone = subject.score(subject.query(torch.tensor([9])), subject.items)
    _close(subject.score(query, subject.items)[2:], alone, "a user beside others, and alone")
    longer = subject.score(Query(query.user, history), subject.items)
    _close(longer[2:], alone, "a user beside a longer history, which pads its own, and alone")


def a_user_without_history_has_finite_scores(subject: Subject) -> None:
    """A new user (`graph.pad`) whose history has no steps, or padding alone."""
    pad = subject.train.pad
    for length in (0, 3):
        scores = subject.score(Query(torch.tensor([pad]), torch.full((1, length), pad)), subject.items)
        assert scores.shape == (1, 40), f"a new user with {length} steps of padding has scores {tuple(scores.shape)}"
        assert scores.isfinite().all(), f"a new user with {length} steps of padding has scores that are not finite"


def a_model_built_of_the_schema_takes_the_saved_state(subject: Subject) -> None:
    """What `score` reads is in the state, whose shapes depend on schema and settings alone; scores are equal."""
    query, wanted = subject.query(torch.arange(7)), {n: t.shape for n, t in subject.model.state_dict().items()}
    empty = models.build(subject.name, Graph.empty(subject.train.schema), subject.config)
    found = {n: t.shape for n, t in empty.state_dict().items()}
    assert found == wanted, f"built of the schema alone its state is {found}; built of the graph it is {wanted}"
    with torch.no_grad():
        scores = subject.loaded().score(query, subject.items)
    same = torch.equal(scores, subject.score(query, subject.items))
    assert same, "a model with the saved state scores otherwise; what `score` reads must be a parameter or a buffer"


def its_state_is_dense_tensors(subject: Subject) -> None:
    """There is some state, and none of it is sparse."""
    state = subject.model.state_dict()
    assert state, "the model has no state; what `score` reads must be a parameter or a buffer"
    sparse = [name for name, tensor in state.items() if tensor.layout != torch.strided]
    assert not sparse, f"{sparse} are sparse; state is dense tensors (register with persistent=False what is not state)"


def building_leaves_the_graph_and_torchs_generator_alone(subject: Subject) -> None:
    """A model draws its parameters from torch's generator; one without parameters draws nothing."""
    edges = subject.train.edge_index.clone()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        models.build(subject.name, subject.train, subject.config)
        assert subject.before or torch.equal(torch.rand(1), expected), "building draws random numbers, for no parameter"
    assert torch.equal(subject.train.edge_index, edges), "building changes the graph's edges"


def every_parameter_is_moved_by_some_objective(subject: Subject) -> None:
    """Each is among an objective's parameters, and is another after training."""
    still = [name for name, p in subject.model.named_parameters() if torch.equal(p.detach(), subject.before[name])]
    assert not still, f"training leaves {still} as they were built"
    covered = {id(p) for objective in subject.model.objectives(subject.train) for p in objective.parameters}
    left = [name for name, p in subject.model.named_parameters() if id(p) not in covered]
    assert not left, f"{left} are parameters of no objective"
    strangers = covered - {id(p) for p in subject.model.parameters()}
    assert not strangers, f"objectives move {len(strangers)} parameters that are none of the model's"


def it_learns_more_than_popularity(subject: Subject) -> None:
    """Of rankings: the recall@5 of the two held-out items, among those new to the user; where the model reads
    histories, also for users that it does not know."""
    if subject.model.task != "ranking":
        pytest.skip(f"it predicts a {subject.model.task}")
    popularity = recall_at_5(models.build("popularity", subject.train), subject.parts, known=True)
    for known in (True, False) if subject.model.reads_history else (True,):
        recall = recall_at_5(subject.model, subject.parts, known=known)
        whom = "known users" if known else "new users with a history"
        assert recall > popularity + MARGIN, (
            f"after {subject.epochs} epochs recall@5 of {whom} is {recall:.3f}, popularity's is {popularity:.3f}; "
            f"{MARGIN} more is wanted: give more epochs, or a greater lr"
        )


def training_that_is_resumed_is_equal_to_an_uninterrupted_one(subject: Subject) -> None:
    """From what a checkpoint keeps, in a model built anew: to the last digit."""
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
        f"resumed after epoch {subject.resume_at} of {subject.epochs}, {differ} are not what an uninterrupted training "
        "gives; what training reads must be a parameter, a buffer, or set by `begin` for every epoch"
    )


def training_adds_up_in_one_order(subject: Subject) -> None:
    """So that a seed gives the same weights every time: no sum depends on which of several threads is first."""
    if not subject.before:
        pytest.skip("it is complete when built")
    shapes = sorted(added_in_any_order(subject))
    assert not shapes, (
        f"training adds to tensors of the shapes {shapes} at places that stand more than once, and several threads do "
        "that in any order, so that one seed gives other weights each time; where x[index] has a gradient, read rows "
        "by torch.nn.functional.embedding(index, x) and single numbers by kgrec.nn.entries(x, row, column)"
    )


def withheld_items_are_left_alone(subject: Subject) -> None:
    """What a split withholds (cold items) training neither favours nor pushes down.

    Of a model with parameters: no objective has a gradient for those that only the scores of withheld items read, but
    one of regularisation, which points along the parameter itself. The items have no facts here, so nothing else
    reaches them. Of a ranking that is complete when built: none of them is in anybody's top 5.
    """
    train = split(planted_graph(), "cold_items:0.2,seed=1").train
    assert train.withheld is not None
    if not subject.before:
        if subject.model.task != "ranking":
            pytest.skip("a cold item is predicted at the mean, which may be more than the others")
        with torch.no_grad():
            scores = models.build(subject.name, train, subject.config).score(query_of(train), subject.items)
        best = subject.items[scores.topk(5).indices]
        assert not torch.isin(best, train.withheld).any(), "items that nobody has in training are in a user's top 5"
        return
    train = train.where(~(torch.isin(train.head, train.withheld) | torch.isin(train.tail, train.withheld)))
    own = read_by_withheld_alone(subject, train)
    if not own:
        pytest.skip("no parameter is read by the scores of withheld items alone, so there is nothing to push")
    pushed = pushed_by_training(subject, train, own)
    assert not pushed, (
        f"training has a gradient for {sorted(pushed)}, where these are read by the scores of withheld items alone; "
        "draw negatives by kgrec.samplers.Negatives, and classes of a softmax from graph.drawable(item type)"
    )


def settings_are_checked_and_frozen(subject: Subject) -> None:
    """A field that is not there, or a value of the wrong type, is refused; `Config` is made by kgrec.settings."""
    graph, kind = Graph.empty(subject.train.schema), models.find(subject.name).Config
    with pytest.raises(UnknownName, match=f"no field 'frobnicate' of model '{subject.name}'"):
        models.build(subject.name, graph, {"frobnicate": 1})
    for field in dataclasses.fields(kind)[:1]:
        with pytest.raises(KgrecError, match=f"{field.name}="):
            models.build(subject.name, graph, {field.name: object()})
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(subject.config, field.name, getattr(subject.config, field.name))


def scores_on_cuda_are_those_on_the_cpu(subject: Subject) -> None:
    """After moving the model there, as a loaded run is moved."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and torch sees none")
    query = subject.query(torch.arange(7))
    there = Query(query.user.cuda(), query.history.cuda())
    with torch.no_grad():
        scores = subject.loaded().to("cuda").score(there, subject.items.cuda())
    assert scores.is_cuda, f"scores of a model on CUDA are on {scores.device}"
    torch.testing.assert_close(scores.cpu(), subject.score(query, subject.items), rtol=1e-3, atol=1e-4)


def recall_at_5(model: Recommender, parts: Split, *, known: bool) -> float:
    """Over all users, of the two held-out items the share in the top 5 of those that are new to the user. known: users
    are named; else they are served by their history alone."""
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


#: What every model must pass; the name of each says what it is
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
