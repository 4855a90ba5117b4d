"""Trains a model of kgrec in a race: `python -m racing.kgrec_course JOB`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

from kgrec.cli.before_torch import wait_briefly
from kgrec.cli.cycles import collecting_less
from racing.course import Course, Scores

wait_briefly()  # before torch starts, as the kgrec command does

with collecting_less():  # as it does too
    import numpy as np
    import pandas as pd
    import torch

    import kgrec
    from kgrec import models
    from kgrec.evaluation.ranking import Scorer
    from kgrec.graph import Graph
    from kgrec.model import Recommender, scoring
    from kgrec.training.config import TrainingConfig
    from kgrec.training.processes import make_fabric
    from kgrec.training.trainer import Trainer

WARM_UP = 50  #: users of the training in which compiled code is loaded or compiled


def graph_of(user: np.ndarray, item: np.ndarray, when: np.ndarray, users: int, items: int) -> Graph:
    """Interactions as a graph. Each of the numbers of users and items is a node."""
    edges = pd.DataFrame({"source": user, "target": item, "time": when})
    nodes = {"user": pd.DataFrame({"id": np.arange(users)}), "item": pd.DataFrame({"id": np.arange(items)})}
    return Graph.from_frames(edges={("user", "had", "item"): edges}, nodes=nodes)


def scores_of(model: Recommender, known: Graph) -> Scores:
    """The scores of all items for users, by a trained model."""
    scorer, users, items = Scorer(model, known), known.range("user"), known.range("item")

    def scores(user: np.ndarray) -> np.ndarray:
        with scoring(model):
            query = scorer.query(torch.from_numpy(user) + users.start)
            found: np.ndarray = scorer.scores(query, torch.arange(items.start, items.stop)).numpy()
        return found

    return scores


def built(name: str, graph: Graph, settings: Mapping[str, Any], seed: int) -> Recommender:
    """A new model, with the seed for its initial values, as `kgrec train --seed` makes it."""
    torch.manual_seed(seed)
    own = {"seed": seed} if "seed" in {one.name for one in dataclasses.fields(models.find(name).Config)} else {}
    return models.build(name, graph, {**own, **settings}).eval()


def main() -> None:
    course = Course(sys.argv[1])
    config = TrainingConfig(epochs=course.epochs, seed=course.seed, device="cpu")
    few = course.first_users(WARM_UP)
    small = graph_of(course.user[few], course.item[few], course.time[few], course.num_users, course.num_items)
    graph = graph_of(course.user, course.item, course.time, course.num_users, course.num_items)
    fabric = make_fabric(config)
    trainer = Trainer(built(course.model, small, course.settings, course.seed), small, config, fabric)
    next(iter(trainer.epochs()), None)
    scores_of(trainer.model, small)(np.arange(min(WARM_UP, course.num_users)))
    versions = {"kgrec": kgrec.__version__}
    if not trainer.objectives:
        alternate(course, graph, versions)
        return
    trainer = Trainer(built(course.model, graph, course.settings, course.seed), graph, config, fabric)
    scores = scores_of(trainer.model, graph)
    course.ready(versions)
    for epoch in trainer.epochs():
        if not course.after_epoch(epoch.number, scores):
            break


def alternate(course: Course, graph: Graph, versions: Mapping[str, str]) -> None:
    """A model that trains as a whole, such as iALS: it is trained anew for each number of iterations."""
    course.ready(dict(versions))
    for number in range(1, course.epochs + 1):
        begun = course.now()
        model = built(course.model, graph, {**course.settings, "iterations": number}, course.seed)
        seconds = course.now() - begun
        if not course.after_epoch(number, scores_of(model, graph), seconds):
            break


if __name__ == "__main__":
    main()
