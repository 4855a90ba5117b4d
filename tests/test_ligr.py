"""eSASRec and BERT4Rec: a gated block worked out on paper, what is hidden, and a loss over two items."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.nn import AttentionConfig, LiGRBlock, NextItem, Paths, SwiGLU


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def graph_of(*paths: str) -> Graph:
    """Users who rate items a, b, ... one after the other."""
    rows = [(f"u{user}", item, step) for user, path in enumerate(paths) for step, item in enumerate(path)]
    return Graph.from_frames(
        edges={("user", "rated", "item"): pd.DataFrame(rows, columns=["source", "target", "time"])},
        nodes={"item": pd.DataFrame({"id": sorted({item for path in paths for item in path})})},
        target=("user", "rated", "item"),
    )


def zeroed(name: str, graph: Graph, **fields) -> NextItem:
    """A model all of whose weights are 0."""
    model = models.build(name, graph, {"dim": 2, "length": 4, "blocks": 1, "dropout": 0.0, **fields}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


# ---------------------------------------------------------------- the gated block


def test_swiglu_weighs_one_product_by_another():
    """x = (2, -1), W1 = (1, 1), W2 = (3, 0), W3 = (1, -2): SiLU(1) * 6 goes to both outputs."""
    layer = SwiGLU(2, 1, 0.0)
    with torch.no_grad():
        layer.first.weight.copy_(torch.tensor([[1.0, 1.0], [3.0, 0.0]]))
        layer.second.weight.copy_(torch.tensor([[1.0], [-2.0]]))
    hidden = 1 * sigmoid(1) * 6
    found = layer(torch.tensor([[2.0, -1.0]]))
    torch.testing.assert_close(found, torch.tensor([[hidden, -2 * hidden]]))


def test_a_gate_decides_how_much_of_a_layer_is_added():
    """One step (3, 1), whose norm is (1, -1). Its attention is over itself alone, so it is the value; values are twice
    the norm, and mixed by (1, 0; 0, 10): (2, -20). Both gates of attention are sigmoid(3), of the step as it came, not
    of its norm."""
    block = LiGRBlock(AttentionConfig(feedforward=1), 2, 0.0).eval()
    with torch.no_grad():
        for name, parameter in block.named_parameters():
            if not name.startswith("norm"):
                parameter.zero_()
        block.project.weight[4:] = 2 * torch.eye(2)
        block.mix.weight.copy_(torch.diag(torch.tensor([1.0, 10.0])))
        block.gate_attention.weight[:, 0] = 1
        block.gate_feedforward.bias.copy_(torch.tensor([-100.0, 0.0]))
        block.feed.first.weight[:2, 0] = 1
        block.feed.first.weight[2:, 1] = 1
        block.feed.second.weight.copy_(torch.eye(2))
    gate = sigmoid(3)
    after = [3 + gate * 2, 1 - gate * 20]
    normal = [1.0, -1.0]  # of two numbers, the first of which is the larger
    added = normal[0] * sigmoid(normal[0]) * normal[1]  # SwiGLU gives it to both; the second gate is 0 and 1 / 2
    found = block(torch.tensor([[3.0, 1.0]]), Paths(torch.tensor([1])), None)
    torch.testing.assert_close(found, torch.tensor([[after[0], after[1] + added / 2]]), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- losses of two items


def test_the_loss_of_two_items_by_hand():
    """Items a = (1, 0) and b = (0, 2). A step a has the vector (1, -1), the final norm of two numbers, so the scores
    are 1 and -2; b follows, which costs log(1 + e^3). One negative is drawn, each item with probability 1 / 2, so that
    sampled_softmax adds log 2 to a's score; b itself is no negative."""
    graph = graph_of("ab")
    a, b = graph.nodes("item").tolist()
    for loss, by_negative in (("softmax", {None: 3.0}), ("sampled_softmax", {a: 3 + math.log(2), b: -math.inf})):
        model = zeroed("esasrec", graph, loss=loss, negatives=1, reject=False, shared=False, in_batch=False)
        with torch.no_grad():
            model.item.weight[:2] = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
            model.encoder.norm.weight.fill_(1)
        (batch,) = model.objectives(graph)[0].batches
        assert batch.history.tolist() == [[a]] and batch.tail.tolist() == [[b]]
        for negative, ahead in by_negative.items():
            drawn = batch if negative is None else replace(batch, negative=torch.tensor([[[negative]]]))
            assert model.loss(drawn).item() == pytest.approx(math.log(1 + math.exp(ahead)), abs=1e-4)


# ---------------------------------------------------------------- hidden steps


def test_bert4rec_sees_both_sides_of_a_step_and_never_the_item_that_it_hides():
    graph = graph_of("abcd", "bcda", "cdab")
    torch.manual_seed(1)
    model = models.build("bert4rec", graph, {"dim": 8, "length": 4, "dropout": 0.0, "mask_probability": 0.5}).eval()
    (batch,) = model.objectives(graph)[0].batches
    assert batch.masked.any(1).all() and not batch.masked.all()
    assert (batch.history[batch.masked] == graph.pad).all()  # the answer is in `tail` alone
    assert (batch.tail[~batch.masked] == graph.pad).all()
    paths, steps = Paths(torch.tensor([4])), torch.randn(4, 8)
    before = model.encode(steps, paths)
    for place in range(4):
        other = steps.clone()
        other[place] = -2 * other[place].flip(0)
        assert (model.encode(other, paths) - before).abs().amax(1).gt(1e-6).all()


def test_a_user_of_one_step_is_left_out_of_training_and_served():
    graph = graph_of("abc", "b", "ca")
    model = models.build("bert4rec", graph, {"dim": 4, "length": 4})
    batches = model.objectives(graph)[0].batches
    assert sorted(batches.seeds.head.tolist()) == [graph.range("user").start + user for user in (0, 2)]
    items = graph.nodes("item")
    with torch.no_grad():
        history = torch.stack([items[1:2], torch.tensor([graph.pad])])  # one step, and none
        scores = model.eval().score(Query(torch.tensor([graph.pad, graph.pad]), history), items)
    assert scores.isfinite().all() and (scores[0] - scores[1]).abs().max() > 1e-6


def test_a_path_is_cut_to_its_last_steps():
    """Five steps are two rows of at most four, the second full; one row without windows."""
    graph = graph_of("abcda")
    for windows, wanted in ((True, [["a"], [*"bcda"]]), (False, [[*"bcda"]])):
        model = models.build("bert4rec", graph, {"dim": 4, "length": 4, "windows": windows, "mask_last": 1.0})
        (batch,) = model.objectives(graph)[0].batches
        rows = torch.where(batch.masked, batch.tail, batch.history) - graph.range("item").start
        assert sorted([["abcd"[item] for item in row if 0 <= item < 4] for row in rows.tolist()]) == sorted(wanted)


# ---------------------------------------------------------------- as a part of kgatseq


@pytest.mark.parametrize("encoder", ["sasrec", "esasrec", "bert4rec", "hstu", "gru4rec", "gruatt"])
def test_kgatseq_reads_vectors_of_the_graph_with_any_sequence_models_network(encoder: str, planted: Graph):
    """W is 0 at the start, so its items are their own vectors, and it scores as the sequence model alone."""
    torch.manual_seed(0)
    fields = {"dim": 8, "length": 5}
    model = models.build("kgatseq", planted, {**fields, "layer_dims": (4,), "encoder": encoder, "feedforward": 4})
    own = {"feedforward": 4} if encoder in ("sasrec", "bert4rec", "esasrec") else {}
    alone = models.build(encoder, planted, {**fields, **own})
    assert type(model.encoder) is type(alone.encoder)
    model.refresh()
    with torch.no_grad():
        alone.encoder.load_state_dict(model.encoder.state_dict())
        items = planted.nodes("item")
        alone.item.weight[:-1] = model.item.vector[:-1]
        if encoder == "bert4rec":
            alone.mask.copy_(model.mask)
        query = Query(torch.tensor([planted.pad]), items[None, [3, 1, 2]])
        torch.testing.assert_close(model.eval().score(query, items), alone.eval().score(query, items))


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"encoder": "mf"}, KgrecError, "encoder 'mf' is no sequence model with a network of its own; use one such as"),
        ({"encoder": "kgatseq"}, KgrecError, "encoder 'kgatseq' is no sequence model with a network of its own"),
        ({"encoder": "sasrek"}, UnknownName, "did you mean 'sasrec'?"),
        ({"encoder_config": {"depth": 2}}, UnknownName, "no field 'depth' of encoder 'sasrec'"),
        ({"encoder_config": {"dim": 2}}, KgrecError, "encoder_config has 'dim', which kgatseq has itself"),
    ],
)
def test_an_encoder_that_does_not_go_is_refused(fields: dict, error: type, said: str, planted: Graph):
    with pytest.raises(error, match=said.replace("?", r"\?")):
        models.build("kgatseq", planted, {"dim": 4, "layer_dims": (4,), **fields})


def test_weights_of_gru4rec_under_their_former_names_are_loaded(planted: Graph):
    model = models.build("gru4rec", planted, {"dim": 4})
    former = {name.removeprefix("encoder."): tensor + 1 for name, tensor in model.state_dict().items()}
    assert "gru.gru.weight_ih_l0" in former
    model.load_state_dict(former)
    assert torch.equal(model.encoder.gru.gru.weight_ih_l0, former["gru.gru.weight_ih_l0"])
