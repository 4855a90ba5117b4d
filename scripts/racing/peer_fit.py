"""Seconds in which another library fits a model without epochs: `python -m racing.peer_fit JOB`, in its environment.

JOB is a JSON file: `program`, `model` and `settings`, `pairs` (an .npz file of `user` and `item`, numbers from 0),
`num_items`, `threads`, and `result`, the .npz file that it writes: `seconds` of each round, `peak_mb`, and the fitted
`values`, float32: of neighbors the similarities of each item, falling, without its own; of EASE the weights.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as implicit asks for: it has threads of its own

import numpy as np

ROUNDS = 4  #: the first of them warms up


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with np.load(job["pairs"]) as pairs:
        user, item = pairs["user"], pairs["item"]
    begin = {"lenskit": of_lenskit, "implicit": of_implicit}[job["program"]]
    fit, values = begin(job, user, item)
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        model = fit()
        seconds.append(time.perf_counter() - begun)
    np.savez(job["result"], seconds=seconds[1:], peak_mb=peak_mb(), values=values(model))


def peak_mb() -> float:
    """The most memory of this process. What `resource` says counts the process that started it, too."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def of_lenskit(
    job: Mapping[str, Any], user: np.ndarray, item: np.ndarray
) -> tuple[Callable[[], Any], Callable[[Any], np.ndarray]]:
    """What fits a model of LensKit, and what reads its values."""
    import pandas as pd
    from lenskit.als import ImplicitMFScorer
    from lenskit.data import from_interactions_df
    from lenskit.knn import EASEScorer, ItemKNNScorer
    from lenskit.training import TrainingOptions

    data = from_interactions_df(pd.DataFrame({"user_id": user, "item_id": item}))
    kind = {"EASE": EASEScorer, "ItemKNN": ItemKNNScorer, "ALS": ImplicitMFScorer}[job["model"]]

    def fit() -> Any:
        scorer = kind(**job["settings"])
        scorer.train(data, TrainingOptions(rng=0, device="cpu"))
        return scorer

    def values(scorer: Any) -> np.ndarray:
        if job["model"] == "ALS":
            return np.zeros(0, np.float32)
        number, place = job["num_items"], np.asarray(scorer.items.ids())
        if job["model"] == "EASE":
            found = np.zeros((number, number), np.float32)
            found[np.ix_(place, place)] = scorer.weights
            return found
        matrix = scorer.sim_matrix.to_scipy()
        return falling(matrix.indptr, matrix.indices, matrix.data, place, number, job["settings"]["save_nbrs"])

    return fit, values


def of_implicit(
    job: Mapping[str, Any], user: np.ndarray, item: np.ndarray
) -> tuple[Callable[[], Any], Callable[[Any], np.ndarray]]:
    """The same of implicit."""
    import scipy.sparse
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import CosineRecommender

    shape = int(user.max()) + 1, job["num_items"]
    matrix = scipy.sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape)
    matrix.data[:] = 1  # a pair that occurs twice counts once
    kind = {"ItemKNN": CosineRecommender, "ALS": AlternatingLeastSquares}[job["model"]]

    def fit() -> Any:
        model = kind(**job["settings"], num_threads=job["threads"])
        model.fit(matrix, show_progress=False)
        return model

    def values(model: Any) -> np.ndarray:
        if job["model"] == "ALS":
            return np.zeros(0, np.float32)
        found, number = model.similarity, job["num_items"]
        # an item is the first of its own neighbors
        return falling(found.indptr, found.indices, found.data, np.arange(number), number, job["settings"]["K"] - 1)

    return fit, values


def falling(
    ptr: np.ndarray, column: np.ndarray, value: np.ndarray, place: np.ndarray, number: int, most: int
) -> np.ndarray:
    """The similarities of each of so many items with its neighbors, falling: float32 [number, most], then zeros."""
    found = np.zeros((number, most), np.float32)
    for row in range(len(ptr) - 1):
        own = slice(ptr[row], ptr[row + 1])
        of_row = np.sort(value[own][column[own] != row])[::-1][:most]
        found[place[row], : len(of_row)] = of_row
    return found


if __name__ == "__main__":
    main()
