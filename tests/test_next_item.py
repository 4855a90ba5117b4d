"""Sequence models: packed paths by hand, what a step may see, what a score depends on, behaviours, and memory."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.nn import NextItem, Paths, SelfAttention, SelfAttentionConfig
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

NAMES = ("gru4rec", "gruatt", "sasrec", "esasrec", "hstu")
DIM, LENGTH, ITEMS = 8, 6, 12
DEEP = {
    **{name: {"layers": 2} for name in ("gru4rec", "gruatt")},
    **{name: {"blocks": 2, "heads": 2} for name in ("sasrec", "esasrec", "bert4rec", "hstu")},
}


def shop(items: int = ITEMS) -> Graph:
    rows = [(f"u{user}", f"i{(user * 5 + step) % items}", step) for user in range(4) for step in range(5)]
    rated = pd.DataFrame(rows, columns=["source", "target", "time"])
    nodes = {"item": pd.DataFrame({"id": [f"i{item}" for item in range(items)]})}
    return Graph.from_frames(edges={("user", "rated", "item"): rated}, nodes=nodes, target=("user", "rated", "item"))


def built(name: str, graph: Graph, **settings) -> NextItem:
    """A model whose weights are all drawn anew, far from the small ones of a start."""
    torch.manual_seed(0)
    model = models.build(name, graph, {"dim": DIM, "length": LENGTH, "dropout": 0.0, **DEEP[name], **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
        model.item.weight[-1] = 0
    return model


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def steps_of(number: int, seed: int = 0) -> Tensor:
    return torch.randn(number, DIM, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- Paths


def test_steps_are_packed_path_after_path_and_padded_on_the_right():
    paths, steps = Paths(torch.tensor([2, 0, 3])), torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    assert paths.width == 3 and paths.stop.tolist() == [2, 2, 5]
    assert paths.row.tolist() == [0, 0, 2, 2, 2] and paths.step.tolist() == [0, 1, 0, 1, 2]
    rows = paths.padded(steps)
    assert rows.squeeze(-1).tolist() == [[1, 2, 0], [0, 0, 0], [3, 4, 5]]
    assert torch.equal(paths.packed(rows), steps)
    assert paths.last(steps).tolist() == [[2], [0], [5]]


def test_paths_without_steps():
    paths = Paths(torch.tensor([0, 0]))
    assert paths.width == 0 and paths.last(torch.zeros(0, 3)).tolist() == [[0] * 3] * 2
    assert Paths(torch.zeros(0, dtype=torch.long)).width == 0


# ---------------------------------------------------------------- what a step may see


@pytest.mark.parametrize("training", [True, False])
def test_a_later_step_changes_nothing_before_it(name: str, training: bool):
    model = built(name, shop()).train(training)
    paths, steps = Paths(torch.tensor([5, 1, 4])), steps_of(10)
    whole = model.encode(steps, paths)
    assert whole.shape == (10, DIM)
    for place in range(10):
        changed = steps.clone()
        changed[place] = -2 * changed[place].flip(0)
        moved = (model.encode(changed, paths) - whole).abs().amax(1) > 1e-5
        stop = int(paths.stop[paths.row[place]])
        assert moved.tolist() == [place <= other < stop for other in range(10)]


def test_steps_of_one_path_are_the_same_among_others(name: str):
    model, steps = built(name, shop()), steps_of(10)
    together = model.encode(steps, Paths(torch.tensor([5, 1, 4])))
    for start, stop in ((0, 5), (5, 6), (6, 10)):
        alone = model.encode(steps[start:stop], Paths(torch.tensor([stop - start])))
        torch.testing.assert_close(together[start:stop], alone, rtol=1e-4, atol=1e-5)


def test_attention_over_each_steps_past_equals_a_plain_loop():
    model, steps, length = built("gruatt", shop()), steps_of(9), [4, 5]
    found = model.encode(steps, Paths(torch.tensor(length)))
    state, energy = model.encoder.states(steps, Paths(torch.tensor(length)))
    for start, stop in ((0, 4), (4, 9)):
        h, _ = model.encoder.gru.gru(steps[None, start:stop])
        torch.testing.assert_close(state[start:stop], h[0])
        for last in range(start, stop):
            weights = []
            for j in range(start, last + 1):
                inner = (
                    model.encoder.of_state.weight @ state[j]
                    + model.encoder.of_state.bias
                    + model.encoder.of_item.weight @ steps[j]
                )
                weights.append(torch.exp(model.encoder.energy.weight[0] @ torch.tanh(inner)))
                assert energy[j].item() == pytest.approx(math.log(weights[-1].item()), abs=1e-4)
            c = sum(weight * state[start + j] for j, weight in enumerate(weights)) / sum(weights)
            torch.testing.assert_close(found[last], c, rtol=1e-4, atol=1e-5)


def test_attention_of_energies_that_lie_far_apart_is_finite():
    """exp(-200), of the first step against the last, is no float32."""
    model, paths = built("gruatt", shop()), Paths(torch.tensor([3]))
    state, energy = steps_of(3), torch.tensor([[-100.0], [-99.0], [100.0]])
    model.encoder.states = lambda steps, paths: (state, energy)
    found = model.encode(state, paths)
    share = 1 / (1 + math.e)
    torch.testing.assert_close(found[:2], torch.stack([state[0], share * state[0] + (1 - share) * state[1]]))
    torch.testing.assert_close(found[2], state[2])


def histories(graph: Graph, *rows: list[int], width: int = 0) -> Tensor:
    """Local items, padded on the left to the longest or to `width`."""
    width = max(width, *map(len, rows))
    start = graph.range("item").start
    lists = [[graph.pad] * (width - len(row)) + [start + item for item in row] for row in rows]
    return torch.tensor(lists, dtype=torch.long)


def query_of(graph: Graph, *rows: list[int], width: int = 0, user: list[int] | None = None) -> Query:
    """Who did this: new users, where no others are named."""
    users = torch.tensor(user if user is not None else [graph.pad] * len(rows))
    return Query(users, histories(graph, *rows, width=width))


def test_attention_is_over_the_steps_that_are_read_and_makes_the_vector():
    graph = shop()
    model = built("gruatt", graph).eval()
    query = query_of(graph, [3, 1, 2, 0, 5, 4, 3, 11], [7, 7], [], [9])
    alpha = model.attention(query)
    assert alpha.shape == query.history.shape
    read = torch.tensor([[0] * 2 + [1] * 6, [0] * 6 + [1] * 2, [0] * 8, [0] * 7 + [1]]).bool()
    assert (alpha[read] > 0).all() and (alpha[~read] == 0).all()
    torch.testing.assert_close(alpha.sum(1), torch.tensor([1.0, 1.0, 0.0, 1.0]))
    steps, paths = model._of_query(model.item.vectors(), query)
    state = model.encoder.states(steps, paths)[0]
    torch.testing.assert_close(model.vector(query)[0], alpha[0, 2:] @ state[:6], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.vector(query)[1], alpha[1, 6:] @ state[6:8], rtol=1e-4, atol=1e-5)
    nobody = query_of(graph, [], [])
    assert model.attention(nobody).shape == (2, 0)
    assert built("sasrec", graph).attention(query) is None


def test_an_item_that_the_model_does_not_know_is_no_step(name: str):
    """One that was added after training, in the middle of a history: its number is past the last of the model's."""
    graph = shop()
    bigger, _ = graph.with_nodes({"item": pd.DataFrame({"id": ["new"]})})
    assert list(bigger.ranges) == ["item", "user"]  # so that users, and not items, have new numbers
    model = built(name, graph).eval()
    known, mixed = query_of(bigger, [3, 1, 2]), query_of(bigger, [3, ITEMS, 1, 2])
    torch.testing.assert_close(model.score(mixed, bigger.nodes("item")), model.score(known, bigger.nodes("item")))
    assert (model.score(known, bigger.nodes("item"))[:, ITEMS] == 0).all()
    if name == "gruatt":
        alpha = model.attention(mixed)
        assert alpha[0, 1] == 0
        torch.testing.assert_close(alpha[:, [0, 2, 3]], model.attention(known))


# ---------------------------------------------------------------- what a score depends on


def test_padding_and_longer_batches_change_no_score(name: str):
    graph = shop()
    model, items = built(name, graph).eval(), graph.nodes("item")
    alone = model.score(query_of(graph, [3, 1, 2]), items)
    for query in (
        query_of(graph, [3, 1, 2], width=20),
        query_of(graph, [3, 1, 2], [5, 4, 3, 2, 1, 0], []),
        query_of(graph, [3, 1, 2], list(range(12)), width=15),
    ):
        torch.testing.assert_close(model.score(query, items)[:1], alone, rtol=1e-4, atol=1e-5)


def test_only_the_last_steps_count(name: str):
    graph = shop()
    model, items = built(name, graph).eval(), graph.nodes("item")
    whole = model.score(query_of(graph, [8, 9, 3, 1, 2, 0, 5, 4], [0, 9, 3, 1, 2, 0, 5, 4]), items)
    last = model.score(query_of(graph, [3, 1, 2, 0, 5, 4]), items)
    torch.testing.assert_close(whole, last.expand(2, -1), rtol=1e-4, atol=1e-5)
    other = model.score(query_of(graph, [7, 1, 2, 0, 5, 4]), items)
    assert (other - last).abs().max() > 1e-4  # the sixth from the end does count


def test_order_counts(name: str):
    graph = shop()
    model, items = built(name, graph).eval(), graph.nodes("item")
    one, other = model.score(query_of(graph, [3, 1, 2], [1, 3, 2]), items)
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("settings", [{}, {"cosine": True, "temperature": 0.1, "item_bias": True}])
def test_a_new_user_is_served_as_a_known_one_of_the_same_history(name: str, settings: dict):
    graph = shop()
    model, items = built(name, graph, **settings).eval(), graph.nodes("item")
    query = query_of(graph, [3, 1, 2], [3, 1, 2], [3, 1, 2], user=[graph.range("user").start, graph.pad - 1, graph.pad])
    scores = model.score(query, items)
    torch.testing.assert_close(scores[1:], scores[:1].expand(2, -1))  # a product may round its rows apart


def test_a_score_is_a_product_or_a_cosine_over_the_temperature(name: str):
    graph = shop()
    query, items = query_of(graph, [3, 1, 2], []), graph.nodes("item")
    model = built(name, graph).eval()
    u, v = model.vector(query), model.item.weight[:-1]
    torch.testing.assert_close(model.score(query, items), u @ v.T / 1.0)
    model = built(name, graph, cosine=True, temperature=0.1, item_bias=True).eval()
    u, v, bias = model.vector(query), model.item.weight[:-1], model.item_bias.weight[:-1, 0]
    cosine = torch.nn.functional.cosine_similarity(u.unsqueeze(1), v, dim=-1)
    torch.testing.assert_close(model.score(query, items), cosine / 0.1 + bias)
    torch.testing.assert_close(model.score(query, items)[1], bias)  # one without history has the biases alone


def test_training_and_scoring_see_the_same(name: str):
    """The loss of a batch is the mean over its steps of -log softmax of the scores for the history up to there. SASRec,
    eSASRec and HSTU count places from a row's end, so of their rows the last step alone stands as in scoring; here
    they have one."""
    graph, counts = shop(), name in ("sasrec", "esasrec", "hstu")
    model = built(name, graph, loss="softmax", **({"length": 1, "windows": False} if counts else {})).eval()
    (batch,) = model.objectives(graph)[0].batches
    losses = []
    times = [None] * len(batch) if batch.time is None else batch.time
    for history, time, tail in zip(batch.history, times, batch.tail - graph.range("item").start):
        for last in range(1, len(history) + 1):
            own = None if time is None else time[None, :last]
            scores = model.score(Query(torch.tensor([graph.pad]), history[None, :last], own), graph.nodes("item"))
            losses.append(-scores.log_softmax(1)[0, tail[last - 1]].item())
    assert len(losses) == (4 if counts else 16)
    assert model.loss(batch).item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_heads_must_divide_the_dimensions():
    with pytest.raises(KgrecError, match="dim is 10 and heads is 4, but dim must be a multiple of heads"):
        models.build("sasrec", shop(), {"dim": 10, "heads": 4})


def test_sasrec_normalises_before_or_after():
    graph = shop()
    before, after = built("sasrec", graph), built("sasrec", graph, pre_norm=False)
    steps, paths = steps_of(4), Paths(torch.tensor([4]))
    assert (before.encode(steps, paths) - after.encode(steps, paths)).abs().max() > 0.1
    last = after.encoder.blocks[-1].norm_feedforward  # the last thing done: each step has its mean and spread
    normal = (after.encode(steps, paths) - last.bias) / last.weight
    torch.testing.assert_close(normal.mean(1), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(normal.var(1, unbiased=False), torch.ones(4), rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------- hidden steps


def bert(graph: Graph, **fields) -> NextItem:
    """BERT4Rec with weights that are drawn far from the small ones of a start."""
    return built("bert4rec", graph, **fields).eval()


@pytest.mark.parametrize("causal", [True, False])
def test_attention_equals_torchs_over_each_path_alone(causal: bool):
    """One block without a norm's doing: every path alone through softmax(q k' / sqrt(d)) v, by plain loops."""
    torch.manual_seed(2)
    attention = SelfAttention(SelfAttentionConfig(blocks=1, heads=2), DIM, 5, 0.0, 0.5, causal=causal).eval()
    (block,) = attention.blocks
    length = [3, 0, 1, 5]
    x, paths = steps_of(9), Paths(torch.tensor(length))
    found = block.attend(x, paths, None if causal else paths.seen)
    start = 0
    for steps in length:
        own = x[start : start + steps]
        query, key, value = (own @ block.project.weight.T + block.project.bias).split(DIM, 1)
        for at in range(steps):
            visible = range(at + 1) if causal else range(steps)
            mixed = []
            for head in (slice(0, 4), slice(4, 8)):
                energy = torch.stack([query[at, head] @ key[other, head] / 2.0 for other in visible])  # sqrt(4)
                share = energy.exp() / energy.exp().sum()
                mixed.append(sum(share[n] * value[other, head] for n, other in enumerate(visible)))
            expected = block.mix.weight @ torch.cat(mixed) + block.mix.bias
            torch.testing.assert_close(found[start + at], expected, rtol=1e-4, atol=1e-5)
        start += steps


def test_attention_that_is_not_causal_sees_the_whole_path_and_no_other():
    attention = bert(shop()).encoder
    paths, steps = Paths(torch.tensor([5, 0, 1, 4])), steps_of(10)
    whole = attention(steps, paths)
    for place in range(10):
        changed = steps.clone()
        changed[place] = -2 * changed[place].flip(0)
        moved = (attention(changed, paths) - whole).abs().amax(1) > 1e-5
        assert moved.tolist() == [int(paths.row[place]) == int(row) for row in paths.row]
    for start, stop in ((0, 5), (5, 6), (6, 10)):
        alone = attention(steps[start:stop], Paths(torch.tensor([stop - start])))
        torch.testing.assert_close(whole[start:stop], alone, rtol=1e-4, atol=1e-5)


def test_a_path_without_steps_gives_no_gradient_that_is_not_a_number():
    attention, steps = bert(shop()).encoder.train(), steps_of(3).requires_grad_()
    attention(steps, Paths(torch.tensor([0, 3, 0]))).sum().backward()
    assert steps.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in attention.parameters())


def test_a_hidden_step_is_the_mask_and_its_item_the_answer():
    """The loss of a batch by hand: each path alone, with `mask` in its hidden places, and -log softmax of the products
    with the items there."""
    graph = shop()
    model = bert(graph)
    (objective,) = model.objectives(graph)
    (batch,) = objective.batches
    assert batch.masked.any(1).all() and (batch.history[batch.masked] == graph.pad).all()
    table, losses = model.item.weight[:-1], []
    for history, masked, tail in zip(batch.history, batch.masked, batch.tail - graph.range("item").start):
        steps = torch.stack([model.mask if hidden else model.item(node) for node, hidden in zip(history, masked)])
        vector = model.encode(steps, Paths(torch.tensor([len(steps)])))
        losses += [-(table @ vector[at]).log_softmax(0)[tail[at]].item() for at in masked.nonzero().squeeze(1)]
    assert len(losses) == int(batch.masked.sum())
    assert model.loss(batch).item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_to_serve_a_hidden_step_follows_the_history():
    graph = shop()
    model, items = bert(graph), graph.nodes("item")
    long = [8, 9, 3, 1, 2, 0, 5, 4]
    query = query_of(graph, long, [7, 7], [])
    for row, read in zip(model.score(query, items), (long[-5:], [7, 7], [])):  # the sixth is hidden
        steps = torch.cat([model.item(graph.nodes("item")[torch.tensor(read, dtype=torch.long)]), model.mask[None]])
        vector = model.encode(steps, Paths(torch.tensor([len(steps)])))[-1]
        torch.testing.assert_close(row, model.item.weight[:-1] @ vector, rtol=1e-4, atol=1e-5)
    alone = bert(graph, length=1)  # which reads no history
    scores = alone.score(query, items)
    torch.testing.assert_close(scores[0], scores[2])
    with pytest.raises(KgrecError, match="BERT4Rec adds a hidden step, so its weights"):
        model.spread(query, lambda steps, paths: steps[:, 0])


@pytest.mark.parametrize("settings", [{}, {"loss": "sampled_softmax", "negatives": 40, "reject": False}])
def test_a_masked_model_learns_what_comes_next(settings: dict):
    """Everybody goes three items on at each step, from anywhere."""
    rows = [(f"u{user}", f"i{(user + 3 * step) % 10}", step) for user in range(100) for step in range(6)]
    rated = pd.DataFrame(rows, columns=["source", "target", "time"])
    items = pd.DataFrame({"id": [f"i{item}" for item in range(10)]})
    graph = Graph.from_frames(edges={("user", "rated", "item"): rated}, nodes={"item": items})
    config = TrainingConfig(epochs=60, device="cpu")
    torch.manual_seed(0)
    fields = {"dim": 16, "length": 6, "dropout": 0.0, "lr": 0.01, "batch_size": 25, "init_std": 0.1, "pre_norm": False}
    model = models.build("bert4rec", graph, {**fields, "mask_probability": 0.4, "mask_last": 0.3, **settings})
    for _ in Trainer(model, graph, config, make_fabric(config)).epochs():
        pass
    model.eval()
    paths = [[(start + 3 * step) % 10 for step in range(5)] for start in range(10)]
    with torch.no_grad():
        best = model.score(query_of(graph, *paths), graph.nodes("item")).argmax(1)
    assert best.tolist() == [(path[-1] + 3) % 10 for path in paths]


# ---------------------------------------------------------------- several behaviours


def behaving(seed: int = 0) -> Graph:
    """60 users who four times view any item and then rate the third after it: what was viewed last says what comes, and
    nothing that was rated does."""
    rng = np.random.default_rng(seed)
    rated, viewed = [], []
    for user in range(60):
        for step in range(4):
            item = int(rng.integers(10))
            viewed.append((f"u{user}", f"i{item}", 2 * step))
            rated.append((f"u{user}", f"i{(item + 3) % 10}", 2 * step + 1))
    columns = ["source", "target", "time"]
    edges = {
        ("user", "rated", "item"): pd.DataFrame(rated, columns=columns),
        ("user", "viewed", "item"): pd.DataFrame(viewed, columns=columns),
        ("item", "rated", "item"): pd.DataFrame({"source": ["i0"] * 2, "target": ["i1", "i2"]}),  # a namesake
    }
    items = pd.DataFrame({"id": [f"i{item}" for item in range(10)]})
    return Graph.from_frames(edges=edges, nodes={"item": items}, target=("user", "rated", "item"))


def trained(name: str, graph: Graph, **settings) -> NextItem:
    torch.manual_seed(0)
    fields = {"dim": 16, "length": 8, "dropout": 0.0, "lr": 0.02, "batch_size": 20, **settings}
    model, config = models.build(name, graph, fields), TrainingConfig(epochs=25, device="cpu")
    losses = [epoch.losses for epoch in Trainer(model, graph, config, make_fabric(config)).epochs()]
    model.last_loss = next(iter(losses[-1].values()))
    return model.eval()


def test_other_behaviours_are_read_and_told_apart(name: str):
    graph = behaving()
    model = trained(name, graph, behaviours=["viewed"], loss="softmax")
    assert model.behaviours == ("rated", "viewed")
    assert model.last_loss < 0.9 < trained(name, graph, loss="softmax").last_loss  # log 10 is 2.3
    history = histories(graph, [4, 2, 5, 7], [4, 2, 5, 7])
    behaviour = torch.tensor([[1, 1, 0, 1], [1, 1, 0, 0]])  # the last step, item 7, is viewed or rated
    query = Query(torch.tensor([graph.pad] * 2), history, behaviour=behaviour)
    with torch.no_grad():
        scores = model.score(query, graph.nodes("item"))
        assert scores[0].argmax() == 0  # (7 + 3) modulo 10
        assert (scores[0] - scores[1]).abs().max() > 0.1
        bare = model.score(Query(query.user, history), graph.nodes("item"))  # steps of no known behaviour are ratings
        all_rated = model.score(Query(query.user, history, behaviour=torch.zeros_like(history)), graph.nodes("item"))
    assert torch.equal(bare, all_rated)


def test_a_model_of_the_target_alone_reads_no_namesake(name: str):
    graph = behaving()
    model = models.build(name, graph, {"dim": 4})
    batches = model.objectives(graph)[0].batches
    assert model.behaviours == ("rated",) and len(batches.seeds) == 60
    assert sum(int((batch.tail != graph.pad).sum()) for batch in batches) == 60 * 3


def test_wrong_behaviours_are_refused(planted: Graph):
    with pytest.raises(UnknownName, match="no relation 'watched'"):
        models.build("gru4rec", planted, {"behaviours": ["watched"]})
    with pytest.raises(
        KgrecError, match=r"behaviours: item-has_genre-genre cannot be read as history; .* from user to item"
    ):
        models.build("gru4rec", planted, {"behaviours": ["has_genre"]})


# ---------------------------------------------------------------- training


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "bce", "negatives": 3},
        {"loss": "sampled_softmax", "negatives": 5},
        {"loss": "sampled_softmax", "negatives": 5, "shared": True, "in_batch": True, "alpha": 0.5},
        {"loss": "bpr_max", "negatives": 5, "shared": True, "in_batch": True},
        {"loss": "ccl", "cosine": True, "negatives": 4},
        {"loss": "gbce", "negatives": 4, "behaviours": ["viewed"], "item_bias": True},
        {"loss": "bpr", "negatives": 4, "hard": 2, "behaviours": ["viewed"], "gap": 1, "windows": False},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_every_loss_falls(settings: dict):
    graph = behaving()
    config = TrainingConfig(epochs=8, device="cpu")
    torch.manual_seed(0)
    fields = {"dim": 16, "length": 8, "dropout": 0.1, "lr": 0.02, "batch_size": 20, **settings}
    model = models.build("gru4rec", graph, fields)
    losses = [next(iter(e.losses.values())) for e in Trainer(model, graph, config, make_fabric(config)).epochs()]
    assert losses[-1] < losses[0] - 0.01


STEP = """
import numpy as np, pandas as pd
from kgrec import models
from kgrec.graph import Graph
users, items, length = 12, 100_000, 200
rng = np.random.default_rng(0)
rated = pd.DataFrame({
    "source": np.repeat(np.arange(users), length + 1).astype(str),
    "target": rng.integers(items, size=users * (length + 1)).astype(str),
    "time": np.tile(np.arange(length + 1), users),
})
graph = Graph.from_frames(
    edges={("user", "rated", "item"): rated}, nodes={"item": pd.DataFrame({"id": np.arange(items).astype(str)})}
)
model = models.build("sasrec", graph, {"dim": 64, "length": length, "batch_size": users, "loss": "softmax"})
objective, = model.objectives(graph)
optimizer = objective.optimizer(objective.parameters, objective.lr)
before = peak()
"""


def test_a_full_softmax_over_long_paths_and_many_items_trains_in_little_memory(megabytes_of):
    """A step over 12 paths of 200 items, among 100,000 of them: all 2,400 x 100,000 logits would be 916 MB, and their
    gradient as much again. The batch of 128 paths (9,766 MB each) that is the default takes ten times as long, too
    long for a test, and rose by 457 MB: a chunk of logits is held, and no more of them for more paths."""
    step = "batch, = objective.batches\nobjective.loss(batch).backward()\noptimizer.step()"
    assert megabytes_of(STEP, step) < 160
