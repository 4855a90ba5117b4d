"""HSTU and times of steps: pointwise attention by hand, what of times is read, and what is refused."""

import math

import pandas as pd
import pytest
import torch
from torch import Tensor

from kgrec import models
from kgrec.errors import KgrecError
from kgrec.graph import NO_TIME, Graph
from kgrec.model import Query, scoring
from kgrec.nn import Paths, exportable
from kgrec.nn.pointwise_attention import _dense
from kgrec.nn.pointwise_attention import pointwise_attention as attended
from kgrec.nn.step_times import BUCKETS, buckets, moments, path_buckets
from kgrec.samplers import Loader, Masked, Sequences

DAY = 86_400


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


def rated(rows: list[tuple[str, str, int | None]]) -> Graph:
    frame = pd.DataFrame(rows, columns=["source", "target", "time"]).astype({"time": "Int64"})
    items = pd.DataFrame({"id": [f"i{number}" for number in range(8)]})
    return Graph.from_frames(edges={("user", "rated", "item"): frame}, nodes={"item": items})


def shop(scale: int = DAY) -> Graph:
    """Six users with six items each. The time between steps grows from user to user, and each has two steps at once."""
    return rated(
        [
            (f"u{u}", f"i{(3 * u + step) % 8}", scale * (u + 1) * (step - (step > 2)))
            for u in range(6)
            for step in range(6)
        ]
    )


def built(name: str, graph: Graph, **settings):
    """A model whose weights are far from the small ones of a start."""
    torch.manual_seed(0)
    model = models.build(name, graph, {"dim": 8, "length": 4, "dropout": 0.0, "heads": 2, **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
        model.item.weight[-1] = 0
    return model.eval()


def scores(model, graph: Graph, items: list[int], times: list[int] | None, now: int | None = None) -> Tensor:
    start = graph.range("item").start
    history = torch.tensor([[start + item for item in items]])
    query = Query(
        torch.tensor([graph.pad]),
        history,
        None if times is None else torch.tensor([times]),
        now=None if now is None else torch.tensor([now]),
    )
    with scoring(model):
        return model.score(query, graph.nodes("item"))


# ---------------------------------------------------------------- pointwise attention


def test_pointwise_attention_by_hand():
    """The first step has silu(1 * 1 + 0) / 2 of itself; the second silu(1 * 1 + 1) / 2 of the first, which is one step
    back, and silu(1 * 2 + 0) / 2 of itself."""
    query, key, value = (torch.tensor(rows).view(1, 2, 1, 1) for rows in ([1.0, 1.0], [1.0, 2.0], [1.0, 10.0]))
    of_distance, paths = torch.tensor([0.0, 1.0]), Paths(torch.tensor([2]))
    wanted = [silu(1) / 2, silu(2) / 2 + 10 * silu(2) / 2]
    query.requires_grad_()
    assert attended(query, key, value, paths, of_distance).flatten().tolist() == pytest.approx(wanted)
    bucket = torch.tensor([[[0, 0], [1, 0]]], dtype=torch.int)
    found = attended(query, key, value, paths, of_distance, torch.tensor([0.5, 3.0]), bucket)
    assert found.flatten().tolist() == pytest.approx([silu(1.5) / 2, silu(5) / 2 + 10 * silu(2.5) / 2])


@pytest.mark.parametrize("cells", [1, 200, 1 << 18])
def test_parts_of_any_size_give_the_same_values_and_gradients(cells: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kgrec.nn.pointwise_attention.CELLS", cells)
    torch.manual_seed(0)
    paths, there = Paths(torch.tensor([7, 1, 0, 4, 7])), torch.ones(5, 7, 1, 1, dtype=torch.double)
    for row, length in enumerate([7, 1, 0, 4, 7]):
        there[row, length:] = 0
    tensors = [torch.randn(5, 7, 2, 3, dtype=torch.double, requires_grad=True) for _ in range(3)]
    tensors += [torch.randn(number, dtype=torch.double, requires_grad=True) for number in (5, 9)]
    bucket = torch.randint(0, 9, (5, 7, 7), dtype=torch.int)
    upstream = torch.randn(5, 7, 2, 3, dtype=torch.double) * there
    found = attended(*tensors[:3], paths, *tensors[3:], bucket) * there
    wanted = _dense(*tensors, bucket) * there
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    for one, other in zip(*(torch.autograd.grad((rows * upstream).sum(), tensors) for rows in (found, wanted))):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_a_path_has_the_same_scores_alone_and_beside_longer_ones():
    graph = shop()
    model, start = built("hstu", graph, length=70), graph.range("item").start
    history = torch.randint(start, start + 8, (5, 70), generator=torch.Generator().manual_seed(0))
    for row in range(4):
        history[row, : 60 - 15 * row] = graph.pad
    time = torch.arange(70).expand(5, -1) * DAY
    with scoring(model):
        together = model.score(Query(torch.full((5,), graph.pad), history, time), graph.nodes("item"))
        for row in range(4):
            part = slice(60 - 15 * row, None)
            alone = Query(torch.tensor([graph.pad]), history[row : row + 1, part], time[row : row + 1, part])
            own = model.score(alone, graph.nodes("item"))[0]
            torch.testing.assert_close(own, together[row], rtol=0, atol=1e-5)


# ---------------------------------------------------------------- times


def test_the_next_step_says_when_an_answer_is_wanted_and_now_when_the_last_is():
    history = torch.tensor([[9, 1, 2, 3]])
    time = torch.tensor([[NO_TIME, 10, 20, 20]])
    query = Query(torch.tensor([9]), history, time, now=torch.tensor([50]))
    assert moments(query)[1].tolist() == [[10, 20, 20, 50]]
    for now in (None, torch.tensor([NO_TIME]), torch.tensor([15])):  # not known, or before the last step
        assert moments(Query(query.user, history, time, now=now))[1].tolist() == [[10, 20, 20, 20]]
    right = Query(query.user, history, torch.tensor([[10, 20, 20, NO_TIME]]), now=torch.tensor([50]))
    assert moments(right)[1].tolist() == [[20, 20, 50, 50]]  # padding may be on the right
    assert moments(Query(query.user, history))[1].tolist() == [[NO_TIME] * 4]


def test_buckets_of_a_path_by_hand():
    """ln 60 / 0.301 is 13.6, ln 86400 / 0.301 is 37.8."""
    assert [int(math.log(seconds) / 0.301) for seconds in (60, DAY)] == [13, 37]
    time, now = torch.tensor([0, 60]), torch.tensor([60, 60 + DAY])
    paths = Paths(torch.tensor([2]), time=time, now=now)
    assert path_buckets(paths, "steps").tolist() == [[[0, 13], [13, 0]]]
    assert path_buckets(paths, "now")[0, :, 0].tolist() == [13, 37] and path_buckets(paths, "now")[0, 1, 1] == 37
    assert path_buckets(paths, "none") is None
    assert buckets(torch.tensor([0]), torch.tensor([1 << 62])).item() == BUCKETS - 1


def test_training_gives_each_step_its_time_and_that_of_its_target():
    graph = rated([("ann", "i0", 5), ("ann", "i1", 5), ("ann", "i2", 9), ("bob", "i1", 2), ("bob", "i2", None)])
    batch = Sequences(graph, 2, times=True)[torch.tensor([0, 1])]
    assert batch.time.tolist() == [[5, 5], [NO_TIME, NO_TIME]] and batch.now.tolist() == [[5, 9], [NO_TIME, 2]]
    assert Sequences(graph, 2)[torch.tensor([0])].time is None
    (hidden,) = Loader(Sequences(graph, 3, shift=False, times=True), Masked(graph), batch_size=2, shuffle=False)
    assert torch.equal(hidden.time, hidden.now) and hidden.time[0].tolist() == [5, 5, 9]


@pytest.mark.parametrize("name", ["hstu", "sasrec"])
def test_what_of_times_a_model_reads(name: str):
    graph, items, times = shop(), [1, 2, 3], [0, 60, 60 + DAY]
    last = times[-1]
    without, steps, told = (built(name, graph, times=one) for one in ("none", "steps", "now"))
    assert torch.equal(scores(without, graph, items, times), scores(without, graph, items, None))
    assert not torch.equal(scores(steps, graph, items, times), scores(steps, graph, items, [0, 0, last]))
    assert torch.equal(scores(steps, graph, items, times), scores(steps, graph, items, times, last + DAY))
    assert not torch.equal(scores(told, graph, items, times, last), scores(told, graph, items, times, last + DAY))
    assert torch.equal(scores(told, graph, items, times), scores(told, graph, items, times, last))
    assert torch.equal(scores(told, graph, items, times), scores(told, graph, items, times, last - 1))
    assert (without.reads_now, steps.reads_now, told.reads_now) == (False, False, True)
    longer = scores(told, graph, [5, 6, *items], [0, 1, *times], last)  # two more steps than `length`, which is 4
    assert torch.equal(longer, scores(told, graph, [6, *items], [1, *times], last))


@pytest.mark.parametrize("name", ["hstu", "sasrec"])
def test_steps_never_see_the_times_of_later_ones(name: str):
    graph = shop()
    model = built(name, graph, times="now", length=6)
    item, time = torch.randn(5, 8), torch.tensor([0, 60, 60, DAY, 9 * DAY])

    def encoded(now: list[int]) -> Tensor:
        return model.encode(item, Paths(torch.tensor([5]), time=time, now=torch.tensor(now)))

    with torch.no_grad():
        before, after = encoded([60, 60, DAY, 9 * DAY, 9 * DAY]), encoded([60, 60, DAY, 9 * DAY, 20 * DAY])
    assert torch.equal(before[:4], after[:4]) and not torch.equal(before[4], after[4])


@pytest.mark.parametrize("name", ["hstu", "sasrec"])
def test_edges_without_a_time_are_refused_by_a_model_that_reads_times(name: str):
    graph = rated([("ann", "i0", 1), ("ann", "i1", 2), ("bob", "i2", None), ("bob", "i3", 4)])
    with pytest.raises(
        KgrecError, match=r"1 of 4 rated edges have no time, and .* reads the times of steps; .*times=none"
    ):
        models.build(name, graph, {"times": "steps"}).objectives(graph)
    assert models.build(name, graph, {"times": "none"}).objectives(graph)


@pytest.mark.parametrize("name", ["hstu", "sasrec"])
def test_a_program_that_reads_times_scores_as_the_model_does(name: str):
    graph = shop()
    model, start = built(name, graph, times="now"), graph.range("item").start
    history = torch.full((3, 5), graph.pad)
    history[0], history[1, 3:] = torch.arange(start, start + 5), torch.tensor([start + 1, start + 7])
    time = torch.where(history == graph.pad, NO_TIME, torch.arange(5) * DAY)
    now = torch.tensor([5 * DAY, 9 * DAY, NO_TIME])
    batch = torch.export.Dim("batch")
    example = (history[:2], torch.zeros_like(history[:2]), time[:2], now[:2])
    module = exportable(model, graph.nodes("item"))
    made = torch.export.export(module, example, dynamic_shapes=tuple({0: batch} for _ in example)).module()
    query = Query(torch.full((3,), graph.pad), history, time, now=now)
    with scoring(model):
        wanted = model.score(query, graph.nodes("item"))
    torch.testing.assert_close(made(history, torch.zeros_like(history), time, now), wanted, rtol=0, atol=1e-5)


def test_hstu_learns_that_what_is_taken_hangs_on_the_pause():
    """After i3 and, days later, i0 comes i1 in the same minute, and i2 after a day; only a model that is told when can
    know which."""
    rows = []
    for user in range(24):
        pause = DAY if user % 2 else 60
        after = ("i2" if user % 2 else "i1", 9 * DAY + pause)
        rows += [(f"u{user}", *step) for step in (("i3", 0), ("i0", 9 * DAY), after)]
    graph, top = rated(rows), {}
    for times in ("now", "steps"):
        torch.manual_seed(0)
        model = models.build("hstu", graph, {"dim": 8, "length": 4, "dropout": 0.0, "times": times, "lr": 0.03})
        (objective,) = model.objectives(graph)
        optimizer = objective.optimizer(objective.parameters, objective.lr)
        for _ in range(60):
            (batch,) = objective.batches
            optimizer.zero_grad()
            objective.loss(batch).backward()
            optimizer.step()
        model.eval()
        top[times] = [int(scores(model, graph, [3, 0], [0, 9 * DAY], 9 * DAY + one).argmax()) for one in (60, DAY)]
    assert top["now"] == [1, 2] and top["steps"][0] == top["steps"][1]
