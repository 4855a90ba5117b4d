"""Facts by hand: which triples are known, which tails are drawn, how facts are split, and what ranks they get."""

import pandas as pd
import torch

from kgrec.graph import Graph
from kgrec.samplers import Edges, Negatives


def graph_of(*triples: tuple[str, str, str], rated: str = "u1-a") -> Graph:
    """Users u1, u2 rate films; films a to d and people x, y have relations. triples: (head, relation, tail)."""
    kinds = {**dict.fromkeys("abcd", "film"), **dict.fromkeys("xy", "person")}
    rows: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for head, relation, tail in triples:
        rows.setdefault((kinds[head], relation, kinds[tail]), []).append((head, tail))
    edges = {("user", "rated", "film"): [tuple(pair.split("-")) for pair in rated.split()], **rows}
    return Graph.from_frames(
        nodes={
            "user": pd.DataFrame({"id": ["u1", "u2"]}),
            "film": pd.DataFrame({"id": list("abcd")}),
            "person": pd.DataFrame({"id": list("xy")}),
        },
        edges={edge: pd.DataFrame(pairs, columns=["source", "target"]) for edge, pairs in edges.items()},
        target=("user", "rated", "film"),
    )


GRAPH = graph_of(("a", "by", "x"), ("b", "by", "y"), ("a", "with", "y"), ("a", "after", "b"), ("a", "after", "b"))


# ---------------------------------------------------------------------- what is known


def test_a_triple_is_known_by_its_relation_too():
    a, b, x, y = GRAPH.flat("film", ["a", "b"]).tolist() + GRAPH.flat("person", ["x", "y"]).tolist()
    by, with_ = (GRAPH.edge_types.index(("film", name, "person")) for name in ("by", "with"))
    head, relation = torch.tensor([a, a, b, GRAPH.pad]), torch.tensor([by, with_, with_, by])
    tail = torch.tensor([[x, y, GRAPH.pad]]).expand(4, -1)
    wanted = [[True, False, False], [False, True, False], [False] * 3, [False] * 3]
    assert GRAPH.is_triple(head, relation, tail).tolist() == wanted


def test_triples_by_kernel_by_search_and_by_a_set():
    known = set(zip(GRAPH.head.tolist(), GRAPH.relation.tolist(), GRAPH.tail.tolist()))
    number = GRAPH.pad + 1
    head, relation = torch.cartesian_prod(torch.arange(number), torch.arange(len(GRAPH.edge_types))).T
    tail = torch.arange(number).expand(len(head), -1)
    wanted = [[(h, r, t) in known for t in range(number)] for h, r in zip(head.tolist(), relation.tolist())]
    assert sum(map(sum, wanted)) == GRAPH.num_edges - 1  # one is stated twice
    assert GRAPH.is_triple(head, relation, tail).tolist() == wanted
    key, _, _ = GRAPH._triple_rows
    row_of = {k: row for row, k in enumerate(key.tolist())}
    row = torch.tensor([row_of.get(k, len(key)) for k in (relation * number + head).tolist()])
    assert GRAPH._is_in_row_by_search(row, tail).tolist() == wanted


def test_an_empty_graph_knows_no_triple():
    empty, zero = Graph.empty(GRAPH.schema), torch.tensor([0])
    assert not empty.is_triple(zero, zero, zero[:, None]).any()


# ---------------------------------------------------------------------- what is drawn


def test_negatives_of_facts_are_rejected_by_triple():
    """a is by x and with y: beside `a by x` y is drawn, as a is not by y, though a pair of both is known."""
    both = GRAPH.both_ways()
    batch = Edges(both)[torch.arange(both.num_edges).repeat(50)]
    drawn = Negatives(both, 3, reject=both)(batch, torch.Generator().manual_seed(0))
    known = both.is_triple(drawn.head, drawn.relation, drawn.negative)
    by = drawn.relation == both.edge_types.index(("film", "by", "person"))
    of_a = by & (drawn.head == GRAPH.flat("film", ["a"]))
    assert set(drawn.negative[of_a].flatten().tolist()) == set(GRAPH.flat("person", ["y"]).tolist())
    assert not known.any()


def test_a_tail_without_another_of_its_type_is_kept_after_bounded_rounds():
    lonely = Graph.from_frames(
        edges={
            ("user", "rated", "film"): pd.DataFrame({"source": ["u", "v"], "target": ["a", "b"]}),
            ("film", "made_in", "place"): pd.DataFrame({"source": ["a", "b"], "target": ["p", "p"]}),
        }
    )
    drawn = Negatives(lonely, 2, reject=lonely)(Edges(lonely)[torch.tensor([2, 3])], torch.Generator().manual_seed(0))
    assert drawn.negative.tolist() == [[4, 4], [4, 4]]
