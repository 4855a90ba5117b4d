"""Node vectors and their dot products, against the plain tensor form."""

import pandas as pd
import pytest
import torch

from kgrec.graph import Graph
from kgrec.nn import NodeEmbedding, dot

FRAME = pd.DataFrame({"source": ["a", "b", "c"], "target": ["x", "y", "x"]})
GRAPH = Graph.from_frames(edges={("user", "rated", "item"): FRAME})


def test_a_number_that_is_no_node_has_the_zero_vector_and_no_gradient():
    item = NodeEmbedding(GRAPH, "item", dim=3)
    vectors = item(torch.tensor([GRAPH.pad, 3, GRAPH.pad + 7]))
    assert torch.equal(vectors[[0, 2]], torch.zeros(2, 3)) and torch.equal(vectors[1], item.weight[0])
    vectors.sum().backward()
    assert item.weight.grad.tolist() == [[1.0] * 3, [0.0] * 3, [0.0] * 3]


def test_dot_equals_the_plain_form_and_so_do_its_gradients():
    user, item = NodeEmbedding(GRAPH, "user", dim=5), NodeEmbedding(GRAPH, "item", dim=5)
    head = torch.tensor([0, 2, 2, GRAPH.pad])
    tail = torch.tensor([[3, 4, 3], [4, 4, GRAPH.pad], [3, 3, 3], [4, 3, 4]])
    factor = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    results = []
    for product in (dot(user(head), item, tail), (user(head).unsqueeze(1) * item(tail)).sum(-1)):
        user.zero_grad(), item.zero_grad()
        (product * factor).sum().backward()
        results.append((product.detach(), user.weight.grad, item.weight.grad))
    for mine, plain in zip(*results):
        torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize("left", [[0, 2, 3, 4, 5], [0, 5], [1, 2, 3, 4], [0, 1, 2, 3, 4, 5]])
def test_dot_with_some_items_is_that_with_all_where_a_model_serves(left):
    """Most of the items, a few, a range, and all: the same numbers, in their order."""
    frame = pd.DataFrame({"source": list("abcdef"), "target": list("uvwxyz")})
    graph = Graph.from_frames(edges={("user", "rated", "item"): frame})
    user, item = NodeEmbedding(graph, "user", dim=8), NodeEmbedding(graph, "item", dim=8)
    vector, node = user(torch.tensor([1, 4])), graph.nodes("item")[left]
    with torch.no_grad():
        torch.testing.assert_close(dot(vector, item, node), vector @ item.weight[left].T)
        torch.testing.assert_close(dot(vector, item, node.flip(0)), vector @ item.weight[left[::-1]].T)
    assert dot(vector, item, node).requires_grad


def test_squares_count_a_node_as_often_as_it_stands():
    item = NodeEmbedding(GRAPH, "item", dim=2)
    with torch.no_grad():
        item.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 0.0]]))
    total = item.squares(torch.tensor([[3, 4], [3, GRAPH.pad]]))
    assert total.item() == 5 + 9 + 5
    total.backward()
    assert item.weight.grad.tolist() == [[4.0, 8.0], [6.0, 0.0], [0.0, 0.0]]


def test_norms_are_read_from_the_table():
    item = NodeEmbedding(GRAPH, "item", dim=2)
    with torch.no_grad():
        item.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]]))
    assert item.norm(torch.tensor([[3, 4, GRAPH.pad]])).tolist() == [[5.0, 2.0, 0.0]]
