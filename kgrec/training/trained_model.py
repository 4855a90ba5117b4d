"""A trained model with the ids that it knows and its results, as in a run folder."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.evaluation.evaluation import Evaluation
from kgrec.evaluation.link_evaluation import LinkEvaluation
from kgrec.evaluation.trained_nodes import Trained
from kgrec.graph import Graph
from kgrec.model import Recommender, scoring
from kgrec.nn.fold_in import Folding, FoldsIn, ProfileFolding
from kgrec.run_files import RunFiles
from kgrec.settings import stored_settings
from kgrec.splits.answer_times import NOWS, Now
from kgrec.splits.repeats import REPEATS, Repeats
from kgrec.training.build_limit import limited_build
from kgrec.training.processes import choose_device
from kgrec.training.run_folder import WEIGHTS, Artifact, load_artifact, load_whole_graph

Made = TypeVar("Made")
LOCK = threading.Lock()  #: of what runs keep; it is held for no longer than a look-up takes


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained model, the ids that it knows, and its results."""

    name: str  #: the model's name
    model: Recommender  #: in eval mode
    graph: Graph  #: types, ids, labels and the known target edges; without facts if it was loaded from a folder
    #: the content of metrics.json: results by part and metric, and facts about the training
    metrics: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None  #: its run folder; None: it is only in memory
    split: str | None = None  #: the SPEC of its split
    candidates: str | None = None  #: name of the candidate lists that it was measured on
    repeats: Repeats = "miss"  #: how held-out pairs were treated that users already had
    has_facts: bool = True  #: whether `graph` has facts and features; False if it was loaded from a folder
    clicks_alone: bool = False  #: whether target edges that are no clicks were left out of training and test
    facts_only: bool = False  #: whether it was trained for task `link` only on facts, without interactions
    exclude: tuple[str, ...] = ()  #: behaviours whose items were left out of the lists that it was measured on
    now: Now = "unknown"  #: whether it was told when each list is wanted, when it was measured
    #: what training saw of each node, if that is less than `graph` (without validation edges); None: all of `graph`
    trained: Trained | None = None
    evaluation: Evaluation | LinkEvaluation | None = None  #: its test, user by user; None if it was loaded
    #: what was left out of nodes that were added after training, a sentence each
    notes: tuple[str, ...] = ()

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        trust: str | Collection[str] | None = None,
        device: str = "cpu",
        mapped: bool = False,
    ) -> Self:
        """Read a run folder. It may come from an unknown source: no code in it is run, and nothing outside it is read.
        A model that is neither built in nor registered by an installed package is imported only if `trust` names its
        dotted path. This holds for the run's own model and for models in its settings (such as `base`).

        mapped: on the CPU, the model reads its weights from the file, mapped into memory, in place of a copy: processes
        that serve one run share them, and the system may drop what nobody reads. The file must stay as it is meanwhile;
        `--overwrite` puts a new folder in its place and does not touch it.

        Raises KgrecError if the folder is incomplete or altered, has a pickle or a link, needs a model that is not
        trusted or a package that is not installed, or if its weights do not fit its settings.
        """
        artifact = load_artifact(path)
        assert artifact.schema is not None
        with models.only_installed(trust):
            _find(artifact, path)
            with stored_settings(), limited_build(Path(path), Path(path) / WEIGHTS):
                model = models.build(artifact.model, Graph.empty(artifact.schema), dict(artifact.config))
        try:
            model.load_state_dict(_like(model, artifact.weights) if mapped else dict(artifact.weights), assign=mapped)
        except (RuntimeError, KgrecError) as error:
            raise KgrecError(
                f"{path}: the weights do not fit the model ({error}), so the folder was altered; train again"
            ) from error
        place = choose_device(device)
        split, candidates = artifact.provenance.get("split"), artifact.provenance.get("candidates")
        chosen: dict[str, Any] = {}
        for name, known, otherwise in (("repeats", REPEATS, "miss"), ("now", NOWS, "unknown")):
            value = chosen[name] = artifact.provenance.get(name, otherwise)  # older runs name neither
            if value not in known:
                raise KgrecError(
                    f"{Path(path) / 'config.json'} has {name} {value!r}, but it must be one of {', '.join(known)}, so "
                    "the file was altered; train again"
                )
        graph = artifact.graph.to(place)
        model = model.eval().to(place)
        return cls(
            artifact.model,
            model,
            graph,
            artifact.metrics,
            Path(path),
            split,
            candidates,
            **chosen,
            exclude=tuple(artifact.provenance.get("exclude", ())),
            trained=None if artifact.trained is None else Trained.stored(graph, model, artifact.trained),
            has_facts=False,
            clicks_alone=bool(artifact.provenance.get("clicks_alone")),
            facts_only=bool(artifact.provenance.get("facts_only")),
        )

    def whole_graph(self) -> Graph:
        """The whole graph of the run, with facts and features, on the CPU. It is read from the folder on first use.

        Raises KgrecError if the folder has none (it was trained with --lean, or is of format 1), or is altered.
        """
        return self._whole_graph

    @cached_property
    def _whole_graph(self) -> Graph:
        if self.has_facts:
            return self.graph.to("cpu")
        assert self.path is not None
        return load_whole_graph(self.path, self.graph)

    @cached_property
    def keeps_facts(self) -> bool:
        """Whether `whole_graph` can be had: a run that was trained with --lean, or is of format 1, has none."""
        if self.has_facts or self.path is None:
            return self.has_facts
        files = RunFiles.open(self.path)
        return files.format > 1 and not files.config.get("lean")

    def made_once(self, what: str, key: Hashable, make: Callable[[], Made], most: int = 64) -> Made:
        """What answers make of this run and keep for the next ones: it is made on first use. Many threads may ask.

        what: what it is; key: which of these; make: makes it; most: how many of these are kept, the last made ones."""
        kept: dict[Hashable, Made] = self.kept.setdefault(what, {})
        try:
            return kept[key]
        except KeyError:
            made = make()
        with LOCK:
            found = kept.setdefault(key, made)
            while len(kept) > most:
                del kept[next(iter(kept))]
        return found

    @cached_property
    def kept(self) -> dict[str, dict[Any, Any]]:
        """What `made_once` keeps, by what it is."""
        return {}

    @cached_property
    def folding(self) -> Folding | None:
        """Computes vectors of new users (see `kgrec.nn.fold_in`); None for a model that reads histories.

        Raises KgrecError if the model needs the whole graph, and the run has none."""
        if self.model.reads_history:
            return None
        with scoring(self.model):
            if isinstance(self.model, FoldsIn):
                return self.model.folding(self.graph, self.whole_graph)
            return ProfileFolding(self.model, self.graph)

    @property
    def was_refit(self) -> bool:
        """Whether it was trained again on train + valid, so that it knows the edges of valid."""
        return "refit" in str(self.metrics.get("protocol"))

    @property
    def device(self) -> torch.device:
        """The device of the model's tensors."""
        return next(itertools.chain(self.model.parameters(), self.model.buffers())).device


def _like(model: Recommender, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the types that the model has, as copying makes them."""
    wanted = {name: own.dtype for name, own in model.state_dict().items()}
    return {name: weight.to(wanted.get(name, weight.dtype)) for name, weight in weights.items()}


def _find(artifact: Artifact, path: str | Path) -> None:
    """Raise KgrecError if a run's model cannot be imported, and name the package that provided it in training."""
    try:
        models.find(artifact.model)
    except UnknownName as error:
        package = artifact.provenance.get("package")
        if not isinstance(package, dict) or "name" not in package:
            raise
        raise KgrecError(
            f"{path} is a run of model {artifact.model!r}, which is not installed here; install the package that it "
            f"was trained with, {package['name']} {package.get('version', '')} (pip install {package['name']})"
        ) from error
