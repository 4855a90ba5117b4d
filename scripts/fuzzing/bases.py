"""Correct folders that cases start from: a graph, a run of each kind of model, an interrupted training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzzing.recipes import recipe_files
from fuzzing.texts import Files

ADVERSARIAL = {"pretrain_epochs": 1}
#: Runs by name: the model, and its settings besides one epoch
RUNS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "popularity": ("popularity", {}),
    "mf": ("mf", {"dim": 4, "features": ["price", "genres", "age"]}),
    "ease": ("ease", {"l2": 1.0}),
    "itemknn": ("itemknn", {}),
    "ials": ("ials", {"dim": 4}),
    "svdpp": ("svdpp", {"dim": 4}),
    "sasrec": ("sasrec", {"dim": 4}),
    "gru4rec": ("gru4rec", {"dim": 4}),
    "kgat": ("kgat", {"dim": 4, "layer_dims": [4]}),
    "kgatseq": ("kgatseq", {"dim": 4}),
    "transe": ("transe", {"dim": 4}),
    "rating": ("mf", {"dim": 4, "task": "rating"}),
    "link": ("transe", {"dim": 4, "task": "link"}),
    "irgan": ("irgan", {"dim": 4, **ADVERSARIAL}),
    "gan": ("gan", {}),
}


@dataclass
class Bases:
    """Folders that are made when they are first needed."""

    folder: Path
    _made: dict[str, Path] = field(default_factory=dict)

    def _once(self, name: str, make: Callable[[Path], object]) -> Path:
        path = self.folder / name
        if name not in self._made:
            if not path.exists():
                draft = self.folder / f"{name}.draft"
                shutil.rmtree(draft, ignore_errors=True)
                make(draft)
                draft.rename(path)
            self._made[name] = path
        return path

    @property
    def graph(self) -> Path:
        """The graph folder of the recipe `shop`."""

        def make(path: Path) -> None:
            from kgrec.sources.building import build_to

            source = self.folder / "shop"
            place(recipe_files("shop"), source)
            build_to(source / "recipe.yaml", None, path)

        return self._once("graph", make)

    def run(self, name: str) -> Path:
        """The run folder of a run in RUNS."""

        def make(path: Path) -> None:
            import kgrec

            model, config = RUNS[name]
            training = {"epochs": 2 if "pretrain_epochs" in config else 1}
            kgrec.train(model, self.graph, config=config, training=training, out=path)

        return self._once(f"run-{name}", make)

    def of(self, name: str) -> Path:
        """The folder that a case calls `graph`, `checkpoint` or `run-NAME`."""
        match name:
            case "graph":
                return self.graph
            case "checkpoint":
                return self.checkpoint
        return self.run(name.removeprefix("run-"))

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of a training of mf that stopped after its first of three epochs."""

        def make(path: Path) -> None:
            import kgrec

            def stop(*_: object) -> None:
                if stop.calls:  # type: ignore[attr-defined]
                    raise KeyboardInterrupt
                stop.calls = 1  # type: ignore[attr-defined]

            stop.calls = 0  # type: ignore[attr-defined]
            out = path.with_name("stopped")
            with suppress(KeyboardInterrupt):
                kgrec.train("mf", self.graph, config={"dim": "4"}, training={"epochs": 3}, out=out, report=stop)
            out.with_name("stopped.checkpoint").rename(path)

        return self._once("checkpoint", make)


def place(files: Files, folder: Path) -> None:
    """Create a folder and write files into it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def list_again(folder: Path) -> None:
    """Update the hashes that a graph or run folder lists, so that damaged files are not detected by their hash
    alone."""
    from kgrec.files import file_hash
    from kgrec.run_files import list_files

    file = folder / ("graph.json" if (folder / "graph.json").exists() else "config.json")
    try:
        document = json.loads(file.read_bytes())
        if not isinstance(document.get("files"), dict):
            return
    except (ValueError, AttributeError, OSError, RecursionError):
        return
    if file.name == "graph.json":
        document["files"] = {name: file_hash(folder / name) for name in document["files"] if (folder / name).is_file()}
    else:
        listed = list_files(folder)
        listed.pop(file.name)
        document["files"] = listed
    file.write_text(json.dumps(document))
