"""Trains a sequence model of RecTools in a race: `python -m racing.rectools_course JOB`."""

from __future__ import annotations

import logging
import sys
import warnings
from importlib.metadata import version
from typing import Any

from racing.course import Course

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

MODELS = {"SASRec": SASRecModel}
UNKNOWN = -1e30  #: score of items in no user's last `session_max_len` steps: the model does not know them


def data_of(course: Course) -> Dataset:
    """The interactions as RecTools' data set."""
    table = {Columns.User: course.user, Columns.Item: course.item, Columns.Weight: 1.0}
    return Dataset.construct(pd.DataFrame({**table, Columns.Datetime: pd.to_datetime(course.time, unit="s")}))


class Answers:
    """What the model in training would answer to the users whose lists are wanted."""

    def __init__(self, model: Any, data: Dataset, course: Course) -> None:
        self.model, prepared = model, model.data_preparator
        wanted = prepared.transform_dataset_u2i(data, course.users)
        self.loader = prepared.get_dataloader_recommend(wanted, model.recommend_batch_size)
        self.row_of = np.full(course.num_users, -1)
        self.row_of[wanted.user_id_map.external_ids.astype(np.int64)] = np.arange(wanted.user_id_map.size)
        ids = prepared.item_id_map.to_internal  # a series by external id; steps of the model's own are among these
        self.items = ids.reindex(np.arange(course.num_items)).fillna(-1).to_numpy(np.int64)
        self.vectors: tuple[Any, Any] = (None, None)

    def refresh(self) -> None:
        """Compute the vectors of users and items by the weights as they are."""
        network = self.model.lightning_model
        self.vectors = tuple(one.numpy() for one in network._get_user_item_embeddings(self.loader, "cpu"))
        network.train()

    def scores(self, users: np.ndarray) -> np.ndarray:
        of_users, of_items = self.vectors
        found: np.ndarray = of_users[self.row_of[users]] @ of_items[self.items].T
        found[:, self.items < 0] = UNKNOWN
        return found


def main() -> None:
    course = Course(sys.argv[1])
    torch.set_num_threads(course.threads)
    seed_everything(course.seed)
    data = data_of(course)
    found: list[Answers] = []

    class Scored(Callback):
        """Hands lists over after each epoch."""

        def on_train_start(self, trainer: Any, module: Any) -> None:
            found.append(Answers(model, data, course))
            course.ready({"rectools": version("rectools"), "torch": torch.__version__})

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            course.stop()
            found[0].refresh()
            course.start()
            if not course.after_epoch(trainer.current_epoch + 1, found[0].scores):
                trainer.should_stop = True

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=course.epochs,
            min_epochs=1,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Scored()],
        )

    model = MODELS[course.model](get_trainer_func=trainer, **course.settings)
    model.fit(data)


if __name__ == "__main__":
    main()
