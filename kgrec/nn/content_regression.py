"""Ridge regression from what is known of items to anything that was learned of the items that have users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are first used
import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.nn.item_content import ItemContent, counts_of

COUNTS_L2 = 10.0  #: weight of L2 regularisation where numbers of users are predicted


@dataclass(frozen=True, eq=False)
class ContentRegression:
    """Predicts rows of items without users from the rows of those with users.

    The regression is w = argmin sum over learned items of (y_i - c_i.w)^2 + l2 |w|^2, for each number y of a row, where
    c_i is the item's content. Its predictions are weighted sums of the learned rows, by the dual form
    (K + l2 I)^-1 k, K = the products of contents (Saunders et al. 1998, Ridge regression learning algorithm in dual
    variables, ICML, eq. 7). So the time is that of solving for a matrix [L, L] of the L learned items, however many
    facts and words there are.
    """

    learned: Tensor  #: LongTensor [L], the items with users and any content, from 0
    predicted: Tensor  #: LongTensor [C], the items with content and no users
    weight: Tensor  #: FloatTensor [L, C]

    @staticmethod
    def of(content: ItemContent, has_users: np.ndarray, l2: float) -> ContentRegression:
        """has_users: bool [I]; l2: the weight of L2 regularisation. Items without content are left as they are. Raises
        KgrecError where the settings are too extreme to solve for."""
        learned, predicted = (np.flatnonzero(which & content.known()) for which in (has_users, ~has_users))
        if not len(learned) or not len(predicted):
            nothing = torch.zeros(len(learned), len(predicted))
            return ContentRegression(torch.from_numpy(learned), torch.from_numpy(predicted), nothing)
        matrix = content.gram(learned, learned)
        matrix[np.diag_indices_from(matrix)] += l2
        try:
            factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True)
            weight = scipy.linalg.cho_solve(factor, content.gram(learned, predicted))
        except (np.linalg.LinAlgError, ValueError) as error:  # ValueError: numbers are not finite
            raise KgrecError(
                f"the map from content cannot be solved in 32-bit numbers with these settings ({error}); raise "
                "content_l2, and set facts, words and columns closer to 1"
            ) from error
        return ContentRegression(*(torch.from_numpy(one) for one in (learned, predicted, weight.astype(np.float32))))

    def rows_of(self, rows: Tensor) -> Tensor:
        """The predicted rows: FloatTensor [C, D]. rows: those of all items, FloatTensor [I, D]."""
        return self.weight.T.to(rows) @ rows[self.learned.to(rows.device)]


def as_strong(own: Tensor, predicted: Tensor) -> float:
    """The factor that makes predicted scores as strong as the others: the root of the mean of own [L] over that of
    predicted [C], which are sums of squared scores over known users, an item each. A regression shrinks what it
    predicts, so that items without users would hardly ever be among the best of all items. The factor is the same for
    all predicted items, so it leaves their order as it is. 1 where there is nothing to compare."""
    wanted, found = float(own.double().mean()), float(predicted.double().mean())
    return (wanted / found) ** 0.5 if wanted > 0 and found > 0 else 1.0


def predicted_popularity(
    graph: Graph, content: ItemContent, mapped: ContentRegression, count: Tensor
) -> tuple[Tensor, Tensor]:
    """Numbers of users over their geometric mean: those of all items, FloatTensor [I], 1 for items that were not
    learned; and those that ridge regression predicts for the items of `mapped.predicted`, FloatTensor [C]. It predicts
    logarithms, from the content and from how much of it there is. count: FloatTensor [I], the numbers of users."""
    learned = np.zeros(len(count), bool)
    learned[mapped.learned.numpy()] = True
    log = np.log(count.cpu().numpy()[learned].astype(np.float64))
    relative = torch.ones(len(count), dtype=torch.float64)
    relative[mapped.learned] = torch.from_numpy(np.exp(log - log.mean()))
    more = ItemContent([*((weight / 2, matrix) for weight, matrix in content.parts), (1.0, counts_of(graph))])
    again = ContentRegression.of(more, learned, COUNTS_L2)
    found = torch.zeros(len(count), dtype=torch.float64)
    found[again.predicted] = again.weight.double().T @ torch.from_numpy(log - log.mean())
    return relative.float(), found[mapped.predicted].exp().float()
