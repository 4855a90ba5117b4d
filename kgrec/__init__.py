"""kgrec: a graph-native recommender toolkit.

Files become one heterogeneous graph; samplers draw batches from it; a model says what it minimises and how it scores;
one loop trains, one evaluator ranks, one folder keeps the result. Names are imported when they are first used, so that
`import kgrec` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kgrec.backtesting import backtest
    from kgrec.comparison import compare
    from kgrec.errors import BadData, KgrecError, UnknownName
    from kgrec.evaluation import Evaluation, evaluate
    from kgrec.generation import generate
    from kgrec.graph import NO_TIME, Candidates, Graph
    from kgrec.model import Objective, Query, Recommender
    from kgrec.prediction import predict
    from kgrec.recommendation import recommend
    from kgrec.robustness import measure_robustness
    from kgrec.run import Run, train
    from kgrec.samplers import (
        Batch,
        Both,
        Edges,
        History,
        Loader,
        Negatives,
        Neighborhood,
        Neighbors,
        Nodes,
        Sequences,
        Stream,
        Ways,
    )
    from kgrec.schema import Schema
    from kgrec.sources.building import build
    from kgrec.split import Split
    from kgrec.training import TrainingConfig
    from kgrec.vocabulary import Vocabulary

_HOMES = {
    "backtest": "backtesting",
    "compare": "comparison",
    "BadData": "errors",
    "KgrecError": "errors",
    "UnknownName": "errors",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "generate": "generation",
    "NO_TIME": "graph",
    "Candidates": "graph",
    "Graph": "graph",
    "Objective": "model",
    "Query": "model",
    "Recommender": "model",
    "predict": "prediction",
    "recommend": "recommendation",
    "measure_robustness": "robustness",
    "Run": "run",
    "train": "run",
    "Batch": "samplers",
    "Both": "samplers",
    "Edges": "samplers",
    "History": "samplers",
    "Loader": "samplers",
    "Negatives": "samplers",
    "Neighborhood": "samplers",
    "Neighbors": "samplers",
    "Nodes": "samplers",
    "Sequences": "samplers",
    "Stream": "samplers",
    "Ways": "samplers",
    "Schema": "schema",
    "build": "sources.building",
    "Split": "split",
    "TrainingConfig": "training",
    "Vocabulary": "vocabulary",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kgrec' has no attribute {name!r}")
    return getattr(import_module(f"kgrec.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
