"""Settings and results with one name for each value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def setting_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings as texts.

    >>> setting_texts({"dim": 32, "lr": 0.001, "refit": False, "split": "last_n:1", "metric": None})
    {'dim': '32', 'lr': '0.001', 'refit': 'false', 'split': 'last_n:1', 'metric': 'none'}
    """
    return {name: _text(value) for name, value in settings.items()}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "none" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def flat(values: Mapping[str, Any], between: str, before: str = "") -> dict[str, Any]:
    """Nested mappings as one, with names that are joined.

    >>> flat({"training": {"epochs": 3, "adversarial": {"weight": 0.0}}, "split": "last_n:1"}, ".")
    {'training.epochs': 3, 'training.adversarial.weight': 0.0, 'split': 'last_n:1'}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, between, f"{before}{name}{between}")
        else:
            found[f"{before}{name}"] = value
    return found


def flat_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Every number in a run's metrics. Those on valid are called `best_valid`, as they are of the best epoch.

    >>> flat_numbers({"model": "mf", "valid": {"ndcg@10": 0.5}, "test": {"ndcg@10": 0.25}, "best_epoch": 3})
    {'best_valid/ndcg@10': 0.5, 'test/ndcg@10': 0.25, 'best_epoch': 3.0}
    """
    named = flat({"best_valid" if name == "valid" else name: value for name, value in metrics.items()}, "/")
    return {
        name: float(value)
        for name, value in named.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
