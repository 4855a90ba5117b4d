"""Trains a model of implicit in a race: `python -m racing.implicit_course JOB`."""

from __future__ import annotations

import os
import sys
from typing import Any

from racing.course import Course

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as implicit asks for: it has threads of its own

import implicit
import numpy as np
import scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking

MODELS: dict[str, Any] = {"ALS": AlternatingLeastSquares, "BPR": BayesianPersonalizedRanking}


def main() -> None:
    course = Course(sys.argv[1])
    ones = np.ones(len(course.user), np.float32)
    shape = course.num_users, course.num_items
    matrix = scipy.sparse.csr_matrix((ones, (course.user, course.item)), shape)
    model = MODELS[course.model](
        iterations=course.epochs, num_threads=course.threads, random_state=course.seed, **course.settings
    )

    def scores(users: np.ndarray) -> np.ndarray:
        found: np.ndarray = model.user_factors[users] @ model.item_factors.T
        return found

    def after(iteration: int, *_: Any) -> None:
        if not course.after_epoch(iteration + 1, scores):
            sys.exit()

    course.ready({"implicit": implicit.__version__})
    model.fit(matrix, show_progress=False, callback=after)


if __name__ == "__main__":
    main()
