"""Masked edges: what is computed anew near them is what the whole model computes on a graph that never had them."""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.evaluation.ranking import Scorer
from kgrec.graph import Graph
from kgrec.model import scoring
from kgrec.nn.extended_model import extended_model
from kgrec.nn.masked_edges import Masks, masking_of
from kgrec.nn.masked_propagation import MaskedPropagation

USERS, ITEMS, ENTITIES = 9, 12, 6


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Interactions, two kinds of facts of which one has a stated inverse, and a hub."""
    rng = np.random.default_rng(3)
    rated = [(f"u{u}", f"i{i}", t) for t, (u, i) in enumerate(np.argwhere(rng.random((USERS, ITEMS)) < 0.4))]
    made = [(f"i{i}", f"e{e}") for i, e in np.argwhere(rng.random((ITEMS, ENTITIES)) < 0.3)]
    made += [(f"i{i}", "e0") for i in range(ITEMS) if (f"i{i}", "e0") not in made]
    kind = [(f"i{i}", f"e{i % 3}") for i in range(ITEMS)]
    both = ["source", "target"]
    found = Graph.from_frames(
        nodes={
            "user": pd.DataFrame({"id": [f"u{u}" for u in range(USERS)]}),
            "item": pd.DataFrame({"id": [f"i{i}" for i in range(ITEMS)]}),
            "entity": pd.DataFrame({"id": [f"e{e}" for e in range(ENTITIES)]}),
        },
        edges={
            ("user", "rated", "item"): pd.DataFrame(rated, columns=["source", "target", "time"]),
            ("item", "made_by", "entity"): pd.DataFrame(made, columns=both),
            ("entity", "made", "item"): pd.DataFrame([(e, i) for i, e in made], columns=both),
            ("item", "kind", "entity"): pd.DataFrame(kind, columns=both),
        },
        target=("user", "rated", "item"),
    )
    edges = dict(found.schema.edges)
    edges["entity", "made", "item"] = dataclasses.replace(edges["entity", "made", "item"], inverse_of="made_by")
    return dataclasses.replace(found, schema=dataclasses.replace(found.schema, edges=edges))


GRAPHS = {"layer_dims": (8, 6), "dim": 8, "relation_dim": 8}
SEQUENCES = {"layer_dims": (8, 6), "dim": 8, "relation_dim": 8, "length": 6}
CASES = {
    "kgat": ("kgat", GRAPHS),
    "three layers, cosine": ("kgat", {**GRAPHS, "layer_dims": (8, 6, 4), "cosine": True, "temperature": 0.5}),
    "sampled": ("kgat", {**GRAPHS, "fanouts": (2, 2), "loss": "bpr"}),
    "kgatseq": ("kgatseq", SEQUENCES),
    "kgatseq, gru, interactions": (
        "kgatseq",
        {**SEQUENCES, "encoder": "gruatt", "interactions": True, "item_bias": True},
    ),
    "kgatseq, bert4rec": ("kgatseq", {**SEQUENCES, "encoder": "bert4rec"}),
    "kgatseq, esasrec": ("kgatseq", {**SEQUENCES, "encoder": "esasrec"}),
    "lightgcn": ("lightgcn", {"dim": 8}),
    "xsimgcl": ("xsimgcl", {"dim": 8, "layers": 2}),
}


def built(name, config, graph):
    torch.manual_seed(0)
    model = models.build(name, graph, config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    with scoring(model):
        model.refresh()
    return model


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_the_model_on_a_graph_without_the_edges(graph, case):
    model = built(*CASES[case], graph)
    items, rng = graph.nodes("item"), np.random.default_rng(1)
    drawn = [np.sort(rng.choice(graph.num_edges, size, replace=False)) for size in (0, 1, 2, 3, 5, 30)]
    user = graph.range("user")[2]
    had = graph.csr.edge[graph.csr.ptr[user] : graph.csr.ptr[user + 1]].numpy()
    drawn += [had[:1], np.unique(np.concatenate([had[-1:], drawn[2]])), had]
    ptr = torch.tensor([0, *np.cumsum([len(one) for one in drawn])])
    masks = Masks(ptr, torch.from_numpy(np.concatenate(drawn)))
    with scoring(model):
        masking = masking_of(model, graph)
        query = Scorer(model, graph).query(torch.tensor([user]))
        found = masking.scores(query, masks, items)
        some = masking.scores(query, masks, items[[5, 2]])
    torch.testing.assert_close(some, found[:, [5, 2]], rtol=1e-4, atol=1e-5)
    for edges, scores in zip(drawn, found):
        kept = torch.ones(graph.num_edges, dtype=torch.bool)
        kept[edges] = False
        fewer = graph.where(kept)
        other, _ = extended_model(model, fewer)
        with scoring(other):
            wanted = other.score(Scorer(other, fewer).query(torch.tensor([user])), items)[0]
        torch.testing.assert_close(scores, wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[0], found[3], atol=1e-4)


@pytest.mark.parametrize("dearer", [0, 1_000_000])
def test_either_way_of_summing_gives_the_same(graph, monkeypatch, dearer):
    model = built(*CASES["three layers, cosine"], graph)
    masks = Masks(torch.arange(graph.num_edges + 1), torch.arange(graph.num_edges))
    with scoring(model):
        masking, query = masking_of(model, graph), Scorer(model, graph).query(torch.tensor([4]))
        usual = masking.scores(query, masks, graph.nodes("item"))
        monkeypatch.setattr("kgrec.nn.masked_propagation.DEARER", dearer)
        monkeypatch.setattr("kgrec.nn.masked_propagation.FEW", 0)
        torch.testing.assert_close(masking.scores(query, masks, graph.nodes("item")), usual, rtol=1e-4, atol=1e-5)
        one = masking.scores(query, masks, graph.nodes("item")[3:4])
    torch.testing.assert_close(one[:, 0], usual[:, 3], rtol=1e-4, atol=1e-5)


def test_what_no_edge_can_be_masked_of_says_so(graph):
    assert masking_of(models.build("mf", graph), graph) is None
    assert masking_of(models.build("ease", graph, {"facts": 0.5}), graph) is None


@pytest.mark.parametrize("case", ["kgat", "three layers, cosine", "kgatseq", "kgatseq, gru, interactions"])
def test_slopes_are_what_the_score_loses_to_first_order(graph, case):
    model, item = built(*CASES[case], graph), graph.nodes("item")[3]
    with scoring(model):
        masking = masking_of(model, graph)
        query = Scorer(model, graph).query(torch.tensor([2]))
        entries, score = masking.propagation.entries, masking.scores(query, Masks.none(), item[None])[0, 0]
        edge = torch.arange(graph.num_edges)[torch.tensor(masking.reads)[graph.relation]]
        slopes = masking.slopes(query, int(item))(edge)
        steps = graph.head[edge] == 2
        part = torch.zeros(len(edge))
        for row, one in enumerate(edge.tolist()):  # a thousandth of the edge is taken away, and the rest normalised
            kept = entries.value.clone()
            for entry in (masking.along.into_tail[one], masking.along.into_head[one]):
                if entry >= 0:
                    start, stop = entries.ptr[entries.row(entry)], entries.ptr[entries.row(entry) + 1]
                    kept[entry] *= 0.999
                    kept[start:stop] /= kept[start:stop].sum()
            part[row] = _score_with(masking, kept, query, item)
    falls = (float(score) - part) * 1000
    if not masking.propagates_interactions:
        falls, slopes = falls[~steps], slopes[~steps]
    assert np.corrcoef(falls.numpy(), slopes.numpy())[0, 1] > 0.98 and falls.abs().max() > 1e-3


def _score_with(masking, value, query, item):
    """The score of an item with other shares of attention."""
    other = MaskedPropagation(
        dataclasses.replace(masking.propagation.entries, value=value),
        masking.propagation.read[0],
        masking.propagation.layers,
        masking.propagation.join,
    )
    same = copy.copy(masking)
    same.propagation = other
    first = getattr(masking, "first", (0, 0))[1]
    vectors = other.vectors(torch.arange(masking.items.start, masking.items.stop) + first)
    same.item_vector = torch.nn.functional.pad(vectors, (0, 0, 0, len(masking.item_vector) - len(vectors)))
    return same.scores(query, Masks.none(), item[None])[0, 0]
