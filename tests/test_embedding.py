"""Node vectors and their dot products, against the plain tensor form."""

import pandas as pd
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
