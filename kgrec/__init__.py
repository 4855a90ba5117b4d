"""kgrec: a graph-native recommender toolkit.

Files become one heterogeneous graph. Samplers draw batches from it. A model defines its loss and its scores. One loop
trains every model, one evaluator measures it, and a run folder keeps the result. Names are imported on first use, so
that `import kgrec` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kgrec import _moved

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kgrec import models
    from kgrec.errors import BadData, KgrecError, UnknownName
    from kgrec.evaluation.evaluation import Evaluation, evaluate
    from kgrec.graph import NO_TIME, Candidates, Graph
    from kgrec.graph.schema import Schema
    from kgrec.graph.vocabulary import Vocabulary
    from kgrec.model import Objective, Query, Recommender
    from kgrec.reporting.written_report import report
    from kgrec.run import Run, train
    from kgrec.samplers import (
        Batch,
        CombinedLoader,
        Directions,
        Edges,
        History,
        Loader,
        Negatives,
        Neighborhood,
        Neighbors,
        Nodes,
        Sequences,
        Stream,
    )
    from kgrec.serving.answers import Table
    from kgrec.serving.explanation import Explanation
    from kgrec.serving.list_options import ListOptions
    from kgrec.serving.prediction import predict
    from kgrec.serving.recommendation import recommend
    from kgrec.serving.service import Service
    from kgrec.serving.wanted import Wanted
    from kgrec.sources.adopting import adopt
    from kgrec.sources.building import build
    from kgrec.sources.linking import find_links
    from kgrec.splits.split import Split
    from kgrec.studies.audit_study import audit
    from kgrec.studies.backtesting import backtest
    from kgrec.studies.comparison import compare
    from kgrec.studies.generation import generate
    from kgrec.studies.robustness_study import measure_robustness
    from kgrec.studies.tuning.model_choice import tune_models
    from kgrec.studies.tuning.tuning_study import tune
    from kgrec.training.config import TrainingConfig
    from kgrec.training.job import TrainingJob

_HOMES = {
    "audit": "studies.audit_study",
    "backtest": "studies.backtesting",
    "compare": "studies.comparison",
    "BadData": "errors",
    "KgrecError": "errors",
    "UnknownName": "errors",
    "Evaluation": "evaluation.evaluation",
    "evaluate": "evaluation.evaluation",
    "generate": "studies.generation",
    "NO_TIME": "graph",
    "Candidates": "graph",
    "Graph": "graph",
    "Objective": "model",
    "Query": "model",
    "Recommender": "model",
    "Table": "serving.answers",
    "predict": "serving.prediction",
    "recommend": "serving.recommendation",
    "Explanation": "serving.explanation",
    "ListOptions": "serving.list_options",
    "Service": "serving.service",
    "Wanted": "serving.wanted",
    "measure_robustness": "studies.robustness_study",
    "Run": "run",
    "train": "run",
    "report": "reporting.written_report",
    "Batch": "samplers",
    "CombinedLoader": "samplers",
    "Edges": "samplers",
    "History": "samplers",
    "Loader": "samplers",
    "Negatives": "samplers",
    "Neighborhood": "samplers",
    "Neighbors": "samplers",
    "Nodes": "samplers",
    "Sequences": "samplers",
    "Stream": "samplers",
    "Directions": "samplers",
    "Schema": "graph.schema",
    "adopt": "sources.adopting",
    "build": "sources.building",
    "find_links": "sources.linking",
    "Split": "splits.split",
    "tune": "studies.tuning.tuning_study",
    "tune_models": "studies.tuning.model_choice",
    "TrainingConfig": "training.config",
    "TrainingJob": "training.job",
    "Vocabulary": "graph.vocabulary",
}

_FORMER = {"Ways": "Directions", "Both": "CombinedLoader"}  #: former names -> the present ones

__all__ = [*_HOMES, "__version__", "models"]

_moved.install()


def __getattr__(name: str) -> Any:
    if name == "models":
        return import_module("kgrec.models")
    if name in _FORMER:
        import_module("kgrec._deprecation").deprecated(f"kgrec.{name}", f"kgrec.{_FORMER[name]}")
        name = _FORMER[name]
    if name not in _HOMES:
        raise AttributeError(f"module 'kgrec' has no attribute {name!r}")
    return getattr(import_module(f"kgrec.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
