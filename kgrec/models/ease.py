"""EASE: a linear item-to-item model, solved in closed form; strong where users have some history."""

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

ROWS = 1024  #: rows of the inverse that are solved at once


@settings
class EASEConfig:
    """Settings of EASE."""

    #: lambda, weight of L2 regularisation of the item-item weights; raise it where users are few or histories are short
    l2: PositiveFloat = 1000.0
    #: weight of the facts of items, each of which is one more row beside the users' (CEASE); 0: interactions alone,
    #: plain EASE
    facts: NonNegativeFloat = 0.0


class EASE(Recommender):
    """score(u, i) = x_u B_i, where x_u is the 0-1 row of the user's items. B minimises |X - X B|^2 + l2 |B|^2 under
    diag(B) = 0: B = I - P diag(1 / diag P), where P = (X'X + l2 I)^-1 (Steck 2019, eq. 8).

    The time is that of inverting a float32 matrix [I, I], and two such matrices are held in memory: 110 MB for the
    3,706 items of MovieLens-1M, 13 GB for 41,000 items. On MovieLens-1M, scores differ from those computed in float64
    by 7e-6 at l2 = 300 and by 3e-5 at l2 = 1.

    With `facts` it is CEASE (Jeunen et al. 2020, eq. 7). Each statement of the facts (a relation and its other end) is
    one more row of X: it marks the items with this statement, and is weighted by `facts`. So items without users are
    recommended too, by their facts.

    Where users and items are the same nodes, column j of B is fitted without row j, so that nobody's own entry counts.
    """

    Config = EASEConfig
    paper = "Steck 2019, Embarrassingly shallow autoencoders for sparse data, WWW"
    reads_history = True
    reads_facts = "facts"

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

    @property
    def learns_facts(self) -> bool:
        return self.config.facts > 0

    def gram(self, graph: Graph) -> Tensor:
        """X'X, with the rows of the facts if `facts` is set: FloatTensor [I, I]."""
        rows = _rows_of(graph.only(graph.target), len(self.items))
        gram = (rows.T @ rows).toarray(order="C")  # whole numbers, so exact in float32
        if self.config.facts:
            facts = _facts_of(graph, self.items)
            gram += self.config.facts * (facts.T @ facts).toarray(order="C")
        return torch.from_numpy(gram)

    def inverse(self, matrix: Tensor, l2: float) -> Tensor:
        """P from X'X [I, I], computed in place of it: FloatTensor [I, I]."""
        matrix.diagonal().add_(l2)
        factor = torch.linalg.cholesky(matrix)
        for start in range(0, len(matrix), ROWS):  # the inverse is written over the matrix
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
    """The 0-1 rows of users up to the last one who has an edge: [*, I]."""
    user, item = known.edge_index.cpu().numpy()
    return _multi_hot(user, item, width)


def _without_own(inverse: Tensor, rows: csr_array) -> Tensor:
    """The matrix whose column j is column j of (X'X - r_j r_j' + l2 I)^-1, where r_j is the row of user j. So a user's
    missing edge to themselves does not count. Computed from P by the Sherman-Morrison formula. FloatTensor [I, I].

    inverse: P, FloatTensor [I, I]; rows: X [at most I, I]."""
    height, width = rows.shape
    ptr = np.pad(rows.indptr, (0, width - height), mode="edge")  # users after the last row have no edges
    rows = csr_array((rows.data, rows.indices, ptr), shape=(width, width))
    by_row = torch.from_numpy(rows @ inverse.cpu().numpy()).to(inverse)  # [I, I], r_j' P
    own = by_row.diagonal()  # r_j' P e_j
    share = torch.from_numpy(np.asarray((rows * by_row.cpu().numpy()).sum(1))).to(inverse)  # r_j' P r_j, below 1
    return inverse + by_row.T * (own / (1 - share))


def _multi_hot(row: np.ndarray, item: np.ndarray, width: int) -> csr_array:
    """0-1 rows [*, I]; repeated pairs count once. row, item: int64 [n]."""
    ones = np.ones(len(row), np.float32)
    matrix = csr_array((ones, (row, item)), shape=(int(row.max(initial=-1)) + 1, width))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def _facts_of(graph: Graph, items: range) -> csr_array:
    """The statements about items: a 0-1 row for each relation, direction and other end. A fact that an inverse relation
    states again counts once. Raises KgrecError where no fact is about an item."""
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
    if not len(row) and (facts.num_edges or not facts.edge_types):  # relations without edges are no mistake
        raise KgrecError(
            f"none of the {facts.num_edges:,} facts of this graph is about an item; link items to entities in the "
            "recipe (`links:`), or leave out the setting `facts`"
        )
    return _multi_hot(row, np.concatenate(members), len(items))
