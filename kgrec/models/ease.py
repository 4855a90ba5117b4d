"""EASE: a linear model from items to items in closed form, hard to beat where users have some history."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Query, Recommender, ScorerParts
from kgrec.settings import settings

ROWS = 1024  #: of the inverse that are solved for at once


@settings
class EASEConfig:
    """Settings of EASE."""

    l2: PositiveFloat = 1000.0  #: lambda, weight of the squares of all weights: added to every item's number of users
    #: how much a fact of an item counts, as one more row beside the users'; 0: none, plain EASE
    facts: NonNegativeFloat = 0.0


class EASE(Recommender):
    """score(u, i) = x_u B_i, with x_u the 0-1 row of the user's items and B the minimum of |X - X B|^2 + l2 |B|^2 under
    diag(B) = 0: B = I - P diag(1 / diag P), where P = (X'X + l2 I)^-1 (Steck 2019, eq. 8).

    Time is that of inverting [I, I] in float32, memory two such matrices: 110 MB for the 3,706 items of MovieLens-1M,
    13 GB for 41,000. On MovieLens-1M scores differ from those by float64 by 7e-6 at l2 = 300 and 3e-5 at l2 = 1.

    With `facts` it is CEASE (Jeunen et al. 2020, eq. 7): each thing that facts say of items (a relation and its other
    end) is one more row of X, the items of which it is said, weighed by `facts`, so that items without users are
    recommended by what is known of them.

    Where users are items too, nobody's own entry counts: column j of B is the minimum over all rows but j's.
    """

    Config = EASEConfig
    paper = "Steck 2019, Embarrassingly shallow autoencoders for sparse data, WWW"
    reads_history = True

    def __init__(self, graph: Graph, config: EASEConfig) -> None:
        super().__init__(graph, config)
        self.items = graph.range(graph.target[2])
        known = graph.only(graph.target)
        self.weight: Tensor  #: FloatTensor [I, I], B
        if known.num_edges:
            inverse = self.inverse(self.gram(graph).to(known.device), config.l2)
            if graph.same_ends:
                inverse = _without_own(inverse, _rows_of(known, len(self.items)))
            self.register_buffer("weight", inverse.div_(-inverse.diagonal().clone()).fill_diagonal_(0))
        else:
            self.register_buffer("weight", torch.zeros(len(self.items), len(self.items)))

    def gram(self, graph: Graph) -> Tensor:
        """X'X, of the facts too where they are asked for: FloatTensor [I, I]."""
        rows = _rows_of(graph.only(graph.target), len(self.items))
        gram = (rows.T @ rows).toarray(order="C")  # whole numbers, so exact in float32
        if self.config.facts:
            facts = _facts_of(graph, self.items)
            gram += self.config.facts * (facts.T @ facts).toarray(order="C")
        return torch.from_numpy(gram)

    def inverse(self, matrix: Tensor, l2: float) -> Tensor:
        """P from X'X [I, I], whose place it takes: FloatTensor [I, I]."""
        matrix.diagonal().add_(l2)
        factor = torch.linalg.cholesky(matrix)
        for start in range(0, len(matrix), ROWS):  # the inverse takes the matrix's place
            part = matrix[start : start + ROWS]
            unit = torch.zeros_like(part.T)
            unit.diagonal(-start).fill_(1)
            half = torch.linalg.solve_triangular(factor, unit, upper=False)
            part.copy_(torch.linalg.solve_triangular(factor.T, half, upper=True).T)
        return matrix

    def score(self, query: Query, items: Tensor) -> Tensor:
        has = query.multi_hot(self.items)  # [B, I]
        first = has.sum(1).long().cumsum(0).roll(1)
        first[:1] = 0
        score = functional.embedding_bag(has.nonzero()[:, 1], self.weight, first, mode="sum")  # [B, I]
        local = items - self.items.start
        return score[:, local] if items.dim() == 1 else score.gather(1, local)

    def linear_scorer(self) -> ScorerParts:
        return ScorerParts("history_times_weights", {"weight": self.weight})


def _rows_of(known: Graph, width: int) -> csr_array:
    """The 0-1 rows of users, as many as have any edge or stand before one who has: [*, I]."""
    user, item = known.edge_index.cpu().numpy()
    return _multi_hot(user, item, width)


def _without_own(inverse: Tensor, rows: csr_array) -> Tensor:
    """Column j as that of (X'X - r_j r_j' + l2 I)^-1, with r_j the j-th user's row, so that what this user lacks of
    themselves counts for nothing: the inverse less one row of X, by Sherman and Morrison. FloatTensor [I, I].

    inverse: P, FloatTensor [I, I]; rows: X [at most I, I]."""
    height, width = rows.shape
    ptr = np.pad(rows.indptr, (0, width - height), mode="edge")  # users behind the last who has any edge have none
    rows = csr_array((rows.data, rows.indices, ptr), shape=(width, width))
    by_row = torch.from_numpy(rows @ inverse.cpu().numpy()).to(inverse)  # [I, I], r_j' P
    own = by_row.diagonal()  # r_j' P e_j
    share = torch.from_numpy(np.asarray((rows * by_row.cpu().numpy()).sum(1))).to(inverse)  # r_j' P r_j, below 1
    return inverse + by_row.T * (own / (1 - share))


def _multi_hot(row: np.ndarray, item: np.ndarray, width: int) -> csr_array:
    """0-1 rows [*, I]; a pair that stands twice counts once. row, item: int64 [n]."""
    ones = np.ones(len(row), np.float32)
    matrix = csr_array((ones, (row, item)), shape=(int(row.max(initial=-1)) + 1, width))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def _facts_of(graph: Graph, items: range) -> csr_array:
    """What is said of items, a 0-1 row for each relation, direction and other end. Raises KgrecError where no fact
    is about an item; facts that another relation states backwards count once."""
    facts, keys, members = graph.facts(), [], []
    second = torch.tensor([edge.inverse_of is not None for edge in facts.schema.edges.values()], dtype=torch.bool)
    if facts.num_edges:
        facts = facts.where(~second.to(facts.device)[facts.relation])
    relation = facts.relation.cpu().numpy()
    ends = facts.head.cpu().numpy(), facts.tail.cpu().numpy()
    for direction, (item, other) in enumerate((ends, ends[::-1])):
        about = (item >= items.start) & (item < items.stop)
        keys.append(((relation * 2 + direction) * (graph.num_nodes + 1) + other)[about])
        members.append(item[about] - items.start)
    row = np.unique(np.concatenate(keys), return_inverse=True)[1]
    if not len(row):
        raise KgrecError(
            f"no fact of this graph is about an item (it has {facts.num_edges:,} facts); link items to entities in the "
            "recipe (`links:`), or leave out `facts`"
        )
    return _multi_hot(row, np.concatenate(members), len(items))
