"""The files of a run folder: its format, and checks that no file was altered. This module does not need torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgrec.drafts import put_back
from kgrec.errors import KgrecError, some
from kgrec.files import file_hash
from kgrec.json_files import JsonPlace, file_size, read_object
from kgrec.output_kinds import FolderKind
from kgrec.plain_folders import entries, is_inside, must_be_plain

FORMAT = 2  #: the format that this version writes; it reads formats from 1 on
REMEDY = "train again"
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".npy", ".npz")
#: keys of metrics.json with whole numbers from 0
COUNTS = (
    *("num_users", "num_facts", "num_unseen_ends", "edges_left_out", "self_edges"),
    *("epochs", "best_epoch", "num_parameters", "seed", "processes"),
)
#: keys of metrics.json with values by metric
PARTS = (
    *("valid", "test", "test_with_history", "test_warm", "test_cold"),
    *("test_seen_ends", "test_unseen_ends"),
)
RUN_FOLDER = FolderKind(
    "run folder",
    "config.json",
    {"format": int, "model": str, "config": dict},
    (
        *("schema.json", "metrics.json", "model.safetensors", "vocabulary/*.parquet", "history.parquet", "recipe.json"),
        *("facts/*.parquet", "features/*.parquet", "scorer.json", "scorer.safetensors", "per_user.parquet"),
        *("predictions.parquet", "ranks.parquet", "trained.parquet", "log.csv"),
    ),
    listed_under="files",
)


@dataclass(frozen=True)
class RunFiles:
    """A run folder's `config.json`, and access to its other files.

    From format 2 on, `config.json` lists every other file with its size and hash. Only files that kgrec asks for by
    name are looked up in that list; a file is never opened just because it is listed.
    """

    folder: Path
    format: int
    config: Mapping[str, Any]  #: config.json
    listed: Mapping[str, Any]  #: name -> {"bytes", "sha256"}; empty in format 1

    @staticmethod
    def open(folder: str | Path) -> RunFiles:
        """Read config.json. Raises KgrecError if the folder is no run folder, is altered, has a newer format or a link,
        or if config.json has a value of the wrong type."""
        folder = Path(folder)
        must_be_run(folder)
        must_be_plain(folder, REMEDY)
        file = folder / "config.json"
        config = read_json(file)
        version, listed = config.get("format", 1), config.get("files", {})
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise KgrecError(f"{file} has format {version!r}; it is altered: train again")
        if version > FORMAT:
            raise KgrecError(
                f"{folder} has format {version}; this kgrec reads up to {FORMAT}: update kgrec, or train the model "
                "again with this version"
            )
        if not isinstance(listed, dict) or (version > 1 and not listed):
            raise KgrecError(f"{file} has no list `files`; it is altered: train again")
        _check_config(config, file)
        return RunFiles(folder, version, config, listed)

    def holds(self, name: str) -> bool:
        """Whether the run has this optional file."""
        return name in self.listed if self.format > 1 else (self.folder / name).is_file()

    def path(self, name: str, *, hashed: bool = True) -> Path:
        """The path of a file, after a check of its contents. hashed: False checks only its size, without reading it.

        Raises KgrecError if the file is missing, truncated, altered or not listed.
        """
        file = self.folder / name
        found = file_size(file)
        if found is None:
            raise KgrecError(f"{file.parent} lacks its file {file.name}; train again")
        if self.format == 1:
            return file
        wanted = self.listed.get(name)
        if not isinstance(wanted, dict):
            raise KgrecError(f"{self.folder / 'config.json'} does not list {name}; it is altered: train again")
        if found != wanted.get("bytes"):
            raise KgrecError(
                f"{file} is truncated or altered: it has {found:,} bytes, but config.json says {wanted.get('bytes')}; "
                "train again"
            )
        if hashed and file_hash(file) != wanted.get("sha256"):
            raise KgrecError(f"{file} is truncated or altered: its hash is not the one in config.json; train again")
        return file

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file. Raises what `path` raises, and KgrecError if it is no object."""
        return read_json(self.path(name))


def config_hash(config: Mapping[str, Any]) -> str:
    """The SHA-256 of what config.json says but for `files`, by which another file of the run can tell that it is not
    altered."""
    said = {name: value for name, value in config.items() if name != "files"}
    plain = json.dumps(json.loads(json.dumps(said)), sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def refuse_pickles(folder: Path) -> None:
    """Raise KgrecError if a run folder holds a file that may run code when it is read."""
    smuggled = sorted(name for entry, name in entries(folder) if entry.name.lower().endswith(PICKLES))
    if smuggled:
        raise KgrecError(f"{folder} holds {some(smuggled)}, which kgrec never writes and which may run code; remove it")


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The size and hash of every file in a folder, by name, for config.json."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": file_hash(file)} for file in files
    }


def must_be_run(folder: Path) -> None:
    """Raise KgrecError if a folder is no run folder."""
    put_back(folder)
    if not (folder / "config.json").is_file():
        what = "is no run folder: it has no config.json" if folder.is_dir() else "is not there"
        raise KgrecError(f"{folder} {what}; make one with `kgrec train MODEL GRAPH --out {folder}`")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a run folder. Raises KgrecError if it is missing or no JSON object."""
    return read_object(path, REMEDY)


def read_metrics(files: RunFiles) -> dict[str, Any]:
    """The content of metrics.json. Raises what `RunFiles.path` raises, and KgrecError for a value of the wrong type."""
    metrics = files.json("metrics.json")
    place = JsonPlace(files.folder / "metrics.json", REMEDY)
    place.finite(metrics)
    for name in ("model", "protocol", "control_left_out"):
        place.text(metrics, name, "")
    for name in COUNTS:
        place.whole(metrics, name, 0, most=(1 << 64) - 1)
    for name in ("fit_seconds", "seconds_per_epoch", "evaluation_seconds", "model_mb"):
        place.number({name: 0, **metrics}, name)
    place.mapping(metrics, "init", {})
    _check_repeats(place.mapping(metrics, "repeats", {}), place.at("repeats"))
    place.mapping(metrics, "below_control", {})
    _check_parts(metrics, place)
    for control in place.mapping(metrics, "control", {}):
        at = place.at("control")
        _check_parts(at.mapping(metrics["control"], control), at.at(control))
    for part, counts in place.mapping(metrics, "counts", {}).items():
        for name in place.at("counts").mapping(metrics["counts"], part, {}):
            place.at("counts").at(part).number(counts, name)
    for name in place.mapping(metrics, "without_history", {}):
        place.at("without_history").whole(metrics["without_history"], name, 0, most=(1 << 64) - 1)
    return metrics


def _check_parts(metrics: Mapping[str, Any], place: JsonPlace) -> None:
    """Raise KgrecError if a part of the results has a value that is no number."""
    for name in PARTS:
        for metric in place.mapping(metrics, name, {}):
            place.at(name).number(metrics[name], metric)


def _check_repeats(counts: Mapping[str, Any], place: JsonPlace) -> None:
    """Raise KgrecError for a value of the wrong type among the counts of repeats; runs of older versions have none."""
    place.text(counts, "choice", "")
    place.text(counts, "ranked", "")
    for name in ("held_out_pairs", "held_out_users", "pairs", "users", "users_without_others"):
        place.whole(counts, name, 0, most=(1 << 64) - 1)
    for name in ("dropped_pairs", "dropped_users"):
        place.whole(counts, name, 0, most=(1 << 64) - 1)
    place.number({"highest_hit_rate": 0, **counts}, "highest_hit_rate")


def _check_config(config: Mapping[str, Any], file: Path) -> None:
    """Raise KgrecError for a value of the wrong type in config.json, with its key. The model checks its own
    settings."""
    place = JsonPlace(file, REMEDY)
    place.finite(config)
    for name in ("model", "graph"):
        place.text(config, name, "")
    for name in ("split", "candidates"):
        place.text(config, name, none=True)
    for name in ("repeats", "now"):
        place.text(config, name, "")
    for name in ("config", "training", "versions", "package"):
        place.mapping(config, name, {})
    for name in ("versions", "package"):
        for key in config.get(name, {}):
            place.at(name).text(config[name], key)
    place.texts(config, "behaviours", [])
    place.texts(config, "exclude", [])
    for name in ("lean", "facts_only", "clicks_alone"):
        place.truth(config, name, False)
    of_files = place.at("files")
    for name, listed in config.get("files", {}).items():
        if not is_inside(name):
            raise KgrecError(
                f"{file} lists the file {name!r}, which is none of this folder; it is altered: train again"
            )
        if isinstance(listed, dict):
            of_file = of_files.at(name)
            of_file.whole(listed, "bytes")
            of_file.text(listed, "sha256")
        else:
            raise of_files.wrong(name, listed, "an object")
