"""How good a model is: metrics, rankings, and evaluation on held-out edges and facts."""

from typing import TYPE_CHECKING

from kgrec._late import late

if TYPE_CHECKING:
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

__getattr__ = late(
    __name__,
    {
        "Evaluation": "evaluation",
        "check_metrics": "evaluation",
        "default_metrics": "evaluation",
        "evaluate": "evaluation",
        "LinkEvaluation": "link_evaluation",
        "check_link_metrics": "link_evaluation",
        "evaluate_links": "link_evaluation",
    },
)
