"""Settings of a model for a purpose, which `--for` names: what a model declares, less what a graph has nothing for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from kgrec import models
from kgrec.errors import KgrecError, some, unknown_name
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.nn.item_content import CONTENT, ItemContentConfig, content_there
from kgrec.nn.node_features import NodeFeaturesConfig

if TYPE_CHECKING:
    from kgrec.splits.split import Split
    from kgrec.training.job import TrainingJob

PURPOSES = ("cold",)
ANY_CONTENT = "facts, texts or other columns"
MISSING = (
    "so nothing says what an item without interactions is like; link items to entities in the recipe (`links:`, with "
    "`rdf:` or `triples:`), make edges of a column (`edges:`), or name columns of items as `features:`"
)


def check_purpose(purpose: str, model: str, task: str) -> None:
    """Raise UnknownName for an unknown purpose, KgrecError for a model or a task that has no settings for it."""
    if purpose not in PURPOSES:
        raise unknown_name("purpose", purpose, PURPOSES)
    if not models.find(model).for_cold:
        able = [name for name in models.working() if models.find(name).for_cold]
        raise KgrecError(
            f"model {model!r} has no settings for {purpose!r} items; models that have: {', '.join(able)}; or leave out "
            "--for"
        )
    if task != "ranking":
        raise KgrecError(f"--for {purpose} is for rankings, but the task is {task!r}; leave out --for or --task")


def for_purpose(job: TrainingJob, divided: Split) -> TrainingJob:
    """The job with the settings of its purpose. Settings of the job's own `config` have precedence. If whole items are
    held out for validation, they alone choose the epoch, and the model is trained again on train + valid."""
    assert job.purpose is not None
    config = {**settings_for(job.purpose, job.model, divided.train_valid), **job.config}
    if not holds_out_items(divided.train, divided.valid):
        return dataclasses.replace(job, config=config)
    return dataclasses.replace(job, config=config, refit=True, training=dataclasses.replace(job.training, among="cold"))


def settings_for(purpose: str, model: str, graph: Graph) -> dict[str, Any]:
    """The settings of a model for a purpose on this graph: those that the model declares, but weights of content only
    where an item has such content.

    Raises KgrecError where items have none of what the model could read, and says what they have."""
    kind = models.find(model)
    wanted, there, facts = dict(kind.for_cold), content_there(graph), graph.facts()
    if facts.edge_types and not facts.num_edges:  # relations without edges are no mistake: they were taken out
        there = {"facts": 0, **there}
    if issubclass(kind.Config, ItemContentConfig):
        left = {name: value for name, value in wanted.items() if name not in CONTENT or name in there}
        if not any(left.get(name) for name in CONTENT):
            raise KgrecError(_nothing_for(purpose, model, graph, [name for name in CONTENT if wanted.get(name)], there))
        return left
    if issubclass(kind.Config, NodeFeaturesConfig) and wanted.get("features"):
        if {"words", "columns"} & set(there):
            return wanted
        if not kind.reads_all_edges or "facts" not in there:
            raise KgrecError(_nothing_for(purpose, model, graph, ["words", "columns"], there))
        return {name: value for name, value in wanted.items() if name not in NodeFeaturesConfig.__dataclass_fields__}
    return wanted


def _nothing_for(purpose: str, model: str, graph: Graph, reads: list[str], there: Mapping[str, int]) -> str:
    """Why a graph has nothing for a purpose."""
    item, said = graph.target[2], [CONTENT[name] for name in reads]
    known = ", ".join(f"{CONTENT[name]} (of {number:,})" for name, number in there.items())
    if not there:
        return f"--for {purpose}: no {item} of this graph has {ANY_CONTENT}, {MISSING}"
    others = [name for name in models.working() if models.find(name).for_cold and _reads(models.find(name), there)]
    return (
        f"--for {purpose}: {model} reads {' and '.join(said)}, but no {item} of this graph has any; they have {known}, "
        f"which these models read: {some(others, 20)}"
    )


def _reads(kind: type[Recommender], there: Mapping[str, int]) -> bool:
    """Whether a model's settings for cold items read any of the content that is there."""
    if issubclass(kind.Config, ItemContentConfig):
        return any(kind.for_cold.get(name) for name in there)
    return bool({"words", "columns"} & set(there)) or ("facts" in there and kind.reads_all_edges)


def holds_out_items(train: Graph, held: Graph | None) -> bool:
    """Whether all held-out edges are of items without a target edge in train, as under `cold_items`."""
    if held is None:
        return False
    known, held = train.only(train.target), held.only(held.target)
    return not bool(torch.isin(held.tail, known.tail).any())
