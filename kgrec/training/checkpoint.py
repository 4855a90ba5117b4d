"""Checkpoints: the state of a training after an epoch, as a folder from which training can continue."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kgrec import models
from kgrec.drafts import remove_folder
from kgrec.errors import KgrecError
from kgrec.files import refuse_existing, whole
from kgrec.json_files import JsonPlace, read_object
from kgrec.output_kinds import FolderKind
from kgrec.settings import present_names, stored_settings
from kgrec.training.job import TrainingJob
from kgrec.training.row_files import follow
from kgrec.training.run_folder import load_tensors
from kgrec.training.tensor_files import save_tensors

TENSORS = ("model", "optimizer", "best")
PHASES = ("train", "refit")
REMEDY = "remove it and train again without --resume"
CHECKPOINT_FOLDER = FolderKind(
    "checkpoint", "state.json", {"job": dict, "state": dict}, tuple(f"{name}.safetensors" for name in TENSORS)
)


@dataclass
class TrainingState:
    """The progress of a training. A checkpoint holds it together with the tensors."""

    phase: str = "train"  #: train, or refit
    epoch: int = 0  #: number of finished epochs in this phase
    best: float | None = None  #: best value so far of the chosen metric on valid
    best_epoch: int = 0  #: epoch of that value
    waited: int = 0  #: number of validations since then
    valid: dict[str, float] = field(default_factory=dict)  #: all validation metrics of the best epoch
    rows: list[dict[str, Any]] = field(default_factory=list)  #: rows of log.csv
    tracked: dict[str, str] = field(default_factory=dict)  #: what trackers call this training, by tracker


@dataclass
class Checkpoint:
    """The state after an epoch. Every random number depends only on seed, epoch and rank, so no generator is stored."""

    state: TrainingState
    model: Mapping[str, Any]  #: tensors, or RowBlocks when writing, by name
    optimizer: Mapping[str, Any]
    best: Mapping[str, Any]

    def write(self, job: TrainingJob, graph_hash: str) -> None:
        """Write OUT.checkpoint and replace the one before. Raises KgrecError if it cannot be written; then the one
        before stays."""
        with whole(job.checkpoint, overwrite=True, kind=CHECKPOINT_FOLDER) as folder:
            folder.mkdir()
            for name in TENSORS:
                save_tensors(folder / f"{name}.safetensors", getattr(self, name))
            document = {"job": job.identity(graph_hash), "state": dataclasses.asdict(self.state)}
            (folder / "state.json").write_text(json.dumps(document), encoding="utf-8")

    def follow(self) -> None:
        """On another rank than 0: take part in writing."""
        for name in TENSORS:
            follow(getattr(self, name))

    @staticmethod
    def read(job: TrainingJob, graph_hash: str) -> Checkpoint:
        """Read the checkpoint of a job. Raises KgrecError if it belongs to another job, or is damaged."""
        try:
            document = read_object(job.checkpoint / CHECKPOINT_FOLDER.document, REMEDY)
        except (KgrecError, OSError) as error:
            raise KgrecError(f"{job.checkpoint} is damaged: {error}") from error
        place = JsonPlace(job.checkpoint / CHECKPOINT_FOLDER.document, REMEDY)
        state = _state(place.mapping(document, "state"), place.at("state"))
        # defaults for checkpoints of versions that did not have these options
        before = {"repeats": "miss", "facts_only": False, "exclude": []}
        wanted, found = job.identity(graph_hash), {**before, **place.mapping(document, "job")}
        found["training"] = {**place.at("job").mapping(found, "training", {})}
        found["training"].pop("devices", None)  # so many processes made it; others may go on
        found["training"].setdefault("shard_vectors", False)
        place.at("job").mapping(found, "config", {})
        with stored_settings():  # the checkpoint may have former names of settings
            found["config"] = present_names(models.find(job.model).Config, found.get("config", {}))
        differ = [name for name in wanted if found.get(name) != wanted[name]]
        if differ:
            raise KgrecError(
                f"{job.checkpoint} was made with another {' and '.join(differ)}; resume with the same options, or "
                "train again without --resume"
            )
        tensors = [load_tensors(job.checkpoint / f"{name}.safetensors") for name in TENSORS]
        refuse_existing(job.checkpoint, True, CHECKPOINT_FOLDER)  # it is replaced after the next epoch
        return Checkpoint(state, *tensors)

    @staticmethod
    def remove(job: TrainingJob) -> None:
        """Remove the checkpoint after training has finished."""
        with suppress(OSError):
            if CHECKPOINT_FOLDER.objection(job.checkpoint) is None:
                remove_folder(job.checkpoint)


def _state(stored: Mapping[str, Any], place: JsonPlace) -> TrainingState:
    """The state from JSON. Raises KgrecError for a missing or unknown key, and for a value of the wrong type."""
    names = [one.name for one in dataclasses.fields(TrainingState)]
    for name in stored:
        if name not in names:
            raise place.wrong(name, stored[name], f"no key but {', '.join(names)}")
    phase = place.text(stored, "phase")
    if phase not in PHASES:
        raise place.wrong("phase", phase, " or ".join(PHASES))
    best = None if stored.get("best", 0) is None else place.number(stored, "best")
    valid = place.mapping(stored, "valid")
    for metric in valid:
        place.at("valid").number(valid, metric)
    rows = place.entries(stored, "rows")
    for number, row in enumerate(rows):
        its = place.at("rows").at(number)
        if not isinstance(row, dict):
            raise place.at("rows").wrong(number, row, "an object")
        its.text(row, "phase")
        its.whole(row, "epoch")
        its.number(row, "seconds")
        for name, value in row.items():
            if isinstance(value, dict | list):
                raise its.wrong(name, value, "a number or a text")
    tracked = place.mapping(stored, "tracked", {})
    for tracker in tracked:
        place.at("tracked").text(tracked, tracker)
    counts = {name: place.whole(stored, name, most=(1 << 31) - 1) for name in ("epoch", "best_epoch", "waited")}
    return TrainingState(phase=phase, best=best, valid=valid, rows=rows, tracked=tracked, **counts)
