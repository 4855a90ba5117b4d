"""Synthetic users: new interactions sampled from a trained generator, and how they compare with real ones."""

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

PREFIX = "synthetic-"  #: of the new users' ids, before a number from 1; it is repeated where real ids are like that
CELLS = 4_194_304  #: numbers of generated rows that are held at once
MOST_USERS = 100_000_000
MOST_POPULAR = 200  #: items whose pairs are counted


@dataclass(frozen=True)
class Generated:
    """Synthetic interactions, and how they compare with those that the generator learned from."""

    table: pa.Table  #: `user` and `item`, external ids, strings; `synthetic`, int8, always 1
    report: Mapping[str, Any]  #: what `compare_rows` gives, and numbers of users and interactions

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON data."""
        return dict(self.report)


def generate(run: TrainedModel, users: int, *, seed: int = 0) -> Generated:
    """Interactions of so many new users, sampled from a run of model `gan`.

    Each has noise of its own, the condition of a real user drawn uniformly among those with a history (that user's
    history or columns; none where the model has no condition), and as many items as another real user so drawn. The
    items are distinct, drawn without replacement in proportion to the generated x^: those of the greatest log x^ +
    Gumbel noise (Gumbel top-k: Yellott 1977; Kool et al. 2019). New users are `synthetic-1` and so on, or
    `synthetic-synthetic-1` where a real id is like that.

    Raises KgrecError for a run of another model, and where `users` is less than 1.
    """
    if users < 1:
        raise KgrecError(f"{users} users are asked for, 1 or more is wanted")
    if seed < 0:
        raise KgrecError(f"seed is {seed}, 0 or more is wanted")
    must_be_at_most("users", users, MOST_USERS)
    must_be_at_most("seed", seed, MOST_OF_SEEDS)
    if not isinstance(run.model, GAN):
        raise KgrecError(f"this run is of model {run.name!r}, which generates no users; train a gan")
    real = _real_rows(run)
    generator = torch.Generator().manual_seed(seed)
    lengths = np.diff(real.indptr)
    active = torch.from_numpy(np.flatnonzero(lengths))
    if not len(active):
        raise KgrecError("this run keeps no interactions, so there is nobody to take conditions and lengths from")
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
    """The 0-1 rows of what users are known to have: [U, I]."""
    known = run.graph.only(run.graph.target)
    user, item = known.edge_index.cpu().numpy()
    return _rows(user, item, (len(known.range(known.target[0])), len(known.range(known.target[2]))))


def _rows(row: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """0-1 rows with their items in order; a pair that stands twice counts once. row, item: int64 [n]."""
    rows = csr_array((np.ones(len(row)), (row, item)), shape=shape)
    rows.sum_duplicates()
    rows.data[:] = 1
    return rows


def _sampled(run: TrainedModel, model: GAN, asked: Tensor, length: Tensor, generator: torch.Generator) -> Tensor:
    """The items of each new user, one user after another: LongTensor [sum of lengths], local numbers, on the CPU.

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
    """Distinct items of each row, drawn one after another in proportion to sigmoid(logit) [n, I] among those that are
    left: LongTensor [sum of lengths], row by row. length: LongTensor [n], at most I."""
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
    """How generated rows [N, I] compare with real ones [U, I], both 0-1. asked: int64 [N], the real user whose
    condition each had; None: there was none. What is not defined is None.

    - `popularity`, of items' counts: Spearman's correlation, the Jensen-Shannon divergence (bits, 0 to 1), Gini's
      coefficient (0: all alike) and the share of the catalog that has any interaction, both of real and generated.
    - `length`, of users with any: mean and quartiles.
    - `co_occurrence`: Pearson's correlation, over the pairs of the `items` most popular real items, of the share of
      users who have both.
    - `copies`: the share of new users whose items are exactly those of the user `asked`, and of `any` real user; the
      mean Jaccard similarity with the user asked.
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
    """Gini's coefficient of counts [I], not all 0: 0 where all are alike, near 1 where one has all.

    >>> gini(np.array([2, 2, 2, 2])), gini(np.array([0, 0, 0, 4]))
    (0.0, 0.75)
    """
    place, number = np.arange(1, len(count) + 1), len(count)
    return float(2 * (place * np.sort(count)).sum() / (number * count.sum()) - (number + 1) / number)


def divergence(one: np.ndarray, other: np.ndarray) -> float:
    """The Jensen-Shannon divergence of two distributions in proportion to counts [I], in bits (Lin 1991, eq. 4.1).

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
    """|A and B| / |A or B| of 0-1 rows [N, I], row by row: float64 [N]; 1 where both are empty."""
    common = np.asarray((one * other).sum(1))
    union = np.diff(one.indptr) + np.diff(other.indptr) - common
    return np.where(union > 0, common / np.maximum(union, 1), 1.0)


def _equal(one: csr_array, other: csr_array) -> np.ndarray:
    return jaccard(one, other) == 1


def _prints(rows: csr_array) -> np.ndarray:
    """A number for each row that is the same where the items are: uint64 [N], the sum modulo 2^64 of numbers drawn for
    the items. Two sets have the same one with a chance of 2^-64."""
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
    """Pearson's; None where either has no variance."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])
