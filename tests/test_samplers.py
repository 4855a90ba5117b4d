"""Samplers by hand: what an example is, what is drawn, and that the same stream gives the same batches."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.samplers import Batch, CombinedLoader, Edges, Loader, Negatives, Nodes, Sequences, Stream
from kgrec.splits.split import split

RATED = ("user", "rated", "item")


def ring(users: int = 6, items: int = 8, per_user: int = 3) -> Graph:
    """User u rated items u, u + 1, u + 2, ... (modulo the number of items)."""
    pairs = [(u, (u + step) % items) for u in range(users) for step in range(per_user)]
    rated = pd.DataFrame({"source": [f"u{u}" for u, _ in pairs], "target": [f"i{i}" for _, i in pairs]})
    nodes = {
        "user": pd.DataFrame({"id": [f"u{u}" for u in range(users)]}),
        "item": pd.DataFrame({"id": [f"i{i}" for i in range(items)]}),
        "genre": pd.DataFrame({"id": ["a", "b"]}),
    }
    genre = pd.DataFrame({"source": [f"i{i}" for i in range(items)], "target": ["a", "b"] * (items // 2)})
    return Graph.from_frames(edges={RATED: rated, ("item", "in", "genre"): genre}, nodes=nodes)


def draws(stage: Negatives, batch, seed: int = 0):
    return stage(batch, torch.Generator().manual_seed(seed))


def test_edges_give_flat_ends_and_relation_numbers():
    graph = ring()
    batch = Edges(graph)[torch.tensor([0, 4, 18])]  # u0-i0, u1-i2, and the first of the facts: i0 in a
    assert batch.head.tolist() == [0, 1, 6]
    assert batch.tail.tolist() == [6 + 0, 6 + 2, 6 + 8 + 0]
    assert batch.relation.tolist() == [0, 0, 1]


def test_nodes_give_whole_rows():
    graph = ring().only("rated")
    batch = Nodes(graph, "user")[torch.tensor([5, 0])]
    assert batch.head.tolist() == [5, 0] and batch.ptr.tolist() == [0, 3, 6]
    assert [t - 6 for t in batch.tail.tolist()] == [5, 6, 7, 0, 1, 2]
    rows = batch.multi_hot(graph.range("item"))
    assert rows.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0, 0]]


def test_nodes_without_a_neighbor_are_left_out():
    graph = ring().only("rated")
    seeds = Nodes(graph.where(~torch.isin(graph.head, torch.tensor([1, 4]))), "user")
    assert len(seeds) == 4 and seeds[torch.tensor([1, 2])].head.tolist() == [2, 3]


def test_a_loader_gives_every_edge_once_and_a_new_order_each_epoch():
    loader = Loader(Edges(ring().only("rated")), batch_size=4)
    first, second = ([pair for b in loader for pair in zip(b.head.tolist(), b.tail.tolist())] for _ in range(2))
    assert len(loader) == 5 and len(first) == 18
    assert sorted(first) == sorted(second) and first != second


def test_the_same_stream_gives_the_same_batches():
    graph = ring().only("rated")
    loader = Loader(Edges(graph), Negatives(graph, 2), batch_size=4)
    one, two, other = (list(loader.epoch(stream)) for stream in (Stream(3, 1, 2), Stream(3, 1, 2), Stream(3, 1, 3)))
    assert all(torch.equal(a.negative, b.negative) and torch.equal(a.head, b.head) for a, b in zip(one, two))
    assert not all(torch.equal(a.negative, b.negative) for a, b in zip(one, other))


def test_ranks_take_disjoint_shares_and_as_many_batches():
    loader = Loader(Edges(ring(users=5).only("rated")), batch_size=4)  # 15 edges: one is taken twice
    shares = [[b.head * 100 + b.tail for b in loader.epoch(Stream(epoch=1, rank=r, world=2))] for r in (0, 1)]
    assert [len(b) for b in shares[0]] == [len(b) for b in shares[1]] == [2, 2, 2, 2]
    taken = torch.cat([*shares[0], *shares[1]])
    assert len(taken) == 16 and len(taken.unique()) == 15


def test_both_is_as_long_as_the_first_and_the_second_goes_round():
    graph = ring()
    rated, facts = graph.only("rated"), graph.only("in")
    pairs = list(CombinedLoader(Loader(Edges(rated), batch_size=3), Loader(Edges(facts), batch_size=4)))
    assert [len(a) for a, _ in pairs] == [3] * 6
    rounds = [torch.cat([pairs[i][1].head, pairs[i + 1][1].head]) for i in (0, 2, 4)]
    assert all(sorted(heads.tolist()) == list(range(6, 14)) for heads in rounds)
    assert not torch.equal(rounds[0], rounds[1])


# ---------------------------------------------------------------- tensors that a stage adds


class EdgeFacts:
    """Stage of somebody's own: the number of each edge, and it with its square."""

    by_example = True

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch.add(number=batch.edge, powers=torch.stack([batch.edge, batch.edge**2], 1))


class Tenfold:
    """A stage that reads what the one before it added."""

    by_example = True

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch.add(tenfold=10 * batch.extra["number"])


def test_what_a_stage_adds_goes_with_its_example():
    """Through cutting, drawing ahead, and two loaders as one."""
    graph = ring().only("rated")
    plain = Loader(Edges(graph), EdgeFacts(), Tenfold(), batch_size=4)
    ahead = Loader(Edges(graph), EdgeFacts(), Negatives(graph, 2), Tenfold(), batch_size=4, prefetch=2)
    pairs = list(CombinedLoader(plain, ahead))
    assert [len(a) for a, _ in pairs] == [4, 4, 4, 4, 2]
    for batch in (batch for pair in pairs for batch in pair):
        assert list(batch.extra) == ["number", "powers", "tenfold"]
        assert torch.equal(batch.extra["number"], batch.edge)
        assert torch.equal(batch.extra["tenfold"], 10 * batch.edge)
        assert batch.extra["powers"].tolist() == [[edge, edge**2] for edge in batch.edge.tolist()]
        assert torch.equal(graph.head[batch.extra["number"]], batch.head)
    assert Edges(graph)[torch.tensor([0])].extra == {}
    (part,) = Sequences(timed(ring()), 2)[torch.tensor([0])].add(ones=torch.ones(1, 2, 3)).split(5)
    assert part.extra["ones"].shape == (1, 2, 3)


def timed(graph: Graph) -> Graph:
    return replace(graph.only("rated"), time=torch.arange(graph.only("rated").num_edges))


def test_what_a_stage_adds_has_a_row_for_each_example_and_a_name_of_its_own():
    batch = Edges(ring().only("rated"))[torch.arange(3)]
    for wrong in (torch.ones(2), torch.tensor(1.0)):
        with pytest.raises(
            KgrecError, match=r"'age' has shape \[.*\], but the batch has 3 examples; give it a row for"
        ):
            batch.add(age=wrong)
    with pytest.raises(KgrecError, match="has already added 'age'; use another name"):
        batch.add(age=torch.ones(3)).add(age=torch.zeros(3))


def test_uniform_negatives_are_of_the_tails_type_and_even():
    graph = ring()
    batch = Edges(graph)[torch.tensor([0, 18]).repeat(2000)]  # an item is the tail, then a genre
    drawn = draws(Negatives(graph, 4), batch)
    assert drawn.negative.shape == (4000, 4)
    items, genres = drawn.negative[0::2].flatten(), drawn.negative[1::2].flatten()
    assert set(items.tolist()) == set(range(6, 14)) and set(genres.tolist()) == {14, 15}
    counts = torch.bincount(items - 6)
    assert chi_square(counts, torch.full((8,), 1 / 8)) < 24.3  # 7 degrees of freedom, p = .001
    assert torch.allclose(drawn.log_q[0::2], torch.tensor(math.log(1 / 8)))
    assert torch.allclose(drawn.log_q[1::2], torch.tensor(math.log(1 / 2)))


def chi_square(counts: torch.Tensor, share: torch.Tensor) -> float:
    expected = share * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def test_popular_negatives_follow_the_power_of_the_degree():
    frame = pd.DataFrame({"source": list("abcdefgabc"), "target": ["x"] * 7 + ["y"] * 2 + ["z"]})
    graph = Graph.from_frames(edges={RATED: frame})
    batch = Edges(graph)[torch.zeros(5000, dtype=torch.long)]
    drawn = draws(Negatives(graph, 2, alpha=0.5), batch)
    weight = torch.tensor([7.0, 2.0, 1.0]).sqrt()
    share = weight / weight.sum()
    assert chi_square(torch.bincount(drawn.negative.flatten() - 7), share) < 13.8  # 2 degrees of freedom, p = .001
    assert torch.allclose(drawn.log_q, share.log()[drawn.negative - 7])


def test_shared_negatives_are_one_draw_for_the_batch():
    graph = ring().only("rated")
    assert draws(Negatives(graph, 5, shared=True), Edges(graph)[torch.arange(4)]).negative.shape == (5,)
    with pytest.raises(KgrecError, match="cannot be rejected for single heads"):
        Negatives(graph, 5, shared=True, reject=graph)
    with pytest.raises(KgrecError, match="shared negatives need tails of one node type, but this graph has 2"):
        Negatives(ring(), 5, shared=True)


def test_rejected_negatives_are_never_known_and_stay_even():
    graph = ring().only("rated")
    batch = Edges(graph)[torch.arange(18).repeat(500)]
    drawn = draws(Negatives(graph, 3, reject=graph), batch)
    assert not graph.is_edge(drawn.head, drawn.negative).any()
    of_first = drawn.negative[drawn.head == 0].flatten() - 6  # user 0 knows 0, 1, 2
    counts = torch.bincount(of_first, minlength=8)
    assert counts[:3].sum() == 0 and chi_square(counts[3:], torch.full((5,), 1 / 5)) < 18.5  # 4 degrees, p = .001


def test_one_who_knows_everything_keeps_the_last_draw():
    everything = ring(users=1, items=4, per_user=4).only("rated")
    drawn = draws(Negatives(everything, 2, reject=everything), Edges(everything)[torch.arange(4)])
    assert set(drawn.negative.flatten().tolist()) <= set(range(1, 5))


def test_withheld_items_are_not_drawn():
    graph = ring(users=40, items=20)
    divided = split(graph, "cold_items:0.3,seed=1")
    cold = divided.train.withheld
    assert 0 < len(cold) < 20
    known = divided.train.only("rated")
    for stage in (Negatives(known, 50), Negatives(known, 50, reject=known), Negatives(known, 50, alpha=1.0)):
        drawn = draws(stage, Edges(known)[torch.arange(known.num_edges)])
        assert not torch.isin(drawn.negative, cold).any()


def test_a_wrong_count_or_size_is_refused():
    graph = ring().only("rated")
    with pytest.raises(KgrecError, match="count is 0; 1 or more"):
        Negatives(graph, 0)
    with pytest.raises(KgrecError, match="batch_size is 0, 1 or more"):
        Loader(Edges(graph), batch_size=0)


@pytest.mark.cuda
def test_negatives_on_cuda_are_rejected_too():
    graph = ring().only("rated").to("cuda")
    batch = Edges(graph)[torch.arange(18, device="cuda")]
    drawn = Negatives(graph, 3, reject=graph)(batch, torch.Generator("cuda").manual_seed(0))
    assert drawn.negative.is_cuda and not graph.is_edge(drawn.head, drawn.negative).any()
