"""Neighborhoods as PyG sees them: HeteroData, and its own loaders and layers over this sampler."""

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.samplers import Edges, Neighbors
from kgrec.samplers.pyg import PyGSampler

RATED, IN = ("user", "rated", "item"), ("item", "has_genre", "genre")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def edges_of(data, edge_type, made) -> list[tuple[int, int]]:
    """(source, target) of a batch's edges in local numbers, after they are compared with those of the whole graph."""
    source, target = data[edge_type].edge_index
    ends = data[edge_type[0]].n_id[source], data[edge_type[2]].n_id[target]
    assert torch.equal(torch.stack(ends), made[edge_type].edge_index[:, data[edge_type].e_id])
    assert torch.equal(data[edge_type].time, made[edge_type].time[data[edge_type].e_id])
    return list(zip(*(end.tolist() for end in ends)))


def small() -> Graph:
    """Users 0 to 2, items 0 to 3 of a price and a colour."""
    rated = pd.DataFrame({"source": list("uuvvw"), "target": list("abbcc"), "time": [1, 2, 3, 4, 5]})
    nodes = {
        "user": pd.DataFrame({"id": list("uvw")}),
        "item": pd.DataFrame({"id": list("abcd"), "price": [1.0, 2.0, 3.0, 4.0], "colour": list("rgrg")}),
    }
    return Graph.from_frames(edges={RATED: rated}, nodes=nodes)


def test_hetero_by_hand():
    graph = small()
    around = Neighbors(graph, [-1, -1]).around(torch.tensor([0, 6]), seeded())  # user u, and item d, which has no edges
    data = around.hetero()
    assert data["user"].n_id.tolist() == [0, 1] and data["item"].n_id[0] == 3
    assert data["item"].n_id.sort().values.tolist() == [0, 1, 3]
    assert torch.equal(data["item"].price, graph.data["item"].price[data["item"].n_id])
    made = graph.both_ways().data
    assert data.edge_types == made.edge_types
    assert sorted(edges_of(data, RATED, made)) == [(0, 0), (0, 1), (1, 1)]
    assert sorted(edges_of(data, ("item", "rev_rated", "user"), made)) == [(0, 0), (1, 0)]
    assert data.validate()
    before = Neighbors(graph, [-1], before=True)(Edges(graph)[torch.tensor([2, 4])], seeded()).neighborhood.hetero()
    assert before["user"].batch.tolist()[:2] == [0, 1] and sorted(before[RATED].time.tolist()) == [2, 4]


def hetero_sage(data) -> nn.Module:
    from torch_geometric.nn import GraphSAGE, to_hetero

    torch.manual_seed(0)
    return to_hetero(GraphSAGE((-1, -1), 16, num_layers=2, out_channels=16), data.metadata())


def vectors(data, model, table: nn.ModuleDict) -> dict[str, torch.Tensor]:
    return model({name: table[name](data[name].n_id) for name in table}, data.edge_index_dict)


def tables(data) -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Embedding(data[name].num_nodes, 16) for name in data.node_types})


def test_node_loader_trains_graphsage(planted: Graph):
    from torch_geometric.loader import NodeLoader

    made = planted.both_ways().data
    genre = torch.empty(40, dtype=torch.long)
    genre[made[IN].edge_index[0]] = made[IN].edge_index[1]
    loader = NodeLoader(made, PyGSampler(planted, [10, 5]), input_nodes="item", batch_size=8, shuffle=True)
    model, table, head = hetero_sage(made), tables(made), nn.Linear(16, 5)
    with torch.no_grad():
        vectors(next(iter(loader)), model, table)  # lazy layers take their shapes
    optimizer = torch.optim.Adam([*model.parameters(), *table.parameters(), *head.parameters()], lr=0.02)
    losses = []
    for _ in range(8):
        for batch in loader:
            seeds = batch["item"].n_id[: batch["item"].batch_size]
            assert torch.equal(seeds, batch["item"].input_id)  # the input's own order
            assert sum(batch["item"].num_sampled_nodes) == len(batch["item"].n_id)
            for edge_type in batch.edge_types:
                found = edges_of(batch, edge_type, made)
                assert len(set(batch[edge_type].e_id.tolist())) == len(found) == sum(batch[edge_type].num_sampled_edges)
            out = head(vectors(batch, model, table)["item"][: len(seeds)])
            loss = functional.cross_entropy(out, genre[seeds])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[0] > 1.2 and sum(losses[-5:]) / 5 < 0.2


@pytest.mark.parametrize(("kind", "reached"), [("binary", 0.55), ("triplet", 0.45)])  # chance is log 2 = .69
def test_link_loader_trains_graphsage(planted: Graph, kind: str, reached: float):
    from torch_geometric.loader import LinkLoader
    from torch_geometric.sampler import NegativeSampling

    made = planted.both_ways().data
    loader = LinkLoader(
        made,
        PyGSampler(planted, [10, 5], exclude=True),
        edge_label_index=(RATED, made[RATED].edge_index),
        neg_sampling=NegativeSampling(kind, 1),
        batch_size=100,
        shuffle=True,
    )
    model, table = hetero_sage(made), tables(made)
    with torch.no_grad():
        vectors(next(iter(loader)), model, table)
    optimizer = torch.optim.Adam([*model.parameters(), *table.parameters()], lr=0.02)
    losses = []
    for _ in range(20):
        for batch in loader:
            out = vectors(batch, model, table)
            if kind == "binary":
                user, item = batch[RATED].edge_label_index
                score = (out["user"][user] * out["item"][item]).sum(1)
                loss = functional.binary_cross_entropy_with_logits(score, batch[RATED].edge_label)
                user, item = user[:100], item[:100]
            else:
                user, item, other = batch["user"].src_index, batch["item"].dst_pos_index, batch["item"].dst_neg_index
                loss = -functional.logsigmoid(
                    (out["user"][user] * (out["item"][item] - out["item"][other])).sum(1)
                ).mean()
            pairs = set(zip(batch["user"].n_id[user].tolist(), batch["item"].n_id[item].tolist()))
            assert pairs == set(zip(*made[RATED].edge_index[:, batch[RATED].input_id].tolist()))
            assert not pairs & set(edges_of(batch, RATED, made))
            assert not {(i, u) for u, i in pairs} & set(edges_of(batch, ("item", "rev_rated", "user"), made))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[0] > 0.6 and sum(losses[-6:]) / 6 < reached


def test_loaders_before_a_time():
    from torch_geometric.loader import LinkLoader, NodeLoader

    graph = small()
    made, sampler = graph.data, PyGSampler(graph, [-1], both_ways=False, before=True)
    nodes = torch.tensor([2, 1, 1])
    batch = next(iter(NodeLoader(made, sampler, ("item", nodes), input_time=torch.tensor([5, 2, 9]), batch_size=3)))
    assert batch["item"].n_id[:3].tolist() == [2, 1, 1] and batch["item"].batch.tolist() == [0, 1, 2]
    seen = batch["item"].batch[batch[RATED].edge_index[1]].tolist(), batch[RATED].time.tolist()
    assert sorted(zip(*seen)) == [(0, 4), (2, 2), (2, 3)]
    ends = made[RATED].edge_index
    links = LinkLoader(made, sampler, (RATED, ends), edge_label_time=made[RATED].time, batch_size=5)
    batch = next(iter(links))
    user, item = batch[RATED].edge_label_index
    assert torch.equal(torch.stack([batch["user"].n_id[user], batch["item"].n_id[item]]), ends)
    whose, time = batch["item"].batch[batch[RATED].edge_index[1]], batch[RATED].time
    assert sorted(zip(whose.tolist(), time.tolist())) == [(2, 2), (4, 4)]


def test_the_same_seed_gives_the_same_batches(planted: Graph):
    from torch_geometric.loader import NodeLoader

    def drawn(generator=None) -> list[list[int]]:
        sampler = PyGSampler(planted, [3], generator=generator)
        loader = NodeLoader(planted.both_ways().data, sampler, input_nodes="genre", batch_size=1)
        return [batch["item"].n_id.tolist() for batch in loader]

    assert drawn(seeded(3)) == drawn(seeded(3)) != drawn(seeded(4))
    torch.manual_seed(5)
    first = drawn()
    torch.manual_seed(5)
    assert drawn() == first


def test_what_cannot_be_sampled_is_refused(planted: Graph):
    from torch_geometric.loader import LinkLoader, NodeLoader

    with pytest.raises(KgrecError, match="exclude=True does not apply; leave out before or exclude"):
        PyGSampler(planted, [3], before=True, exclude=True)
    made = planted.both_ways().data
    twice = NodeLoader(made, PyGSampler(planted, [3]), ("item", torch.tensor([1, 2, 1])), batch_size=3)
    with pytest.raises(KgrecError, match="1 of 3 input nodes of a batch are repeated"):
        next(iter(twice))
    pairs = RATED, made[RATED].edge_index
    with pytest.raises(KgrecError, match="needs times; pass edge_label_time"):
        next(iter(LinkLoader(made, PyGSampler(planted, [3], before=True), pairs)))
    with pytest.raises(KgrecError, match="times are used only with before=True"):
        next(iter(LinkLoader(made, PyGSampler(planted, [3]), pairs, edge_label_time=made[RATED].time)))
