"""A trained model with the ids that it knows and what was measured, as a run folder keeps it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.evaluation.trained_nodes import Trained
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.settings import stored_settings
from kgrec.splits.repeats import REPEATS, Repeats
from kgrec.training.build_limit import limited_build
from kgrec.training.processes import choose_device
from kgrec.training.run_folder import WEIGHTS, Artifact, load_artifact, load_whole_graph, read_schema


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained model, the ids that it knows, and what was measured."""

    name: str  #: the model's name
    model: Recommender  #: in eval mode
    graph: Graph  #: types, ids, labels and the known target edges; no facts where it was loaded from a folder
    metrics: Mapping[str, Any] = field(
        default_factory=dict
    )  #: what metrics.json holds: by part and metric, and what is known of the training
    path: Path | None = None  #: its run folder; None: it is in memory alone
    split: str | None = None  #: the SPEC that it was trained by
    candidates: str | None = None  #: the list that it was measured on
    repeats: Repeats = "miss"  #: what became of held-out pairs that users had already
    has_facts: bool = True  #: whether `graph` has facts and features; False where it was loaded from a folder
    clicks_alone: bool = False  #: whether target edges that are no clicks were left out of training and test
    facts_only: bool = False  #: whether it was trained for task `link` on facts alone, without interactions
    exclude: tuple[str, ...] = ()  #: behaviours whose items were left out of the lists that it was measured on
    #: what training saw, by node, where that is less than `graph`, as it is without validation edges; None: all of it
    trained: Trained | None = None
    #: what was left out of nodes that were added after training, a sentence each
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str | Path, *, trust: str | Collection[str] | None = None, device: str = "cpu") -> Self:
        """Read a run folder, which may be a stranger's: nothing in it is run, and nothing outside it is read. A model
        that is neither built in nor registered by an installed package, be it the run's own or one that its settings
        name (such as `base`), is imported only where `trust` names its dotted path again.

        Raises KgrecError where the folder is incomplete, altered, holds a pickle or a link, names a foreign model, or
        one of a package that is not installed, and where its sizes are not those of its weights.
        """
        artifact = load_artifact(path)
        schema = read_schema(Path(path))
        with models.only_installed(trust):
            _find(artifact, path)
            with stored_settings(), limited_build(Path(path), Path(path) / WEIGHTS):
                model = models.build(artifact.model, Graph.empty(schema), dict(artifact.config))
        try:
            model.load_state_dict(dict(artifact.weights))
        except (RuntimeError, KgrecError) as error:
            raise KgrecError(f"{path}: the weights do not fit the model; the folder is altered: {error}") from error
        place = choose_device(device)
        split, candidates = artifact.provenance.get("split"), artifact.provenance.get("candidates")
        repeats = artifact.provenance.get("repeats", "miss")  # runs of before it was a choice have none
        if repeats not in REPEATS:
            raise KgrecError(
                f"{Path(path) / 'config.json'} has repeats {repeats!r}, and one of {', '.join(REPEATS)} is wanted; "
                "it is altered: train again"
            )
        known = artifact.graph.to(place)
        model = model.eval().to(place)
        return cls(
            artifact.model,
            model,
            known,
            artifact.metrics,
            Path(path),
            split,
            candidates,
            repeats,
            exclude=tuple(artifact.provenance.get("exclude", ())),
            trained=None if artifact.trained is None else Trained.stored(known, model, artifact.trained),
            has_facts=False,
            clicks_alone=bool(artifact.provenance.get("clicks_alone")),
            facts_only=bool(artifact.provenance.get("facts_only")),
        )

    def whole_graph(self) -> Graph:
        """All that the run knows, with facts and features: on the CPU, and read from its folder when first asked for.

        Raises KgrecError where the folder has none (it was trained with --lean, or is of format 1), or is altered.
        """
        return self._whole_graph

    @cached_property
    def _whole_graph(self) -> Graph:
        if self.has_facts:
            return self.graph.to("cpu")
        assert self.path is not None
        return load_whole_graph(self.path, self.graph)

    @cached_property
    def kept(self) -> dict[str, dict[Any, Any]]:
        """What answers have made of this run and keep for the next ones, by what it is."""
        return {}

    @property
    def was_refit(self) -> bool:
        """Whether it was trained anew on train + valid, so that it knows the edges of valid."""
        return "refit" in str(self.metrics.get("protocol"))

    @property
    def device(self) -> torch.device:
        """Where the model's tensors are."""
        return next(iter(self.model.state_dict().values())).device


def _find(artifact: Artifact, path: str | Path) -> None:
    """Raise KgrecError where a run's model cannot be had, with the package that provided it in training."""
    try:
        models.find(artifact.model)
    except UnknownName as error:
        package = artifact.provenance.get("package")
        if not isinstance(package, dict) or "name" not in package:
            raise
        raise KgrecError(
            f"{path} is a run of model {artifact.model!r}, which is not installed here; it was trained with the "
            f"package {package['name']} {package.get('version', '')}: install that (pip install {package['name']})"
        ) from error
