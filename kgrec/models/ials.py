"""iALS: matrix factorization of implicit feedback by alternating least squares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.in_threads import in_threads
from kgrec.model import Query, Recommender
from kgrec.nn.content_regression import ContentRegression, as_strong
from kgrec.nn.item_content import ItemContent, ItemContentConfig
from kgrec.nn.row_solver import solve_rows
from kgrec.nn.steady_products import product
from kgrec.progress import counted
from kgrec.rows import NodeRows, declare_rows
from kgrec.search_ranges import Between
from kgrec.settings import Depth, settings

FLOATS = 1 << 22  #: numbers of vectors that are gathered at once
ROWS = 128  #: rows that a thread solves at once


@settings
class IALSConfig(ItemContentConfig):
    """Settings of iALS."""

    #: length of a user's or item's vector (embedding size); longer vectors can express more, and cost memory and time
    dim: Annotated[PositiveInt, Between(16, 256, log=True)] = 64
    #: weight of all pairs, which pulls their scores to 0; a known pair's pull to 1 has the weight 1; lower it in a
    #: large catalog
    alpha: Annotated[PositiveFloat, Between(0.01, 1.0, log=True)] = 0.15
    #: lambda, weight of L2 regularisation of the vectors; raise it against overfitting
    l2: Annotated[PositiveFloat, Between(5e-4, 0.1, log=True)] = 0.007
    #: how l2 grows with the number of edges of a user or item: 0 not at all, 1 in proportion, so that frequent items
    #: are regularised more
    nu: Annotated[NonNegativeFloat, Between(0.0, 1.0)] = 1.0
    #: how often both sides are solved, users first and then items; more fit the data more closely, and take longer
    iterations: Depth = 8
    #: item vectors start with normal random values of standard deviation init_std / sqrt(dim)
    init_std: PositiveFloat = 0.1
    seed: NonNegativeInt = 0  #: seed of the items' random initial vectors
    #: with facts, words or columns: weight of L2 regularisation of the map from these to vectors; raise it where the
    #: map overfits
    content_l2: PositiveFloat = 30.0

    FORMER: ClassVar = {"reg": "l2", "std": "init_std"}


class IALS(Recommender):
    """score(u, i) = w_u.h_i, where w and h minimise

        sum of (w_u.h_i - 1)^2 over known pairs + alpha sum of (w_u.h_i)^2 over all pairs
        + l2 (sum_u (n_u + alpha I)^nu |w_u|^2 + sum_i (n_i + alpha U)^nu |h_i|^2)

    over U users with n_u items and I items with n_i users (Hu et al. 2008, with the loss, the scaling of l2 and the
    initial values of Rendle et al. 2021, "Revisiting the Performance of iALS on Item Recommendation Benchmarks",
    arXiv 2110.14037).

    Each side is solved exactly while the other is held fixed. Only item vectors are stored. A user's vector is solved
    from the history when scoring, so a new user gets the same scores as a known user with the same history. Without a
    history all scores are 0. Where users and items are the same nodes, a user's pair with themselves does not count;
    then known and new users with the same history differ a little.

    With `facts`, `words` or `columns`, an item without users gets the vector that ridge regression predicts from these.
    It learns the map on the other items, whose vectors it leaves as they are (Gantner et al. 2010, Learning
    attribute-to-feature mappings for cold-start recommendations, ICDM). All of these vectors are multiplied by one
    number, so that the mean square of known users' scores is that of the other items.
    """

    Config = IALSConfig
    paper = (
        "Hu et al. 2008, Collaborative filtering for implicit feedback datasets, ICDM; Rendle et al. 2021, "
        "arXiv 2110.14037"
    )
    reads_history = True
    reads_facts = "facts"
    for_cold: ClassVar[Mapping[str, Any]] = {"facts": 1.0, "words": 1.0, "columns": 4.0, "content_l2": 30.0}

    def __init__(self, graph: Graph, config: IALSConfig) -> None:
        super().__init__(graph, config)
        self.users, self.items = graph.range(graph.target[0]), graph.range(graph.target[2])
        self.same_ends = graph.same_ends
        self.item: Tensor  #: FloatTensor [I, D], h
        self.gramian: Tensor  #: FloatTensor [D, D], sum of h h' over all items
        self.register_buffer("item", torch.zeros(len(self.items), config.dim))
        self.register_buffer("gramian", torch.zeros(config.dim, config.dim))
        declare_rows(self, item=NodeRows.of(graph, graph.target[2], computed=True))
        if graph.only(graph.target).num_edges:
            self.alternate(graph)

    @property
    def learns_facts(self) -> bool:
        return self.config.facts > 0

    def alternate(self, graph: Graph) -> None:
        """Fill the buffers: solve for users, then for items, `iterations` times."""
        c, num_items, num_users = self.config, len(self.items), len(self.users)
        user, item = graph.only(graph.target).edge_index
        pair = (user * num_items + item).unique()  # repeated pairs count once
        user, item = pair // num_items, pair % num_items
        items_of = _ptr(torch.bincount(user, minlength=num_users)), item
        users_of = _ptr(torch.bincount(item, minlength=num_items)), user[item.argsort(stable=True)]
        start = torch.randn(num_items, c.dim, generator=torch.Generator().manual_seed(c.seed)) * c.init_std / c.dim**0.5
        start[users_of[0].diff().cpu() == 0] = (
            0  # items without users, withheld ones among them, are 0 and do not matter
        )
        self.item = start.to(graph.device)
        own = torch.arange(num_items, device=graph.device) if self.same_ends else None
        for _ in counted("solving", range(c.iterations), c.iterations, "iterations"):
            users = self.solve(*items_of, self.item, _gramian(self.item), own)
            self.item = self.solve(*users_of, users, _gramian(users), own)
        if c.reads_content:
            has_users = users_of[0].diff().cpu().numpy() > 0
            mapped = ContentRegression.of(ItemContent.of(graph, c), has_users, c.content_l2)
            own, found, both = self.item[mapped.learned.to(graph.device)], mapped.rows_of(self.item), _gramian(users)
            strength = as_strong(((own @ both) * own).sum(1), ((found @ both) * found).sum(1))
            self.item[mapped.predicted.to(graph.device)] = found * strength
        self.gramian = _gramian(self.item)

    def solve(self, ptr: Tensor, other: Tensor, fixed: Tensor, gramian: Tensor, own: Tensor | None = None) -> Tensor:
        """The best vectors of one side while the other is held fixed: FloatTensor [n, D].

        Row n is paired with the rows other[ptr[n] : ptr[n + 1]] of fixed [N, D], each once. ptr: LongTensor [n + 1];
        other: LongTensor; gramian: fixed'fixed [D, D]. w_n = (sum of h h' over n's pairs + alpha gramian
        + l2 (number of pairs + alpha N)^nu I)^-1 sum of h over n's pairs. own: LongTensor [n], the row of fixed that is
        the same node as row n, -1 for none; it is left out of N and of the gramian.
        """
        c, known = self.config, ptr.diff()
        pairs = len(fixed) if own is None else len(fixed) - (own >= 0).long()
        ridge = c.l2 * (known + c.alpha * pairs) ** c.nu
        if fixed.device.type == "cpu" and fixed.dtype == torch.float32:
            solved, failed = _solved(ptr, other, fixed, c.alpha * gramian, ridge, own, c.alpha)
        else:
            solved, failed = _solved_in_groups(ptr, other, fixed, gramian, ridge, own, c.alpha)
        if failed is not None:
            raise KgrecError(
                f"iALS cannot solve for the vector of a user or item: {failed}; raise l2, or train again if the "
                "stored weights were altered"
            )
        return solved

    def score(self, query: Query, items: Tensor) -> Tensor:
        has = query.multi_hot(self.items)  # [B, I]
        own = None
        if self.same_ends:
            own = torch.where(query.user < self.users.stop, query.user - self.users.start, -1)
        user = self.solve(_ptr(has.sum(1).long()), has.nonzero()[:, 1], self.item, self.gramian, own)
        item = self.item[items - self.items.start]
        return product(user, item) if items.dim() == 1 else (item @ user.unsqueeze(-1)).squeeze(-1)


def _gramian(vectors: Tensor) -> Tensor:
    """The sum of h h' over vectors h [N, D]: [D, D], by one thread, so that it is the same for any number of them."""
    (gramian,) = in_threads(lambda one: one.T @ one, [vectors], torch.get_num_threads())
    return gramian


def _ptr(count: Tensor) -> Tensor:
    return torch.cat([count.new_zeros(1), count.cumsum(0)])


def _solved(
    ptr: Tensor, other: Tensor, fixed: Tensor, base: Tensor, ridge: Tensor, own: Tensor | None, alpha: float
) -> tuple[Tensor, str | None]:
    """The vectors of all rows, [n, D], in compiled code, and what went wrong, if anything. Each row is computed alone,
    so its vector does not depend on the others. base: alpha times the gramian; ridge: FloatTensor [n]."""
    solved = fixed.new_zeros(len(ptr) - 1, fixed.shape[1])
    arrays = [one.contiguous().numpy() for one in (ptr, other, fixed, base, ridge)]
    arrays += [np.empty(0, np.int64) if own is None else own.numpy()]
    heavy = ptr.diff().argsort(descending=True, stable=True).numpy()  # the longest first, so that threads end together
    parts = [heavy] if len(heavy) < 2 * ROWS else [heavy[start : start + ROWS] for start in range(0, len(heavy), ROWS)]
    threads = min(torch.get_num_threads(), len(parts))
    failed = max(in_threads(lambda rows: solve_rows(rows, *arrays, alpha, solved.numpy()), parts, threads))
    return solved, None if failed < 0 else f"the matrix of row {failed} is not positive-definite"


def _solved_in_groups(
    ptr: Tensor, other: Tensor, fixed: Tensor, gramian: Tensor, ridge: Tensor, own: Tensor | None, alpha: float
) -> tuple[Tensor, str | None]:
    """The same by torch, on any device: rows of similar length are solved together."""
    dim = fixed.shape[1]
    fixed, other = torch.cat([fixed, fixed.new_zeros(1, dim)]), torch.cat([other, other.new_tensor([len(fixed)])])
    solved = fixed.new_zeros(len(ptr) - 1, dim)
    for rows, width in _of_like_length(ptr.diff(), dim):
        place = ptr[rows, None] + torch.arange(width, device=ptr.device)
        vectors = fixed[other[torch.where(place < ptr[rows + 1, None], place, -1)]]  # [rows, width, D]
        matrix = torch.baddbmm(gramian, vectors.mT, vectors, beta=alpha)
        if own is not None:
            alone = fixed[own[rows]].unsqueeze(1)  # -1 reads the last row, which is zeros
            matrix = torch.baddbmm(matrix, alone.mT, alone, alpha=-alpha)
        matrix.diagonal(dim1=1, dim2=2).add_(ridge[rows, None])
        try:
            factor = torch.linalg.cholesky(matrix)
        except torch.linalg.LinAlgError as error:
            return solved, str(error)
        solved[rows] = torch.cholesky_solve(vectors.sum(1).unsqueeze(-1), factor).squeeze(-1)
    return solved, None


def _of_like_length(length: Tensor, dim: int) -> Iterator[tuple[Tensor, int]]:
    """Groups of rows of similar length, to be solved together, and each group's longest length. This limits padding and
    memory."""
    order = length.argsort(descending=True, stable=True)
    falling = -length[order].cpu().numpy()
    start, end = 0, int(np.searchsorted(falling, 0))
    while start < end:
        width = -int(falling[start])
        alike = int(np.searchsorted(falling, -(width * 7 // 8 - 4)))
        stop = min(alike, end, start + max(1, FLOATS // (dim * max(width, dim))))
        yield order[start:stop], width
        start = stop
