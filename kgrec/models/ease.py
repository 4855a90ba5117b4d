"""EASE: a linear item-to-item model, solved in closed form; strong where users have some history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import scipy  # its parts are imported when they are first used
import torch
from pydantic import NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.graph.item_counts import item_counts
from kgrec.in_threads import in_threads
from kgrec.memory import must_fit
from kgrec.model import Query, Recommender, ScorerParts
from kgrec.nn.common_users import ItemUsers, count_common
from kgrec.nn.content_regression import ContentRegression, as_strong, predicted_popularity
from kgrec.nn.item_content import ItemContent, ItemContentConfig, multi_hot
from kgrec.nn.symmetric_inverse import BLOCK, mirror, negative_inverse
from kgrec.progress import counted
from kgrec.search_ranges import Between
from kgrec.settings import settings

SOME = 512  #: users whose scores are compared, and rows that are changed at once
COUNTED = 64  #: rows of X'X that a thread counts at a time

ADVICE = (
    "leave out rare items when the graph is built (`min_item` in the recipe), or train itemknn or ials, which have no "
    "such matrix"
)


@settings
class EASEConfig(ItemContentConfig):
    """Settings of EASE."""

    #: lambda, weight of L2 regularisation of the item-item weights; raise it where users are few or histories are short
    l2: Annotated[PositiveFloat, Between(10.0, 10_000.0, log=True)] = 1000.0
    #: with facts, words or columns, how they count: `rows` adds them to the users' rows (CEASE); `regression` leaves
    #: the items with users as they are, and predicts the weights of the others from what is known of them
    content: Literal["rows", "regression"] = "rows"
    #: with `content: regression`, weight of L2 regularisation of the map from content to weights; raise it where it
    #: overfits
    content_l2: PositiveFloat = 30.0
    #: with `content: regression`, how far popularity, which content predicts less well than taste, is taken out of the
    #: weights before the map and put back after it: 0 not at all, 1 in proportion
    popularity: NonNegativeFloat = 0.25

    @model_validator(mode="after")
    def _has_content(self) -> EASEConfig:
        if self.content == "regression" and not self.reads_content:
            raise ValueError("content=regression needs content: set facts, words or columns to more than 0")
        return self


class EASE(Recommender):
    """score(u, i) = x_u B_i, where x_u is the 0-1 row of the user's items. B minimises |X - X B|^2 + l2 |B|^2 under
    diag(B) = 0: B = I - P diag(1 / diag P), where P = (X'X + l2 I)^-1 (Steck 2019, eq. 8).

    The time is that of inverting a float32 matrix [I, I], I^3 multiplications and additions. One such matrix is held in
    memory, X'X, which becomes P and then B in its place: 55 MB for the 3,706 items of MovieLens-1M, 10 GB for 50,000
    items. Where so much is not free, training says so before it begins.

    With `facts`, `words` or `columns` it is CEASE (Jeunen et al. 2020, eq. 7). Each statement of the facts (a relation
    and its other end) is one more row of X: it marks the items with this statement, and is weighted by `facts`. Words
    of texts and other columns are rows as well. So items without users are recommended too, by what is known of them.

    With `content: regression` they are no rows. B is that of the users alone. The column of an item without users is
    predicted from what is known of it, by ridge regression on the columns of the items with users (Gantner et al. 2010
    map attributes to vectors of a factorization in this way), and so is its row, for those who will have it. Columns
    are divided by n^popularity before, where n is the number of an item's users over their geometric mean, and
    multiplied by m^(popularity / 2) after it, where m is the n that the content predicts. At last all predicted columns
    are multiplied by one number, so that the mean square of known users' scores is that of the other items.

    Where users and items are the same nodes, column j of B is fitted without row j, so that nobody's own entry counts.
    """

    Config = EASEConfig
    paper = "Steck 2019, Embarrassingly shallow autoencoders for sparse data, WWW"
    reads_history = True
    reads_facts = "facts"
    for_cold: ClassVar[Mapping[str, Any]] = {
        "l2": 500.0,
        "content": "regression",
        "facts": 1.0,
        "words": 1.0,
        "columns": 4.0,
        "content_l2": 30.0,
        "popularity": 0.25,
    }

    def __init__(self, graph: Graph, config: EASEConfig) -> None:
        super().__init__(graph, config)
        self.items = graph.range(graph.target[2])
        known = graph.only(graph.target)
        self.weight: Tensor  #: FloatTensor [I, I], B
        must_fit(
            memory_for(len(self.items)), f"EASE's matrix of {len(self.items):,} x {len(self.items):,} items", ADVICE
        )
        if known.num_edges:
            matrix = self.gram(graph).to(known.device)
            matrix.diagonal().add_(config.l2)
            negative_inverse(matrix)
            if graph.same_ends:
                _without_own(mirror(matrix, matrix.new_full((len(matrix),), -1)), _rows_of(known, len(self.items)))
                matrix.div_(-matrix.diagonal().clone())
            else:
                mirror(matrix, -matrix.diagonal().clone())
            self.register_buffer("weight", matrix.fill_diagonal_(0))
            if config.content == "regression":
                self.predict_cold(graph)
        else:
            self.register_buffer("weight", torch.zeros(len(self.items), len(self.items)))

    @property
    def learns_facts(self) -> bool:
        return self.config.facts > 0

    def gram(self, graph: Graph) -> Tensor:
        """X'X up to the diagonal, with the rows of what is known of items if the settings give it a weight: FloatTensor
        [I, I]."""
        users, content, num_items = ItemUsers.of(graph), None, len(self.items)
        if self.config.reads_content and self.config.content == "rows":
            content = ItemContent.of(graph, self.config)
        gram = torch.zeros(num_items, num_items)

        def count(start: int) -> int:
            stop = min(start + COUNTED, num_items)
            count_common(start, stop, *users, gram.numpy())  # whole numbers, so exact in float32
            if content is not None:
                gram[start:stop] += torch.from_numpy(content.gram(slice(start, stop)))
            return stop - start

        parts = in_threads(count, range(0, num_items, COUNTED), torch.get_num_threads())
        for _ in counted("counting common users", parts, num_items, "items", int):
            pass
        return gram

    def predict_cold(self, graph: Graph) -> None:
        """Fill the columns and rows of the items without users by what their content predicts."""
        c, count = self.config, item_counts(graph)
        content = ItemContent.of(graph, c)
        mapped = ContentRegression.of(content, (count > 0).cpu().numpy(), c.content_l2)
        learned, predicted = (one.to(self.weight.device) for one in (mapped.learned, mapped.predicted))
        if not len(learned) or not len(predicted):
            return
        before, after = predicted_popularity(graph, content, mapped, count)
        columns = self.weight / (before**c.popularity).to(self.weight)
        columns = mapped.rows_of(columns.T).T * (after ** (c.popularity / 2)).to(self.weight)
        rows = mapped.rows_of(self.weight)
        rows_of_users = _some_rows(graph.only(graph.target), len(self.items)).to(self.weight)
        own, found = rows_of_users @ self.weight[:, learned], rows_of_users @ columns
        columns *= as_strong(own.square().sum(0), found.square().sum(0))
        self.weight[:, predicted] = columns
        self.weight[predicted] = rows
        self.weight.fill_diagonal_(0)

    def score(self, query: Query, items: Tensor) -> Tensor:
        has = query.multi_hot(self.items)  # [B, I]
        first = has.sum(1).long().cumsum(0).roll(1)
        first[:1] = 0
        score = functional.embedding_bag(has.nonzero()[:, 1], self.weight, first, mode="sum")  # [B, I]
        local = items - self.items.start
        return score[:, local] if items.dim() == 1 else score.gather(1, local)

    def linear_scorer(self) -> ScorerParts:
        return ScorerParts("history_times_weights", {"weight": self.weight})


def memory_for(num_items: int) -> int:
    """How many bytes of memory EASE needs at most: its matrix, and strips beside it while that is inverted.

    >>> f"{memory_for(50_000) / 1e9:.1f} GB"
    '10.2 GB'
    """
    return 4 * num_items * (num_items + 2 * min(BLOCK, num_items))


def _rows_of(known: Graph, width: int) -> scipy.sparse.csr_array:
    """The 0-1 rows of users up to the last one who has an edge: [*, I]."""
    user, item = known.edge_index.cpu().numpy()
    return multi_hot(user, item, (int(user.max(initial=-1)) + 1, width))


def _some_rows(known: Graph, width: int) -> Tensor:
    """The 0-1 rows of at most SOME users who have an item: FloatTensor [at most SOME, I]."""
    user, item = known.edge_index.cpu().numpy()
    chosen = np.unique(user)
    chosen = chosen[:: -(-len(chosen) // SOME)]
    inside = np.isin(user, chosen)
    row = np.searchsorted(chosen, user[inside])
    return torch.from_numpy(multi_hot(row, item[inside], (len(chosen), width)).toarray())


def _without_own(inverse: Tensor, rows: scipy.sparse.csr_array) -> Tensor:
    """The matrix whose column j is column j of (X'X - r_j r_j' + l2 I)^-1, where r_j is the row of user j. So a user's
    missing edge to themselves does not count. Computed in place of P by the Sherman-Morrison formula: FloatTensor
    [I, I].

    inverse: P, FloatTensor [I, I]; rows: X [at most I, I]."""
    height, width = rows.shape
    ptr = np.pad(rows.indptr, (0, width - height), mode="edge")  # users after the last row have no edges
    rows = scipy.sparse.csr_array((rows.data, rows.indices, ptr), shape=(width, width))
    own, share = inverse.new_zeros(width), inverse.new_zeros(width)
    parts = [slice(start, min(start + SOME, width)) for start in range(0, width, SOME)]
    for part in parts:
        of_rows = rows @ inverse[part].cpu().numpy().T  # some columns of X P, as P is symmetric
        own[part] = torch.from_numpy(of_rows[part].diagonal().copy()).to(inverse)  # r_j' P e_j
        share += torch.from_numpy(np.asarray((rows[:, part] * of_rows).sum(1))).to(inverse)  # r_j' P r_j, below 1
    strength = own / (1 - share)
    for part in parts:
        of_rows = rows @ inverse[part].cpu().numpy().T
        inverse[part] += torch.from_numpy(of_rows.T).to(inverse) * strength
    return inverse
