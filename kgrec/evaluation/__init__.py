"""How good a model is: metrics, rankings, and evaluation on held-out edges and facts."""

from kgrec.evaluation.evaluation import Evaluation, check_metrics, default_metrics, evaluate
from kgrec.evaluation.link_evaluation import LinkEvaluation, check_link_metrics, evaluate_links

__all__ = [
    "Evaluation",
    "LinkEvaluation",
    "check_link_metrics",
    "check_metrics",
    "default_metrics",
    "evaluate",
    "evaluate_links",
]
