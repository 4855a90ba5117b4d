"""Neighborhoods by hand and by chance, of the compiled and of the vectorised form alike; batches drawn ahead."""

import threading
from collections import Counter
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph import NO_TIME, Graph
from kgrec.graph.schema import EdgeSchema
from kgrec.samplers import (
    Batch,
    CombinedLoader,
    Directions,
    Edges,
    Loader,
    Negatives,
    Neighborhood,
    Neighbors,
    Nodes,
    Stream,
)

RATED, VIEWED, IN = ("user", "rated", "item"), ("user", "viewed", "item"), ("item", "in", "genre")

FORMS = ["compiled", "vectorised"]


def sampler(form: str, graph: Graph, fanouts: list[int], **options) -> Neighbors:
    """The stage in either form, on the CPU."""
    stage = Neighbors(graph, fanouts, **options)
    if form == "vectorised":
        stage._compiled = stage._vectorised
    return stage


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def edges_of(around: Neighborhood) -> list[tuple[int, int, int]]:
    """(source, relation, target) of all edges, flat, in order."""
    source, target = around.node[around.edge_index]
    return sorted(zip(source.tolist(), around.relation.tolist(), target.tolist()))


def shop() -> Graph:
    """Users 0 to 3 (3: nothing), items 4 to 7, genres 8 and 9; relation 0 rated, 1 viewed, 2 in; 3 to 5 backwards."""
    pairs = {RATED: [(0, 0), (0, 1), (1, 1), (1, 2)], VIEWED: [(0, 1), (2, 2)]}
    frames = {
        name: pd.DataFrame({"source": [f"u{u}" for u, _ in rows], "target": [f"i{i}" for _, i in rows]})
        for name, rows in pairs.items()
    }
    frames[RATED]["time"] = [10, 20, 30, 40]
    frames[VIEWED]["time"] = [15, 35]
    frames[IN] = pd.DataFrame({"source": ["i0", "i1", "i2", "i3"], "target": ["a", "a", "b", "b"]})
    nodes = {
        "user": pd.DataFrame({"id": [f"u{u}" for u in range(4)]}),
        "item": pd.DataFrame({"id": [f"i{i}" for i in range(4)], "price": [1.0, 2.0, 3.0, 4.0]}),
        "genre": pd.DataFrame({"id": ["a", "b"]}),
    }
    return Graph.from_frames(edges=frames, nodes=nodes)


def random_graph(seed: int = 0, nodes: int = 30, edges: int = 200) -> Graph:
    """Two relations among nodes of one type and one to another, loops and repeated edges among them; few times."""
    rng = np.random.default_rng(seed)
    types = [("a", "knows", "a"), ("a", "likes", "b"), ("b", "is", "a")]
    frames = {}
    for number, edge_type in enumerate(types):
        ends = rng.integers(0, nodes, (2, edges))
        ends[0] = ends[0] ** 2 // nodes  # low numbers are hubs
        frame = pd.DataFrame({"source": ends[0].astype(str), "target": ends[1].astype(str)})
        if number < 2:
            frame["time"] = rng.integers(0, 9, edges)
        frames[edge_type] = frame
    ids = pd.DataFrame({"id": [str(n) for n in range(nodes)]})
    return Graph.from_frames(edges=frames, nodes={"a": ids, "b": ids})


# ---------------------------------------------------------------- ways


def stated() -> Graph:
    """A graph that states the inverse of `in`."""
    graph = shop()
    back = graph.only("in").reversed()
    edges = {**graph.schema.edges, ("genre", "holds", "item"): EdgeSchema(inverse_of="in")}
    return replace(
        graph,
        schema=replace(graph.schema, edges=edges),
        edge_index=torch.cat([graph.edge_index, back.edge_index], 1),
        relation_ptr=(*graph.relation_ptr, graph.num_edges + back.num_edges),
        time=torch.cat([graph.time, back.time]),
        weight=torch.cat([graph.weight, torch.full((back.num_edges,), 2.0)]),
    )


@pytest.mark.parametrize("graph", [shop(), stated(), stated().only("in", "holds"), shop().only("rated")])
def test_edges_both_ways_are_those_of_the_graph_both_ways(graph: Graph):
    made, seeds = graph.both_ways(), Edges(graph, both_ways=True)
    assert len(seeds) == made.num_edges
    index = torch.randperm(made.num_edges, generator=seeded())
    here, there = seeds[index], Edges(made)[index]
    for name in ("head", "tail", "relation", "time", "weight", "edge"):
        assert torch.equal(getattr(here, name), getattr(there, name)), name
    assert seeds.directions.edge_types == made.edge_types and seeds.directions.relation_ptr == made.relation_ptr


def test_labels_go_both_ways():
    rows = pd.DataFrame({"source": ["u", "v"], "target": ["a", "b"], "click": [1.0, 0.0]})
    graph = Graph.from_frames(edges={RATED: rows}, features={"rated": {"click": "numeric"}})
    assert Edges(graph, "click", both_ways=True)[torch.arange(4)].label.tolist() == [1, 0, 1, 0]


def test_ways_refuse_a_name_that_is_taken():
    frame = pd.DataFrame({"source": ["u"], "target": ["a"]})
    back = pd.DataFrame({"source": ["a"], "target": ["u"]})
    graph = Graph.from_frames(edges={RATED: frame, ("item", "rev_rated", "user"): back})
    with pytest.raises(KgrecError, match=r"already has relations 'rev_rated'.*; mark each with inverse_of"):
        Directions(graph)
    assert Directions(graph, both=False).num_edges == 2


# ---------------------------------------------------------------- by hand


@pytest.mark.parametrize("form", FORMS)
def test_two_hops_by_hand(form: str):
    around = sampler(form, shop(), [-1, -1]).around(torch.tensor([8, 0, 10, 8]), seeded())  # user 0, genre a, a pad
    assert around.node[:2].tolist() == [0, 8] and around.hops == (2, 4, 5) and around.edges == (0, 5, 11)
    assert sorted(around.node[2:4].tolist()) == [4, 5] and around.node[4] == 1
    assert around.find(torch.tensor([[8, 10], [0, 4]]).T).tolist() == [[1, 0], [-1, -1]]
    of_seeds = [(4, 2, 8), (4, 3, 0), (5, 2, 8), (5, 3, 0), (5, 4, 0)]
    of_items = [(0, 0, 4), (8, 5, 4), (0, 0, 5), (0, 1, 5), (1, 0, 5), (8, 5, 5)]
    assert edges_of(around.trim(1)) == sorted(of_seeds)
    assert edges_of(around) == sorted(of_seeds + of_items)


@pytest.mark.parametrize("form", FORMS)
def test_one_way_reads_only_edges_into_a_node(form: str):
    around = sampler(form, shop(), [-1, -1], both_ways=False).around(torch.tensor([0, 8]), seeded())
    items = [(0, 0, 4), (0, 0, 5), (1, 0, 5), (0, 1, 5)]
    assert edges_of(around) == sorted([(4, 2, 8), (5, 2, 8), *items])


@pytest.mark.parametrize("form", FORMS)
def test_stated_inverses_are_not_doubled(form: str):
    graph = stated()
    around = sampler(form, graph, [-1]).around(torch.tensor([5, 8]), seeded())
    assert edges_of(around) == [(0, 0, 5), (0, 1, 5), (1, 0, 5), (4, 2, 8), (5, 2, 8), (8, 3, 5)]
    assert around.weight[around.relation == 3].tolist() == [2.0]


@pytest.mark.parametrize("form", FORMS)
def test_nodes_without_edges_have_none_and_no_nodes_no_neighborhood(form: str):
    around = sampler(form, shop(), [2, 2]).around(torch.tensor([3]), seeded())
    assert around.node.tolist() == [3] and around.hops == (1, 1, 1) and around.ptr.tolist() == [0, 0]
    assert around.edge.dtype == around.source.dtype == around.relation.dtype == torch.long
    nothing = sampler(form, shop(), [2, 2]).around(torch.tensor([], dtype=torch.long), seeded())
    assert nothing.hops == (0, 0, 0) and nothing.ptr.tolist() == [0] and len(nothing.edge) == 0
    assert nothing.find(torch.tensor([1])).tolist() == [-1]
    bare = shop().where(torch.zeros(10, dtype=torch.bool))
    assert sampler(form, bare, [2, -1]).around(torch.tensor([1, 5]), seeded()).hops == (2, 2, 2)


@pytest.mark.parametrize("form", FORMS)
def test_edges_between_seed_pairs_are_not_seen(form: str):
    graph = shop()
    batch = Edges(graph)[torch.tensor([1, 3])]  # user 0 rated item 5 (and viewed it), user 1 rated item 6
    stage = sampler(form, graph, [-1])
    around = stage(replace(batch, negative=torch.tensor([[7], [4]])), seeded()).neighborhood
    assert around.node[: around.hops[0]].tolist() == [0, 1, 4, 5, 6, 7]
    assert edges_of(around) == sorted(
        [(4, 3, 0), (5, 3, 1), (0, 0, 4), (8, 5, 4), (1, 0, 5), (8, 5, 5), (2, 1, 6), (9, 5, 6), (9, 5, 7)]
    )
    seen = sampler(form, graph, [-1], exclude=False)(batch, seeded()).neighborhood
    assert {(5, 3, 0), (5, 4, 0), (0, 0, 5), (0, 1, 5), (6, 3, 1), (1, 0, 6)} <= set(edges_of(seen))


@pytest.mark.parametrize("form", FORMS)
def test_only_what_was_before_is_seen_by_hand(form: str):
    graph = shop()
    batch = Edges(graph)[torch.tensor([3, 1, 6])]  # user 1 rated item 6 at 40; user 0 rated item 5 at 20; item 4 in a
    around = sampler(form, graph, [-1, -1], before=True)(replace(batch, negative=torch.tensor([7])), seeded())
    around = around.neighborhood
    seeds = list(zip(around.example.tolist(), around.node.tolist()))[: around.hops[0]]
    assert seeds == [(0, 1), (0, 6), (0, 7), (1, 0), (1, 5), (1, 7), (2, 4), (2, 7), (2, 8)]
    assert around.find(batch.head).tolist() == [0, 3, 6] and around.find(batch.tail[:, None]).tolist() == [
        [1],
        [4],
        [8],
    ]
    assert around.find(torch.tensor([7, 0]), torch.tensor([2, 0])).tolist() == [7, -1]
    source, target = around.node[around.edge_index]
    whose = around.example[around.target]
    assert torch.equal(around.example[around.source], whose)
    found = [
        sorted(
            (s, r, t) for w, s, r, t in zip(whose, source.tolist(), around.relation.tolist(), target.tolist()) if w == e
        )
        for e in range(3)
    ]
    # before 20, user 0 rated item 4 (10) and viewed item 5 (15): as a pair's edge that is left out
    first = [(4, 3, 0), (8, 5, 5), (9, 5, 7)]
    assert found[1] == sorted([*first, (0, 0, 4), (8, 5, 4), (4, 2, 8), (5, 2, 8), (6, 2, 9), (7, 2, 9)])
    # a fact knows no time before it: other facts alone are seen
    assert found[2] == sorted([(9, 5, 7), (5, 2, 8), (8, 5, 5), (6, 2, 9), (7, 2, 9)])
    # before 40: user 1 rated 5 (30), user 2 viewed 6 (35)
    assert {(5, 3, 1), (2, 1, 6), (9, 5, 6), (1, 0, 5), (0, 0, 5), (0, 1, 5)} <= set(found[0])
    assert not {(6, 3, 1), (1, 0, 6)} & set(found[0])


@pytest.mark.parametrize("form", FORMS)
def test_nothing_of_the_future_is_seen(form: str):
    graph = random_graph()
    timed = (graph.time != NO_TIME).nonzero().squeeze(1)
    batch = Edges(graph)[timed[torch.randperm(len(timed), generator=seeded())[:64]]]
    around = sampler(form, graph, [3, 3, 3], before=True)(batch, seeded()).neighborhood
    time = around.time
    assert (time != NO_TIME).any() and (time < batch.time[around.example[around.target]]).all()


@pytest.mark.parametrize("form", FORMS)
def test_around_nodes_at_a_time(form: str):
    stage = sampler(form, shop(), [-1], before=True)
    around = stage.around(torch.tensor([1, 0, 1]), seeded(), time=torch.tensor([35, 15, 99]))
    assert around.node[:3].tolist() == [1, 0, 1] and around.example[:3].tolist() == [0, 1, 2]
    assert around.ptr.diff().tolist() == [1, 1, 2]
    with pytest.raises(KgrecError, match="need a time for each node; pass time"):
        stage.around(torch.tensor([1]), seeded())
    with pytest.raises(KgrecError, match="use times only with before=True"):
        sampler(form, shop(), [-1]).around(torch.tensor([1]), seeded(), time=torch.tensor([1]))


def test_batches_of_nodes_have_neighborhoods_and_no_times():
    graph = shop().only("rated")
    batch = next(iter(Loader(Nodes(graph, "user"), Neighbors(graph, [-1]), batch_size=2, shuffle=False)))
    around = batch.neighborhood  # all four edges are between pairs
    assert around.node.tolist() == [0, 1, 4, 5, 6] and len(around.edge) == 0
    with pytest.raises(KgrecError, match="with before=True need seeds that have a time, such as Edges"):
        Neighbors(graph, [1], before=True)(replace(batch, neighborhood=None), seeded())


def test_pads_of_sequences_are_no_seeds():
    graph = shop().only("rated")
    batch = Batch(head=torch.tensor([0, 1]), tail=torch.tensor([[graph.pad, 4], [5, 6]]))
    around = Neighbors(graph, [-1])(batch, seeded()).neighborhood
    assert around.node[: around.hops[0]].tolist() == [0, 1, 4, 5, 6]
    assert edges_of(around) == [(0, 0, 5), (5, 1, 0)]


@pytest.mark.parametrize(
    ("fanouts", "message"),
    [
        ([], "there are no fan-outs; give one for each hop"),
        ([10, 0], r"fan-outs are \[10, 0\]; give one for each hop: 1 or more, or -1 for all"),
        ([-2], r"fan-outs are \[-2\]"),
    ],
)
def test_wrong_fanouts_are_refused(fanouts: list[int], message: str):
    with pytest.raises(KgrecError, match=message):
        Neighbors(shop(), fanouts)


def test_trimmed_layers_fit():
    around = Neighbors(random_graph(), [3, 3, 3]).around(torch.tensor([1, 2]), seeded())
    rows = len(around.node)
    for layer in (1, 2, 3):
        part = around.trim(3 - layer + 1)
        assert len(part.node) == rows and int(part.source.max()) < rows and len(part.edge) == part.ptr[-1]
        rows = len(part.ptr) - 1
    assert rows == 2
    with pytest.raises(KgrecError, match="trim: hops is 4, but this neighborhood has hops 1 to 3"):
        around.trim(4)


# ---------------------------------------------------------------- against the graph, and by chance


def all_edges(graph: Graph) -> tuple[Tensor, Tensor, Tensor]:
    made = graph.both_ways()
    return made.head, made.tail, made.relation


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fanouts", [[-1, -1], [4, 3, 2], [100], [40, 1]])
def test_what_is_drawn_is_true_distinct_and_as_much_as_there_is(form: str, fanouts: list[int]):
    graph = random_graph()
    head, tail, relation = all_edges(graph)
    around = sampler(form, graph, fanouts).around(torch.tensor([0, 3, 17, 29, 45]), seeded())
    source, target = around.edge_index
    assert torch.equal(around.node[source], head[around.edge]) and torch.equal(around.node[target], tail[around.edge])
    assert torch.equal(around.relation, relation[around.edge])
    assert len(around.edge.unique()) == len(around.edge)
    assert len(around.node.unique()) == len(around.node) == around.hops[-1]
    degree = torch.bincount(tail, minlength=graph.num_nodes)[around.node[: around.hops[-2]]]
    hop = torch.bucketize(torch.arange(around.hops[-2]), torch.tensor(around.hops), right=True)
    fanout = torch.tensor([degree.max() if f == -1 else f for f in fanouts])[hop]
    assert torch.equal(around.ptr.diff(), torch.minimum(degree, fanout))
    for number in range(1, len(fanouts) + 1):  # what is new at a hop was reached by that hop's edges, and not before
        new = set(range(around.hops[number - 1], around.hops[number]))
        reached = source[around.edges[number - 1] : around.edges[number]].tolist()
        assert new <= set(reached) and max(reached) < around.hops[number]
    assert around.edges[-1] == len(around.edge)


@pytest.mark.parametrize("form", FORMS)
def test_all_neighbors_are_the_k_hop_graph(form: str):
    from torch_geometric.utils import k_hop_subgraph

    graph = random_graph(edges=25)
    head, tail, _ = all_edges(graph)
    seeds = torch.tensor([2, 40])
    around = sampler(form, graph, [-1, -1, -1]).around(seeds, seeded())
    nodes = k_hop_subgraph(seeds, 3, torch.stack([head, tail]))[0]
    assert around.node.sort().values.tolist() == nodes.tolist()
    inner = k_hop_subgraph(seeds, 2, torch.stack([head, tail]))[0]
    assert around.edge.sort().values.tolist() == torch.isin(tail, inner).nonzero().squeeze(1).tolist()


def evenness(counts: Counter, drawn: int, allowed: list) -> float:
    """p of the chi-square test that each of the allowed was drawn as often; draws are distinct within a trial, which
    makes counts more even than independent draws: their variance is less by (1 - k/n), and a factor corrects it."""
    assert set(counts) <= set(allowed)
    observed = np.array([counts[one] for one in allowed])
    trials, number = sum(counts.values()) / drawn, len(allowed)
    share = drawn / number
    statistic = ((observed - trials * share) ** 2).sum() / (trials * share * (1 - share)) * (number - 1) / number
    return float(stats.chi2.sf(statistic, number - 1))


@lru_cache(maxsize=1)
def stars(number: int, neighbors: int, repeated: int = 0) -> Graph:
    """So many items, each rated by users of its own, by the first `repeated` of them four times; and each user rated
    one item more, the last. Of item s the j-th user is s * neighbors + j."""
    star, user = np.divmod(np.arange(number * neighbors), neighbors)
    several = np.tile(np.where(user < repeated)[0], 3)
    user = star * neighbors + user
    item = np.concatenate([star, np.full(len(user), number), star[several]])
    nodes = {"user": pd.DataFrame({"id": np.arange(len(user))}), "item": pd.DataFrame({"id": np.arange(number + 1)})}
    rated = pd.DataFrame({"source": np.concatenate([user, user, user[several]]), "target": item})
    return Graph.from_frames(edges={RATED: rated}, nodes=nodes)


def drawn_of_stars(around: Neighborhood, neighbors: int, fanout: int) -> Counter:
    """How often each of 0 .. neighbors - 1 is drawn, over all stars; each has `fanout`."""
    items = around.directions.graph.range("item")
    centre = (around.node[: around.hops[0]] >= items.start) & (around.node[: around.hops[0]] < items.stop - 1)
    assert (around.ptr.diff()[centre] == fanout).all()
    user = around.node[around.source[centre[around.target]]]
    assert torch.equal(user // neighbors, around.node[around.target[centre[around.target]]] - items.start)
    return Counter((user % neighbors).tolist())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("neighbors", "fanout"), [(3, 2), (12, 5), (400, 7), (100, 40), (60, 59)])
def test_every_neighbor_is_as_likely(form: str, neighbors: int, fanout: int):
    graph = stars(2000, neighbors)
    around = sampler(form, graph, [fanout]).around(graph.nodes("item")[:-1], seeded(1))
    assert evenness(drawn_of_stars(around, neighbors, fanout), fanout, list(range(neighbors))) > 1e-3


@pytest.mark.parametrize("form", FORMS)
def test_every_set_of_neighbors_is_as_likely(form: str):
    graph = stars(6000, 5)
    around = sampler(form, graph, [2]).around(graph.nodes("item")[:-1], seeded(1))
    pairs = Counter(map(tuple, (around.node[around.source] % 5).view(-1, 2).sort(1).values.tolist()))
    assert len(pairs) == 10 and stats.chisquare(list(pairs.values())).pvalue > 1e-3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("neighbors", "fanout", "repeated"), [(12, 3, 2), (300, 4, 3), (300, 4, 150), (300, 4, 280), (100, 40, 9)]
)
def test_every_neighbor_that_is_left_is_as_likely(form: str, neighbors: int, fanout: int, repeated: int):
    graph = stars(1000, neighbors, repeated)
    head = (torch.arange(1000)[:, None] * neighbors + torch.arange(repeated)).flatten()
    tail = graph.nodes("item")[:-1].repeat_interleave(repeated)
    around = sampler(form, graph, [fanout])(Batch(head=head, tail=tail), seeded(2)).neighborhood
    left = list(range(repeated, neighbors))
    assert evenness(drawn_of_stars(around, neighbors, fanout), fanout, left) > 1e-3
    degree = around.ptr.diff()[around.find(head)]
    assert (degree == 1).all()  # of a user that is left out at its item only the other item is left


@pytest.mark.parametrize("form", FORMS)
def test_a_node_all_of_whose_neighbors_are_left_out_has_none(form: str):
    graph = stars(1, 50)
    hub = graph.range("item").start
    around = sampler(form, graph, [2])(Batch(head=torch.arange(50), tail=torch.full((50,), hub)), seeded()).neighborhood
    row = int(around.find(torch.tensor([hub]))[0])
    assert around.ptr[row] == around.ptr[row + 1] and len(around.edge) == 50  # each user has its own item left


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", [False, True])
def test_the_same_stream_gives_the_same_batch(form: str, before: bool):
    graph = random_graph()
    loader = Loader(Edges(graph), Negatives(graph, 2), sampler(form, graph, [3, 3], before=before), batch_size=100)
    one, two, other = (next(loader.epoch(Stream(epoch=e))).neighborhood for e in (1, 1, 2))
    for name in ("node", "ptr", "source", "relation", "edge"):
        assert torch.equal(getattr(one, name), getattr(two, name))
    assert not torch.equal(one.edge, other.edge)


def test_both_forms_see_the_same_where_all_is_taken():
    graph = random_graph()
    batch = Edges(graph)[torch.arange(0, 600, 40)]
    for options in ({}, {"before": True}, {"exclude": False}, {"both_ways": False}):
        a, b = (sampler(form, graph, [-1, -1], **options)(batch, seeded()).neighborhood for form in FORMS)
        assert a.hops == b.hops and a.edges == b.edges
        owner = [torch.zeros_like(x.node) if x.example is None else x.example for x in (a, b)]
        first, second = (sorted(zip(o[x.target].tolist(), x.edge.tolist())) for o, x in zip(owner, (a, b)))
        assert first == second


@pytest.mark.cuda
@pytest.mark.parametrize("before", [False, True])
def test_neighbors_on_cuda(before: bool):
    graph = random_graph().to("cuda")
    stage = Neighbors(graph, [3, 3], before=before)
    batch = Edges(graph)[torch.arange(0, 600, 40, device="cuda")]
    around = stage(batch, torch.Generator("cuda").manual_seed(0)).neighborhood
    made = graph.both_ways()
    assert around.edge.is_cuda and torch.equal(around.node[around.source], made.head[around.edge])
    assert torch.equal(around.node[around.target], made.tail[around.edge])
    assert (around.find(batch.head) >= 0).all()
    full = [Neighbors(g, [-1, -1], before=before) for g in (graph, random_graph())]
    there = full[0](batch, torch.Generator("cuda").manual_seed(0)).neighborhood
    here = full[1](Edges(random_graph())[torch.arange(0, 600, 40)], seeded()).neighborhood
    assert there.hops == here.hops and sorted(there.edge.tolist()) == sorted(here.edge.tolist())


# ---------------------------------------------------------------- batches drawn ahead


def prefetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def same(a: Batch, b: Batch) -> bool:
    drawn = (a.head, b.head), (a.negative, b.negative), (a.neighborhood.edge, b.neighborhood.edge)
    return all(torch.equal(one, two) for one, two in drawn)


def loader(graph: Graph, prefetch: int, size: int = 50) -> Loader:
    stages = Negatives(graph, 2, reject=graph), Neighbors(graph, [3, 3])
    return Loader(Edges(graph), *stages, batch_size=size, prefetch=prefetch)


@pytest.mark.parametrize("prefetch", [1, 3, 40])
def test_batches_drawn_ahead_are_the_same(prefetch: int):
    graph, stream = random_graph(), Stream(epoch=2)
    plain, ahead = (list(loader(graph, number).epoch(stream)) for number in (0, prefetch))
    assert len(plain) == len(ahead) == 12 and all(map(same, plain, ahead))
    assert not prefetching()


def test_both_with_batches_drawn_ahead():
    graph, stream = random_graph(), Stream(epoch=2)
    plain, ahead = (
        list(CombinedLoader(loader(graph, number), loader(graph, number, size=200)).epoch(stream)) for number in (0, 2)
    )
    assert len(plain) == len(ahead) == 12
    assert all(same(a, c) and same(b, d) for (a, b), (c, d) in zip(plain, ahead))
    assert not prefetching()


class Counted:
    """A stage that counts its batches, and refuses one of them."""

    by_example = False

    def __init__(self, refused: int = -1) -> None:
        self.number, self.refused = 0, refused

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        self.number += 1
        if self.number == self.refused:
            raise KgrecError("no more")
        return batch


def test_an_error_of_a_batch_drawn_ahead_reaches_who_asks_for_it():
    batches = Loader(Edges(random_graph()), Counted(refused=3), batch_size=50, prefetch=2).epoch(Stream())
    assert len(next(batches)) == len(next(batches)) == 50
    with pytest.raises(KgrecError, match="no more"):
        next(batches)
    assert not prefetching() and not list(batches)


def test_leaving_early_ends_the_thread():
    stage = Counted()
    ahead = Loader(Edges(random_graph()), stage, batch_size=10, prefetch=2)  # 60 batches
    for number, _ in enumerate(ahead.epoch(Stream())):
        assert prefetching()
        if number == 4:
            break
    assert not prefetching() and stage.number <= 5 + 2
    ahead.epoch(Stream())  # not begun: there is no thread to end
    assert not prefetching()
    with pytest.raises(KgrecError, match="prefetch is -1 batches; 0"):
        Loader(Edges(random_graph()), batch_size=10, prefetch=-1)
