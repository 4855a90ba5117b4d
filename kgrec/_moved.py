"""Former names of modules, classes and functions, which still work for a release."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

#: A former name -> the present one, both within kgrec
MOVED = {
    "artifact": "training.run_folder",
    "assembly": "graph.assembly",
    "backtesting": "studies.backtesting",
    "comparison": "studies.comparison",
    "doctor": "cli.doctor",
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
    "robustness": "studies.robustness_study",
    "schema": "graph.schema",
    "sources.build": "sources.building",
    "sources.check": "sources.checking",
    "sources.check_graph": "sources.checking.graph_check",
    "sources.check_recipe": "sources.checking.recipe_check",
    "sources.collector": "sources.rdf.collector",
    "sources.columns": "sources.tables.columns",
    "sources.contexts": "sources.rdf.contexts",
    "sources.document": "sources.recipe.document",
    "sources.drafts": "sources.building.graph_builder",
    "sources.events": "sources.building.events",
    "sources.facts": "sources.rdf.facts",
    "sources.findings": "sources.checking.findings",
    "sources.formats": "sources.tables.formats",
    "sources.given": "sources.building.published_splits",
    "sources.images": "sources.tables.images",
    "sources.interactions": "sources.building.interactions",
    "sources.link": "sources.building.links",
    "sources.literals": "sources.building.literals",
    "sources.naming": "sources.building.relation_names",
    "sources.nodes": "sources.building.nodes",
    "sources.ntriples": "sources.rdf.ntriples",
    "sources.numbering": "sources.rdf.numbering",
    "sources.problems": "sources.tables.bad_rows",
    "sources.rdf_file": "sources.rdf.rdf_file",
    "sources.report": "sources.building.report",
    "sources.separated": "sources.tables.separated",
    "sources.sparql": "sources.rdf.sparql",
    "sources.sparql_table": "sources.tables.sparql_table",
    "sources.triples": "sources.building.triple_tables",
    "sources.values": "sources.tables.values",
    "sources.vectors": "sources.building.node_vectors",
    "split": "splits.split",
    "storage": "graph.storage",
    "studies.robustness": "studies.robustness_study",
    "tables": "cli.output",
    "transfer": "training.transfer",
    "vocabulary": "graph.vocabulary",
}


INSIDE = ("kgrec", "pydantic", "dataclasses", "functools")  #: packages whose lines no warning of ours is about


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


class FormerName(DeprecationWarning):
    """A name of kgrec's own that will go. The command line shows it as a note."""


def deprecated(former: str, present: str) -> None:
    """Warn that a name will go, and say which took its place. The warning is of the line outside kgrec that used it."""
    message = f"{former} is now {present}; the former name goes in the next release"
    warnings.warn(message, FormerName, _frames_inside() + 1)


def _frames_inside() -> int:
    """How many calls lie between the caller's caller and the first file that is not kgrec's, itself among them."""
    frame, number = sys._getframe(2), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in INSIDE:
        frame, number = frame.f_back, number + 1
    return number - 1


def renamed_option(former: str, present: str) -> Callable[[Function], Function]:
    """A decorator that accepts a keyword by its former name too, with a warning."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if former in options:
                deprecated(f"{function.__qualname__}'s `{former}`", f"`{present}`")
                options[present] = options.pop(former)
            return function(*args, **options)

        return cast(Function, call)

    return decorate


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
