"""The model under test: trained once on a small planted graph, and shared by all checks."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load, save
from torch import Tensor

from kgrec import models
from kgrec.graph import Graph
from kgrec.model import Query, Recommender
from kgrec.samplers.histories import Histories
from kgrec.settings import configure
from kgrec.splits.split import Split, split
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

USERS, GENRES, ITEMS_OF_GENRE, STEPS = 60, 5, 8, 10
EPOCHS = 20

Model = str | type[Recommender]


@functools.cache
def planted_graph() -> Graph:
    """A small graph with known structure: 60 users, 40 items and 5 genres. Each genre has eight items; an item's genre
    is a fact. Each user has ten items of two genres and moves from the first genre to the second. So the next item can
    be predicted from taste, facts and time, but not from popularity."""
    rng = np.random.default_rng(0)
    rated, num_items = [], GENRES * ITEMS_OF_GENRE
    for user in range(USERS):
        genres = rng.choice(GENRES, 2, replace=False)
        left = [list(rng.permutation(np.arange(genre, num_items, GENRES))) for genre in genres]
        for step in range(STEPS):
            liked = int(rng.random() < (step + 0.5) / STEPS)
            rated.append((f"u{user}", f"i{(left[liked] or left[1 - liked]).pop()}", step + 1))
    films = [f"i{item}" for item in range(num_items)]
    return Graph.from_frames(
        nodes={
            "user": pd.DataFrame({"id": [f"u{user}" for user in range(USERS)]}),
            "item": pd.DataFrame({"id": films}),
            "genre": pd.DataFrame({"id": [f"g{genre}" for genre in range(GENRES)]}),
        },
        edges={
            ("user", "rated", "item"): pd.DataFrame(rated, columns=["source", "target", "time"]),
            ("item", "has_genre", "genre"): pd.DataFrame(
                {"source": films, "target": [f"g{item % GENRES}" for item in range(num_items)]}
            ),
        },
        target=("user", "rated", "item"),
    )


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that was trained on the planted graph, without each user's last two items."""

    name: str  #: the model's name
    config: Any  #: its settings
    epochs: int  #: number of epochs that it was trained for
    model: Recommender = field(repr=False)  #: in eval mode
    parts: Split = field(repr=False)  #: the training graph, and each user's last two items
    before: Mapping[str, Tensor] = field(repr=False)  #: its parameters before training; empty if it has none
    resume_at: int  #: an epoch before the last
    saved: tuple[bytes, bytes] = field(
        repr=False
    )  #: the states of the model and of the trainer after that epoch, as in a checkpoint

    @property
    def train(self) -> Graph:
        """The graph that it was trained on."""
        return self.parts.train

    @property
    def items(self) -> Tensor:
        """Flat numbers of all items."""
        return self.train.nodes("item")

    def query(self, users: Tensor) -> Query:
        """The query of users with their histories in training. users: LongTensor [B], flat."""
        return query_of(self.train, users)

    @torch.no_grad()
    def score(self, query: Query, items: Tensor) -> Tensor:
        """The model's scores, FloatTensor [B, C], without gradients. items: LongTensor [C] or [B, C], flat."""
        return self.model.score(query, items)

    def loaded(self) -> Recommender:
        """The model as it is loaded from a run folder: built from the schema alone, with the saved state."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model = models.build(self.name, Graph.empty(self.train.schema), self.config).eval()
        model.load_state_dict(load(as_bytes(self.model.state_dict())))
        return model


_subjects: dict[tuple[str, str, int], Subject] = {}


def trained(model: Model, config: Mapping[str, Any] | None = None, epochs: int = EPOCHS) -> Subject:
    """A model that was trained on the planted graph. The same settings are trained only once.

    Raises UnknownName for an unknown model or setting, KgrecError for values of the wrong type.
    """
    name = model if isinstance(model, str) else f"{model.__module__}:{model.__qualname__}"
    settings: Any = configure(models.find(name).Config, config or {}, what=f"model {name!r}")
    key = name, repr(settings), epochs
    if key not in _subjects:
        _subjects[key] = _train(name, settings, epochs)
    return _subjects[key]


def _train(name: str, config: Any, epochs: int) -> Subject:
    parts = split(planted_graph(), "last_n:2")
    model = built(name, parts.train, config, seed=0)
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    trainer, resume_at = trainer_of(model, parts.train, epochs), max(epochs - 2, 0)
    saved = as_bytes(model.state_dict()), as_bytes(trainer.state())
    with one_thread():
        for epoch in trainer.epochs():
            if epoch.number == resume_at:
                saved = as_bytes(model.state_dict()), as_bytes(trainer.state())
    return Subject(name, config, epochs, model.eval(), parts, before, resume_at, saved)


def query_of(known: Graph, users: Tensor | None = None) -> Query:
    users = known.nodes("user") if users is None else users
    histories = Histories(known.only(known.target))
    place = histories.places(users)
    return Query(users, histories.tails(place), histories.times(place))


def built(name: str, graph: Graph, config: Any, seed: int) -> Recommender:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.build(name, graph, config)


def trainer_of(model: Recommender, graph: Graph, epochs: int) -> Trainer:
    training = TrainingConfig(epochs=epochs, device="cpu")
    return Trainer(model, graph, training, make_fabric(training))


def as_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    return save({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()})


@contextmanager
def one_thread() -> Iterator[None]:
    """A context in which torch uses one thread; it is faster for the small batches here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
