"""Former names of modules, classes and functions, which still work for a release."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: A former name -> the present one, both within kgrec
MOVED = {
    "artifact": "training.run_folder",
    "assembly": "graph.assembly",
    "backtesting": "studies.backtesting",
    "comparison": "studies.comparison",
    "features": "graph.features",
    "frames": "graph.frames",
    "generation": "studies.generation",
    "info": "graph.description",
    "linking": "evaluation.link_evaluation",
    "losses": "nn.losses",
    "metrics": "evaluation.metrics",
    "noise": "studies.noise",
    "prediction": "serving.prediction",
    "ranking": "evaluation.ranking",
    "recommendation": "serving.recommendation",
    "robustness": "studies.robustness",
    "schema": "graph.schema",
    "split": "splits.split",
    "storage": "graph.storage",
    "transfer": "training.transfer",
    "vocabulary": "graph.vocabulary",
}


class _Finder(MetaPathFinder, Loader):
    """Finds the former names, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == "kgrec" and name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.partition(".")[2]
        sys.modules[module.__name__] = import_module(f"kgrec.{MOVED[name]}")  # what the import then gives


def deprecated(former: str, present: str) -> None:
    """Warn that a name will go, and say which took its place."""
    warnings.warn(f"{former} is now {present}; the former name goes in the next release", DeprecationWarning, 3)


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` that gives the present objects under their former names, with a warning. names: a
    former name -> the present one, of the module itself."""

    def former(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        deprecated(f"{module}.{name}", f"{module}.{names[name]}")
        return getattr(sys.modules[module], names[name])

    return former


def install() -> None:
    """Make the former names importable; asking again changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
