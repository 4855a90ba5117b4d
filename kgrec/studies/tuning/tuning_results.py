"""What a search for settings found: the best settings, what they matter, and how to train with them."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kgrec.files import whole
from kgrec.output_kinds import marked_kind
from kgrec.studies.tuning.search_space import Searched
from kgrec.studies.tuning.tuning_trials import TriedSettings
from kgrec.training.config import OF_THE_MACHINE, TrainingConfig
from kgrec.training.job import TrainingJob

MARKER = "# Settings that `kgrec tune` found"
TUNED_FILE = marked_kind("file of tuned settings", MARKER)


@dataclass(frozen=True)
class Tuning:
    """The result of a search for settings. Test was not looked at."""

    model: str
    metric: str  #: the metric on valid that the search improves
    higher_is_better: bool
    protocol: str  #: the split, as its SPEC
    job: TrainingJob  #: the training with the best settings; without `out`
    searched: tuple[Searched, ...]  #: what was varied
    trials: list[TriedSettings]  #: all trials, in the order in which they began
    best: TriedSettings
    start: TriedSettings | None  #: the trial with the settings that the search started from, if it has finished
    #: share of the differences between trials that each setting makes (PED-ANOVA); {} for fewer than 4 trials
    importance: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0  #: how long this search took
    storage: str | None = None  #: URL of the storage that has the trials; None: none was kept
    path: Path | None = None  #: the file of settings
    graph: str = "GRAPH"  #: the graph's path

    @property
    def counts(self) -> dict[str, int]:
        """How many trials ended how."""
        found: dict[str, int] = {}
        for one in self.trials:
            found[one.state] = found.get(one.state, 0) + 1
        return found

    @property
    def command(self) -> str:
        """The command that trains with the best settings, and measures test once."""
        job, own = self.job, TrainingConfig()
        words = ["kgrec", "train", job.model, self.graph]
        if self.path is not None:
            words += ["--config", str(self.path)]
        else:
            words += [part for name, value in job.config.items() for part in ("--set", f"{name}={_said(value)}")]
            words += ["--seed", str(job.training.seed)] if job.training.seed != own.seed else []
        for flag, value in (("--task", job.task), ("--for", job.purpose), ("--split", job.split), ("--init", job.init)):
            words += [flag, str(value)] if value is not None else []
        words += ["--repeats", job.repeats] if job.repeats != "miss" else []
        words += ["--exclude", ",".join(job.exclude)] if job.exclude else []
        words += ["--now", job.now] if job.now != "unknown" else []
        words += ["--metrics", ",".join(job.metrics)] if job.metrics else []
        words += [flag for flag, on in (("--all-edges", job.all_edges), ("--facts-only", job.facts_only)) if on]
        words += ["--refit"] if job.refit else []
        return shlex.join([*words, "--out", f"{job.model.rpartition('.')[2].rpartition(':')[2]}.run"])

    def settings_text(self) -> str:
        """The settings as a YAML file for `--config`."""
        value = "" if self.best.value is None else f"{self.metric} {self.best.value:.4f} on valid"
        head = [
            f"{MARKER} for {self.model}: {value} (trial {self.best.number} of {len(self.trials)}, "
            f"epoch {self.best.best_epoch}; {self.protocol})",
            f"# {self.command}",
        ]
        fields = dict(self.job.fields)
        training = training_fields(self.job.training)
        if training:
            fields["training"] = training
        text: str = yaml.safe_dump(plain(fields), sort_keys=False, allow_unicode=True) if fields else "{}\n"
        return "\n".join([*(line.replace("\n", " ") for line in head), text])

    def write(self, path: Path, overwrite: bool) -> None:
        """Write the settings to a YAML file. Raises KgrecError if it may not or cannot be written."""
        with whole(path, overwrite, TUNED_FILE) as draft:
            draft.write_text(self.settings_text(), encoding="utf-8")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "model": self.model,
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "split": self.protocol,
            "best": self.best.to_json(),
            "start": None if self.start is None else self.start.to_json(),
            "settings": plain(self.job.config),
            "importance": self.importance,
            "searched": {one.name: one.range.words for one in self.searched},
            "counts": self.counts,
            "trials": [one.to_json() for one in self.trials],
            "seconds": self.seconds,
            "storage": self.storage,
            "config": None if self.path is None else str(self.path),
            "command": self.command,
        }


def _said(value: Any) -> str:
    from kgrec.settings import assigned

    return repr(value) if isinstance(value, float) else assigned(plain(value))


def plain(value: Any) -> Any:
    """The same with lists in place of tuples, as YAML and JSON have them."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, tuple | list) else value


def training_fields(config: TrainingConfig) -> dict[str, Any]:
    """The settings of a training that are not the defaults, without those of the machine."""
    usual, own = dataclasses.asdict(TrainingConfig()), dataclasses.asdict(config)
    return {name: value for name, value in own.items() if value != usual[name] and name not in OF_THE_MACHINE}
