"""Trains a model of RecBole in a race: `python -m racing.recbole_course JOB`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
import torch

from racing.course import Course, Scores

_load = torch.load
torch.load = lambda *a, **k: _load(*a, **{"weights_only": False, **k})  # RecBole is older than this argument's default

import recbole
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed

NAME = "race"  #: of the data set's files


def write_data(course: Course) -> None:
    """The interactions as RecBole's files. It asks for valid and test files too; they have one pair of train, and are
    not looked at."""
    table = pd.DataFrame({"user_id:token": course.user, "item_id:token": course.item, "timestamp:float": course.time})
    folder = course.folder / NAME
    folder.mkdir()
    for part, rows in (("train", table), ("valid", table[:1]), ("test", table[:1])):
        rows.to_csv(folder / f"{NAME}.{part}.inter", sep="\t", index=False)


def scores_of(model: Any, dataset: Any, course: Course) -> Scores:
    """The scores of all items for users: of the whole catalog at once where the model can, else pair by pair."""
    user_of = torch.from_numpy(dataset.token2id(dataset.uid_field, np.arange(course.num_users).astype(str)))
    item_of = torch.from_numpy(dataset.token2id(dataset.iid_field, np.arange(course.num_items).astype(str)))

    def scores(users: np.ndarray) -> np.ndarray:
        model.eval()
        own = user_of[torch.from_numpy(users)]
        with torch.no_grad():
            try:
                found = model.full_sort_predict(Interaction({dataset.uid_field: own})).view(len(users), -1)[:, item_of]
            except NotImplementedError:
                found = torch.stack([model.forward(one.expand(len(item_of)), item_of) for one in own])
        return found.numpy()

    return scores


class Stopped(Exception):
    """The parent has seen enough."""


def main() -> None:
    course = Course(sys.argv[1])
    write_data(course)
    settings = {
        "data_path": str(course.folder),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "checkpoint_dir": str(course.folder / "saved"),
        "use_gpu": False,
        "show_progress": False,
        "seed": course.seed,
        "epochs": course.epochs,
        **course.settings,
    }
    config = Config(model=course.model, dataset=NAME, config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    torch.set_num_threads(course.threads)
    dataset = create_dataset(config)
    train_data, _, _ = data_preparation(config, dataset)
    model = get_model(config["model"])(config, train_data._dataset)
    scores = scores_of(model, train_data._dataset, course)
    trainer_class = get_trainer(config["MODEL_TYPE"], config["model"])

    class ScoredTrainer(trainer_class):  # type: ignore[misc,valid-type]
        """RecBole's own trainer, whose lists are handed over after each epoch."""

        def _train_epoch(self, train_data: Any, epoch_idx: int, *a: Any, **k: Any) -> Any:
            self.model.train()
            loss = super()._train_epoch(train_data, epoch_idx, *a, **k)
            if not course.after_epoch(epoch_idx + 1, scores):
                raise Stopped
            return loss

    trainer = ScoredTrainer(config, model)
    course.ready({"recbole": recbole.__version__, "torch": torch.__version__})
    try:
        trainer.fit(train_data, saved=False, show_progress=False, verbose=False)
    except Stopped:
        return


if __name__ == "__main__":
    main()
