"""Former names of modules. For one release, importing a former name gives the present module.

Every import of kgrec reads this file, so it imports almost nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

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
    "kernels": "nn.vector_kernels",
    "linking": "evaluation.link_evaluation",
    "losses": "nn.losses",
    "metrics": "evaluation.metrics",
    "nn.transr": "nn.relation_space",
    "nn.vectors": "nn.computed_vectors",
    "noise": "studies.noise",
    "prediction": "serving.prediction",
    "ranking": "evaluation.ranking",
    "recommendation": "serving.recommendation",
    "robustness": "studies.robustness_study",
    "samplers.kernels": "samplers.neighbor_kernels",
    "samplers.ways": "samplers.directions",
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


class _Finder:
    """Finds modules by their former names, and nothing else."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == "kgrec" and name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.partition(".")[2]
        sys.modules[module.__name__] = import_module(f"kgrec.{MOVED[name]}")  # what the import then gives


def install() -> None:
    """Make the former names importable. A second call changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
