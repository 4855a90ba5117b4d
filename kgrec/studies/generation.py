"""Synthetic users: new interactions sampled from a trained generator, and a comparison with real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch
from scipy.sparse import csr_array
from scipy.stats import rankdata
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.evaluation.ranking import Scorer, scoring
from kgrec.models.gan import GAN
from kgrec.settings import MOST_OF_SEEDS, must_be_at_most
from kgrec.training.trained_model import TrainedModel

PREFIX = "synthetic-"  #: prefix of the new users' ids, before a number from 1; repeated if a real user has such an id
CELLS = 4_194_304  #: maximum number of generated values in memory at once
MOST_USERS = 100_000_000
MOST_POPULAR = 200  #: number of items whose pairs are counted


@dataclass(frozen=True)
class Generated:
    """Synthetic interactions, and a comparison with the real ones that the generator was trained on."""

    table: pa.Table  #: columns `user` and `item` (external ids, strings) and `synthetic` (int8, always 1)
    report: Mapping[str, Any]  #: the result of `compare_rows`, and the numbers of users and interactions

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON data."""
        return dict(self.report)


def generate(run: TrainedModel, users: int, *, seed: int = 0) -> Generated:
    """Sample interactions of `users` new users from a run of model `gan`.

    Each new user gets its own noise. It gets the condition of a real user who is drawn uniformly among those with a
    history (that user's history or columns, if the model has a condition), and the number of items of another user
    drawn in the same way. The items are distinct. They are drawn without replacement in proportion to the generated x^:
    those with the greatest log x^ + Gumbel noise (Gumbel top-k: Yellott 1977; Kool et al. 2019). New users are called
    `synthetic-1` and so on, or `synthetic-synthetic-1` if a real user has such an id.

    Raises KgrecError for a run of another model, and if `users` is less than 1.
    """
    if users < 1:
        raise KgrecError(f"the number of users is {users}, but must be 1 or more")
    if seed < 0:
        raise KgrecError(f"seed is {seed}, but must be 0 or more")
    must_be_at_most("users", users, MOST_USERS)
    must_be_at_most("seed", seed, MOST_OF_SEEDS)
    if not isinstance(run.model, GAN):
        raise KgrecError(f"this is a run of model {run.name!r}, which cannot generate users; train model gan")
    real = _real_rows(run)
    generator = torch.Generator().manual_seed(seed)
    lengths = np.diff(real.indptr)
    active = torch.from_numpy(np.flatnonzero(lengths))
    if not len(active):
        raise KgrecError(
            "this run has no interactions, so there is no real user to take a condition and a history length from; "
            "train on a graph with interactions"
        )
    asked = active[torch.randint(len(active), (users,), generator=generator)]
    length = torch.from_numpy(lengths)[active[torch.randint(len(active), (users,), generator=generator)]]
    item = _sampled(run, run.model, asked, length, generator)
    made = _rows(np.repeat(np.arange(users), length.numpy()), item.numpy(), (users, real.shape[1]))
    conditioned = run.model.config.condition is not None
    report = {
        "users": users,
        "interactions": int(made.nnz),
        **compare_rows(real, made, asked.numpy() if conditioned else None),
    }
    return Generated(_table(run, users, length, item), report)


def _real_rows(run: TrainedModel) -> csr_array:
    """Known interactions as 0-1 rows: [U, I]."""
    known = run.graph.only(run.graph.target)
    user, item = known.edge_index.cpu().numpy()
    return _rows(user, item, (len(known.range(known.target[0])), len(known.range(known.target[2]))))


def _rows(row: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """0-1 rows with sorted items; a pair that is there twice counts once. row, item: int64 [n]."""
    rows = csr_array((np.ones(len(row)), (row, item)), shape=shape)
    rows.sum_duplicates()
    rows.data[:] = 1
    return rows


def _sampled(run: TrainedModel, model: GAN, asked: Tensor, length: Tensor, generator: torch.Generator) -> Tensor:
    """The items of the new users, user by user: LongTensor [sum of lengths], local numbers, on the CPU.

    asked: LongTensor [n], real users, local numbers; length: LongTensor [n]."""
    scorer, (source, _, target) = Scorer(model, run.graph), run.graph.target
    noise = torch.randn(len(asked), model.config.noise_dim, generator=generator)
    num_items, found = len(run.graph.range(target)), []
    with scoring(model):
        for part in torch.arange(len(asked)).split(max(1, CELLS // num_items)):
            query = scorer.query((asked[part] + run.graph.range(source).start).to(scorer.device))
            logit = model.generator.logits(noise[part].to(scorer.device), model.condition(query)).float().cpu()
            found.append(draw(logit, length[part], generator))
    return torch.cat(found)


def draw(logit: Tensor, length: Tensor, generator: torch.Generator) -> Tensor:
    """Distinct items of each row, drawn one by one without replacement in proportion to sigmoid(logit) [n, I]:
    LongTensor [sum of lengths], row by row. length: LongTensor [n], at most I."""
    uniform = torch.rand(logit.shape, dtype=torch.float64, generator=generator).clamp(min=1e-300)
    key = torch.nn.functional.logsigmoid(logit.double()) - (-uniform.log()).log()
    best = key.topk(int(length.max())).indices
    return best[torch.arange(best.shape[1]) < length.unsqueeze(1)]


def _table(run: TrainedModel, users: int, length: Tensor, item: Tensor) -> pa.Table:
    source, _, target = run.graph.target
    prefix = PREFIX
    while (run.graph.vocabulary[source].find(_numbered(prefix, users)) >= 0).any():
        prefix += PREFIX
    user = pa.array(np.repeat(np.arange(users), length.numpy()))
    columns = {
        "user": pa.array(_numbered(prefix, users)).take(user),
        "item": run.graph.vocabulary[target].id_array.take(pa.array(item.numpy())),
        "synthetic": pa.array(np.ones(len(item), np.int8)),
    }
    return pa.table(columns)


def _numbered(prefix: str, number: int) -> list[str]:
    return [f"{prefix}{n}" for n in range(1, number + 1)]


# ---------------------------------------------------------------------- comparison


def compare_rows(real: csr_array, made: csr_array, asked: np.ndarray | None) -> dict[str, Any]:
    """Compare generated rows [N, I] with real rows [U, I], both 0-1. asked: int64 [N], the real user whose condition
    each generated user had; None: there was no condition. Undefined values are None.

    - `popularity`: how often items are chosen. Spearman's correlation and the Jensen-Shannon divergence (bits, 0 to 1)
      between real and generated; for each of the two, the Gini coefficient (0: all items equally often) and the share
      of the catalog that has any interaction.
    - `length`: number of items of users who have any: mean and quartiles.
    - `co_occurrence`: for each pair of the `items` most popular real items, the share of users who have both; Pearson's
      correlation between real and generated.
    - `copies`: the share of new users who have exactly the items of the user in `asked` (`of_asked`), or of any real
      user (`of_any`); and the mean Jaccard similarity with the user in `asked`.
    """
    of_real, of_made = _counts(real), _counts(made)
    both = {"real": (real, of_real), "generated": (made, of_made)}
    popular = np.sort(np.argsort(-of_real, kind="stable")[:MOST_POPULAR])
    return {
        "popularity": {
            "spearman": _correlation(rankdata(of_real), rankdata(of_made)),
            "js_bits": divergence(of_real, of_made),
            "gini": {name: gini(count) for name, (_, count) in both.items()},
            "catalog_share": {name: float((count > 0).mean()) for name, (_, count) in both.items()},
        },
        "length": {name: _lengths(rows) for name, (rows, _) in both.items()},
        "co_occurrence": {
            "items": len(popular),
            "pearson": _correlation(_together(real[:, popular]), _together(made[:, popular])),
        },
        "copies": {
            "of_asked": None if asked is None else float(_equal(made, real[asked]).mean()),
            "of_any": float(np.isin(_prints(made), _prints(real)).mean()),
            "jaccard": None if asked is None else float(jaccard(made, real[asked]).mean()),
        },
    }


def gini(count: np.ndarray) -> float:
    """The Gini coefficient of counts [I] that are not all 0: 0 if all are equal, near 1 if one item has all.

    >>> gini(np.array([2, 2, 2, 2])), gini(np.array([0, 0, 0, 4]))
    (0.0, 0.75)
    """
    place, number = np.arange(1, len(count) + 1), len(count)
    return float(2 * (place * np.sort(count)).sum() / (number * count.sum()) - (number + 1) / number)


def divergence(one: np.ndarray, other: np.ndarray) -> float:
    """The Jensen-Shannon divergence, in bits, of two distributions with these counts [I] (Lin 1991, eq. 4.1).

    >>> divergence(np.array([3, 0]), np.array([0, 5])), divergence(np.array([1, 1]), np.array([2, 2]))
    (1.0, 0.0)
    """
    p, q = one / one.sum(), other / other.sum()
    return float(_bits((p + q) / 2) - (_bits(p) + _bits(q)) / 2)


def _bits(share: np.ndarray) -> float:
    """The entropy of shares [I], in bits."""
    there = share[share > 0]
    return float(-(there * np.log2(there)).sum())


def jaccard(one: csr_array, other: csr_array) -> np.ndarray:
    """|A and B| / |A or B| of 0-1 rows [N, I], row by row: float64 [N]; 1 if both are empty."""
    common = np.asarray((one * other).sum(1))
    union = np.diff(one.indptr) + np.diff(other.indptr) - common
    return np.where(union > 0, common / np.maximum(union, 1), 1.0)


def _equal(one: csr_array, other: csr_array) -> np.ndarray:
    return jaccard(one, other) == 1


def _prints(rows: csr_array) -> np.ndarray:
    """A hash for each row, equal for equal sets of items: uint64 [N], the sum modulo 2^64 of random numbers of the
    items. Two different sets have the same hash with a probability of 2^-64."""
    of_item = np.random.default_rng(0).integers(0, 1 << 64, rows.shape[1], dtype=np.uint64)
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(of_item[rows.indices], dtype=np.uint64)])
    return total[rows.indptr[1:]] - total[rows.indptr[:-1]]


def _counts(rows: csr_array) -> np.ndarray:
    return np.bincount(rows.indices, minlength=rows.shape[1])


def _lengths(rows: csr_array) -> dict[str, float]:
    length = np.diff(rows.indptr)
    quartiles = np.quantile(length[length > 0], [0.25, 0.5, 0.75])
    mean = length[length > 0].mean()
    return {"mean": float(mean), **dict(zip(("q1", "median", "q3"), map(float, quartiles)))}


def _together(rows: csr_array) -> np.ndarray:
    """The share of users who have both of each pair of items: float64 [pairs]."""
    shares = (rows.T @ rows).toarray() / rows.shape[0]
    return shares[np.triu_indices(rows.shape[1], 1)]


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Pearson's correlation; None if one of the two has no variance."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])
