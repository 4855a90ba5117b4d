"""KGAT's parts against plain loops, and its sampled form against the whole graph."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from kgrec import models
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.nn import KGEncoder, TransR, grouped_product
from kgrec.nn.kg_encoder import softmax_in_rows
from kgrec.nn.propagation import Adjacency, row_sums, symmetric
from kgrec.run import train as run_train
from kgrec.samplers import Neighbors
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer


def frame(*pairs: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["source", "target"])


@pytest.fixture
def graph() -> Graph:
    """Three users, four items (one that nobody has, one without facts), two makers, and a relation between items."""
    return Graph.from_frames(
        nodes={
            "user": pd.DataFrame({"id": ["u0", "u1", "u2"]}),
            "item": pd.DataFrame({"id": ["i0", "i1", "i2", "i3"]}),
            "maker": pd.DataFrame({"id": ["m0", "m1", "m2"]}),
        },
        edges={
            ("user", "rated", "item"): frame(("u0", "i0"), ("u0", "i1"), ("u1", "i1"), ("u2", "i2"), ("u2", "i0")),
            ("item", "made_by", "maker"): frame(("i0", "m0"), ("i1", "m0"), ("i3", "m1")),
            ("item", "follows", "item"): frame(("i1", "i0")),
        },
        target=("user", "rated", "item"),
    )


def config(**fields: object) -> object:
    return models.find("kgat").Config(dim=4, layer_dims=(4, 3), relation_dim=5, message_dropout=0, **fields)


def encoder_of(graph: Graph, **fields: object) -> KGEncoder:
    torch.manual_seed(0)
    sampled = bool(fields.get("fanouts"))
    encoder = KGEncoder(graph, config(**fields), ("user", "item"), sampled=sampled).eval()
    with torch.no_grad():
        for parameter in encoder.transr.parameters():
            parameter.normal_(std=0.7)
        encoder.node.weight[:-1].normal_(std=0.7)
    return encoder


def by_loops(encoder: KGEncoder, graph: Graph) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """Final vectors of users and items, and each node's attention over its edges both ways, one node at a time."""
    both = graph.both_ways()
    edges = list(zip(both.head.tolist(), both.relation.tolist(), both.tail.tolist()))
    vector, attention = encoder.node.weight[:-1], {}
    for node in range(graph.num_nodes):
        energies = []
        for tail, relation, head in edges:
            if head == node:
                weight = encoder.transr.projection[relation]
                moved = torch.tanh(vector[node] @ weight + encoder.transr.relation[relation])
                energies.append((vector[tail] @ weight) @ moved)
        attention[node] = torch.stack(energies).softmax(0) if energies else torch.empty(0)
    outputs = [vector]
    for layer in encoder.aggregators:
        said = torch.zeros_like(vector)
        for node in range(graph.num_nodes):
            tails = [tail for tail, _, head in edges if head == node]
            for share, tail in zip(attention[node], tails):
                said[node] += share * vector[tail]
        first = functional.leaky_relu(layer.first(vector + said), 0.2)
        vector = first + functional.leaky_relu(layer.second(vector * said), 0.2)
        outputs.append(functional.normalize(vector, dim=-1))
    return torch.cat(outputs, -1)[:7], attention


@torch.no_grad()
def test_vectors_are_those_of_the_paper(graph: Graph) -> None:
    encoder = encoder_of(graph)
    encoder.attend()
    expected, attention = by_loops(encoder, graph)
    torch.testing.assert_close(encoder(), expected, rtol=1e-5, atol=1e-6)
    ptr = encoder.adjacency.ptr
    assert ptr.diff().tolist() == [2, 1, 2, 4, 4, 1, 1, 2, 1, 0]  # of the user's, items' and makers' edges both ways
    for node, weights in attention.items():
        mine = encoder.adjacency.value[ptr[node] : ptr[node + 1]]
        torch.testing.assert_close(mine.sort().values, weights.sort().values)


@torch.no_grad()
def test_before_attention_is_made_all_edges_of_a_node_weigh_the_same(graph: Graph) -> None:
    encoder = encoder_of(graph)
    assert encoder.adjacency.value[:6].tolist() == [0.5, 0.5, 1.0, 0.5, 0.5, 0.25]


@torch.no_grad()
def test_all_neighbors_and_nothing_excluded_give_the_vectors_of_the_whole_graph(graph: Graph) -> None:
    whole, sampled = encoder_of(graph), encoder_of(graph, fanouts=(-1, -1))
    sampled.load_state_dict(whole.state_dict())
    draw = Neighbors(graph, (-1, -1), exclude=False)
    for attend in (False, True):
        if attend:
            whole.attend()
            sampled.attend()
        expected = whole()
        around = draw.around(torch.arange(7), torch.Generator().manual_seed(0))
        torch.testing.assert_close(sampled.around(around), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(sampled(), expected, rtol=1e-5, atol=1e-6)  # edges backwards are read, not made


def test_gradients_of_both_forms_agree(graph: Graph) -> None:
    whole, sampled = encoder_of(graph), encoder_of(graph, fanouts=(-1, -1))
    sampled.load_state_dict(whole.state_dict())
    whole.attend()
    sampled.attend()
    around = Neighbors(graph, (-1, -1), exclude=False).around(torch.arange(7), torch.Generator().manual_seed(0))
    weight = torch.randn(7, whole.width, generator=torch.Generator().manual_seed(1))
    (whole() * weight).sum().backward()
    (sampled.around(around) * weight).sum().backward()
    for (name, one), other in zip(whole.named_parameters(), sampled.parameters()):
        if one.grad is None:
            assert name.startswith("transr")  # there is no gradient through the attention
            assert other.grad is None
        else:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_attention_of_a_sample_is_over_its_edges_alone(graph: Graph) -> None:
    """With one edge a node, whatever was drawn weighs 1: the neighbor's vector itself is aggregated."""
    encoder = encoder_of(graph, fanouts=(1, 1))
    encoder.attend()
    around = Neighbors(graph, (1, 1), exclude=False).around(torch.tensor([3]), torch.Generator().manual_seed(4))
    vector = encoder.node.weight[around.node]
    first = [encoder.aggregators[0](vector[t], vector[around.source[around.ptr[t]]]) for t in range(2)]
    row = int(around.source[0])
    expected = encoder.aggregators[1](first[0], first[row])
    torch.testing.assert_close(encoder.around(around)[0, -3:], functional.normalize(expected, dim=-1))


@pytest.mark.parametrize("name", ["gcn", "graphsage", "bi-interaction"])
def test_aggregators(name: str) -> None:
    from kgrec.nn import Aggregator

    layer = Aggregator(name, 2, 3, 0.0)
    own, said = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 3.0]])
    first, bias = layer.first.weight, layer.first.bias
    if name == "graphsage":
        expected = functional.leaky_relu(first @ torch.tensor([1.0, -2.0, 0.5, 3.0]) + bias, 0.2)
    else:
        expected = functional.leaky_relu(first @ torch.tensor([1.5, 1.0]) + bias, 0.2)
    if name == "bi-interaction":
        second = layer.second.weight @ torch.tensor([0.5, -6.0]) + layer.second.bias
        expected = expected + functional.leaky_relu(second, 0.2)
    torch.testing.assert_close(layer(own, said)[0], expected)


@pytest.mark.parametrize("rows", [7, 40, 4096])
def test_fused_aggregation_has_the_values_and_gradients_of_the_plain_one(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 nodes are six blocks of rows, the last one smaller than the others, or one block."""
    from kgrec.nn import Aggregator

    monkeypatch.setattr("kgrec.nn.aggregator.ROWS", rows)
    layer, generator = Aggregator("bi-interaction", 3, 2, 0.0), torch.Generator().manual_seed(0)
    own, said = (torch.randn(40, 3, generator=generator, requires_grad=True) for _ in range(2))
    inputs = (own, said, *layer.parameters())
    fused = layer(own, said)
    plain = functional.leaky_relu(layer.first(own + said), 0.2) + functional.leaky_relu(layer.second(own * said), 0.2)
    torch.testing.assert_close(fused, plain)
    found = torch.autograd.grad(fused.square().sum(), inputs, retain_graph=True)
    for one, other in zip(found, torch.autograd.grad(plain.square().sum(), inputs)):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_fused_dropout_keeps_the_mean_and_drops_gradients_alike() -> None:
    from kgrec.nn import Aggregator

    layer = Aggregator("bi-interaction", 4, 64, 0.25)
    own, said = torch.randn(2000, 4), torch.randn(2000, 4)
    plain, first = layer.eval()(own, said), layer.first.bias
    dropped = layer.train()(own, said)
    kept = dropped != 0
    assert abs(float(kept.float().mean()) - 0.75) < 0.01
    torch.testing.assert_close(dropped[kept], plain[kept] / 0.75)
    (gradient,) = torch.autograd.grad(dropped.sum(), first)
    inner = layer.first(own + said)
    expected = ((inner > 0).float() + 0.2 * (inner <= 0).float()) * kept / 0.75
    torch.testing.assert_close(gradient, expected.sum(0), rtol=1e-3, atol=1e-2)


def test_energies_of_transr() -> None:
    """|W_r e_h + e_r - W_r e_t|^2 with W_1 = [[1, 0], [0, 2]], e_1 = [1, 1]: h = [1, 1], t = [0, 1] or [2, 2]."""
    transr = TransR(2, 2, 2)
    with torch.no_grad():
        transr.projection[1] = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        transr.relation[1] = torch.tensor([1.0, 1.0])
        found = transr.energies(torch.tensor([[1.0, 1.0]]), torch.tensor([1]), torch.tensor([[[0.0, 1.0], [2.0, 2.0]]]))
    assert found.tolist() == [[2.0**2 + 1.0**2, 0.0 + 1.0]]


def test_grouped_product_and_its_gradients_are_those_of_one_product_a_row() -> None:
    """Groups of 0, 1, 33 and 70 rows: none, less than a block, and several blocks."""
    generator = torch.Generator().manual_seed(0)
    group = torch.tensor([1] + [2] * 33 + [3] * 70)[torch.randperm(104, generator=generator)]
    x = torch.randn(104, 3, generator=generator, requires_grad=True)
    weight = torch.randn(4, 3, 5, generator=generator, requires_grad=True)
    expected = torch.einsum("nd,ndk->nk", x, weight[group])
    torch.testing.assert_close(grouped_product(x, group, weight), expected)
    wanted = torch.autograd.grad(expected.square().sum(), (x, weight))
    found = torch.autograd.grad(grouped_product(x, group, weight).square().sum(), (x, weight))
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert grouped_product(x[:0], group[:0], weight).shape == (0, 5)


def test_sparse_products_have_the_gradients_of_dense_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(6, 9, generator=generator) * (torch.rand(6, 9, generator=generator) < 0.3)
    dense[2] = 0  # a row without entries
    row, column = dense.nonzero(as_tuple=True)
    ptr = functional.pad(torch.bincount(row, minlength=6).cumsum(0), (1, 0))
    x = torch.randn(9, 4, generator=generator, requires_grad=True)
    matrix = Adjacency(ptr, column, dense[row, column], 9)
    wanted = torch.autograd.grad((dense @ x).square().sum(), x)[0]
    for product in (matrix(x), row_sums(ptr, column, dense[row, column], x)):
        torch.testing.assert_close(product, dense @ x)
        torch.testing.assert_close(torch.autograd.grad(product.square().sum(), x)[0], wanted)
    matrix.set_values(2 * dense[row, column])
    torch.testing.assert_close(matrix(x), 2 * dense @ x)
    torch.testing.assert_close(torch.autograd.grad(matrix(x).square().sum(), x)[0], 4 * wanted)


def test_the_adjacency_of_interactions_is_normalised_on_both_sides(graph: Graph) -> None:
    """i1 has two users, u0 two items: their edge weighs 1 / sqrt(2 * 2); a pair that stands twice counts once."""
    twice = dataclasses.replace(
        graph.only("rated"),
        edge_index=graph.only("rated").edge_index[:, [0, 1, 2, 3, 4, 1]],
        relation_ptr=(0, 6),
        time=torch.zeros(6, dtype=torch.long),
        weight=torch.ones(6),
    )
    dense = symmetric(twice)(torch.eye(7))
    expected = torch.zeros(7, 7)
    for user, item, share in [(0, 3, 0.5), (0, 4, 0.5), (1, 4, 0.5**0.5), (2, 5, 0.5**0.5), (2, 3, 0.5)]:
        expected[user, item] = expected[item, user] = share
    torch.testing.assert_close(dense, expected)


def test_lightgcn_is_the_mean_of_its_layers(graph: Graph) -> None:
    model = models.build("lightgcn", graph, {"dim": 2, "layers": 2})
    own = torch.cat([model.user.table(), model.item.table()])
    matrix = symmetric(graph.only("rated"))(torch.eye(7))
    expected = (own + matrix @ own + matrix @ matrix @ own) / 3
    torch.testing.assert_close(torch.cat(model.encode()), expected)
    of_user, of_item = model.step_tables(graph.nodes("user"))
    torch.testing.assert_close(torch.cat([of_user.table(), of_item.table()]), expected)


def test_noise_of_xsimgcl_has_its_length_and_the_signs_of_the_vectors(graph: Graph) -> None:
    model = models.build("xsimgcl", graph, {"dim": 8, "layers": 1, "noise": 0.3})
    plain, noisy = model.eval().propagate()[0], model.train().propagate()[0]
    has_edges = plain.abs().sum(1) > 0
    torch.testing.assert_close((noisy - plain).norm(dim=-1)[has_edges], torch.full((6,), 0.3))
    assert (((noisy - plain) * plain)[has_edges] >= 0).all()


def test_softmax_in_rows_of_energies_that_lie_far_apart() -> None:
    found = softmax_in_rows(torch.tensor([1000.0, 0.0, -1000.0]), torch.tensor([0, 2, 3]))
    assert found.tolist() == [1.0, 0.0, 1.0]


def train(graph: Graph, epochs: int, **fields: object) -> tuple[torch.nn.Module, list[dict[str, float]]]:
    torch.manual_seed(0)
    model = models.build("kgat", graph, {"dim": 8, "layer_dims": (8, 4), "batch_size": 32, "lr": 0.01, **fields})
    training = TrainingConfig(epochs=epochs, device="cpu")
    return model, [e.losses for e in Trainer(model, graph, training, make_fabric(training)).epochs()]


@pytest.mark.parametrize("fields", [{}, {"sparse": True}])
def test_sampled_training_learns(planted: Graph, fields: dict[str, object]) -> None:
    model, found = train(planted, 8, fanouts=(5, 3), **fields)
    assert found[-1]["ranking"] < 0.8 * found[0]["ranking"]
    assert found[-1]["transr"] < 0.8 * found[0]["transr"]
    items = model.item_vector[:-1]
    assert items.isfinite().all() and items.abs().sum(1).min() > 0


def test_sparse_steps_move_the_rows_of_the_batch_alone(planted: Graph) -> None:
    model = models.build(
        "kgat", planted, {"dim": 8, "layer_dims": (8,), "fanouts": (1,), "sparse": True, "batch_size": 2}
    )
    before = model.encoder.node.weight.detach().clone()
    training = TrainingConfig(epochs=1, device="cpu")
    trainer = Trainer(model.train(), planted, training, make_fabric(training))
    batch = next(iter(trainer.objectives[0].batches))
    trainer._step(0, batch)
    moved = (model.encoder.node.weight != before).any(1).nonzero().squeeze(1)
    assert set(moved.tolist()) <= set(batch.neighborhood.node.tolist())
    assert len(moved) > 2
    state = trainer.state()
    assert any(name.endswith("encoder.node.weight/exp_avg") for name in state)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fanouts": (5,)}, "there are 1 fanouts and 2 layers"),
        ({"fanouts": (5, 5), "loss": "softmax"}, "a ranking loss with negatives is needed"),
        ({"sparse": True}, "set fanouts too"),
        ({"fanouts": (0, 5)}, r"fan-outs are \[0, 5\]"),
    ],
)
def test_settings_that_do_not_fit_are_refused(planted: Graph, fields: dict[str, object], message: str) -> None:
    with pytest.raises(KgrecError, match=message):
        models.build("kgat", planted, {"layer_dims": (8, 4), **fields}).objectives(planted)


@pytest.mark.parametrize("name", ["kgat", "kgatseq"])
def test_facts_that_are_not_about_items_are_named(name: str) -> None:
    graph = Graph.from_frames(
        edges={
            ("user", "rated", "item"): frame(("u0", "i0"), ("u0", "i1")),
            ("entity", "capital_of", "entity"): frame(("paris", "france"), ("rome", "italy")),
        }
    )
    with pytest.raises(KgrecError, match=r"none of the 2 facts is about an item.*'paris'.*are like 'i0', 'i1'"):
        models.build(name, graph)


def test_a_graph_without_facts_has_nothing_for_kgatseq(graph: Graph) -> None:
    with pytest.raises(KgrecError, match="no facts to learn from"):
        models.build("kgatseq", graph.only("rated"))
    assert models.build("kgat", graph.only("rated"), {"dim": 8}).encode()[0].isfinite().all()


def test_kgatseq_begins_as_the_sequence_model_alone(planted: Graph) -> None:
    """What the graph says is projected by zeros at the start: items' vectors are their own."""
    model = models.build("kgatseq", planted, {"dim": 8, "layer_dims": (8, 4)}).train()
    own = model.item.encoder.node.table()[60:100]
    assert torch.equal(model.item.vectors().table(), own)
    with torch.no_grad():
        model.item.project.weight.normal_()
    assert not torch.allclose(model.item.vectors().table(), own)


@pytest.mark.parametrize("name", ["kgat", "kgatseq", "cke", "transr", "distmult"])
def test_a_relation_of_one_triple_and_a_node_without_edges_are_no_hindrance(name: str, graph: Graph) -> None:
    """`follows` has one triple, i3 has no user and m2 nothing at all."""
    times = torch.arange(graph.num_edges)
    timed = dataclasses.replace(graph, time=times)
    torch.manual_seed(0)
    model = models.build(name, timed, {"dim": 4})
    training = TrainingConfig(epochs=2, device="cpu")
    found = [e.losses for e in Trainer(model, timed, training, make_fabric(training)).epochs()]
    assert all(np.isfinite(value) for losses in found for value in losses.values())
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("kgat", {}),
        ("kgat", {"fanouts": (5, 3), "layer_dims": (8, 4)}),
        ("kgat", {"fanouts": (5, 3), "layer_dims": (8, 4), "sparse": True}),
        ("kgatseq", {}),
        ("lightgcn", {}),
        ("xsimgcl", {}),
        ("cke", {}),
        ("transr", {}),
        ("rotate", {}),
    ],
)
def test_graph_models_train_on_cuda_too(name: str, fields: dict[str, object], planted: Graph) -> None:
    training = TrainingConfig(epochs=3, device="cuda")
    run = run_train(name, planted, split="last_n:1,valid=1", config={"dim": 8, **fields}, training=training)
    assert np.isfinite(run.metrics["test"]["ndcg@10"])
    assert next(run.model.parameters()).is_cuda


def test_grouped_product_of_16_bits_has_gradients_of_its_rows():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    weight = torch.tensor([[[1.0], [2.0]], [[4.0], [8.0]]], requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        product = grouped_product(x, torch.tensor([1, 0]), weight)
    product.sum().backward()
    assert product.flatten().tolist() == [20, 11]
    assert x.grad.tolist() == [[4, 8], [1, 2]] and weight.grad.flatten().tolist() == [3, 4, 1, 2]
