"""Trains implicit ALS of LensKit in a race: `python -m racing.lenskit_course JOB`."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from lenskit.als import ImplicitMFScorer
from lenskit.data import Dataset, from_interactions_df
from lenskit.training import TrainingOptions

from racing.course import Course, Scores

MODELS = {"ALS": ImplicitMFScorer}
WARM_UP = 50  #: users of the training in which threads are started


def data_of(user: np.ndarray, item: np.ndarray) -> Dataset:
    """Interactions as LensKit's data set."""
    return from_interactions_df(pd.DataFrame({"user_id": user, "item_id": item}))


def trainer_of(course: Course, data: Dataset) -> tuple[Any, Any]:
    """A new model and what trains it."""
    scorer = MODELS[course.model](**course.settings)
    return scorer, scorer.create_trainer(data, TrainingOptions(rng=course.seed))


def main() -> None:
    course = Course(sys.argv[1])
    few = course.first_users(WARM_UP)
    trainer_of(course, data_of(course.user[few], course.item[few]))[1].train_epoch()
    data = data_of(course.user, course.item)
    users, items = (np.asarray(one.ids()) for one in (data.users, data.items))  # the number of each row
    row_of = np.empty(course.num_users, np.int64)
    row_of[users] = np.arange(len(users))
    column_of = np.empty(course.num_items, np.int64)
    column_of[items] = np.arange(len(items))
    course.ready({"lenskit": version("lenskit")})
    scorer, trainer = trainer_of(course, data)
    for epoch in range(1, course.epochs + 1):
        trainer.train_epoch()
        course.stop()  # what follows is part of answering
        vectors = answering(scorer, trainer)
        course.start()
        if not course.after_epoch(epoch, scores_of(vectors[row_of], scorer.item_embeddings[column_of])):
            break


def scores_of(users: np.ndarray, items: np.ndarray) -> Scores:
    """The scores of all items for users, by their vectors."""

    def scores(wanted: np.ndarray) -> np.ndarray:
        found: np.ndarray = users[wanted] @ items.T
        return found

    return scores


def answering(scorer: Any, trainer: Any) -> np.ndarray:
    """The vectors of all users as LensKit solves them from their histories when it recommends, float32 [U, D]."""
    vectors = scorer.user_embeddings.copy()
    trainer.als_half_epoch(0, trainer.u_ctx._replace(left=vectors, right=scorer.item_embeddings))
    return vectors


if __name__ == "__main__":
    main()
