"""Records of a training: log.csv, peak memory, and the model's size."""

from __future__ import annotations

import csv
import io
import resource
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from kgrec.nn.row_shards import whole_shapes


def peak_mb() -> int:
    """The peak memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)


def model_size(model: nn.Module) -> dict[str, float]:
    """The size of a model: `num_parameters`, and `model_mb`, the MiB that it takes in a run folder.

    Parameters are the numbers that an optimizer changes. For a model without parameters, which is complete when built,
    they are its stored floating-point numbers, such as the item-item weights of EASE.

    >>> from torch import zeros
    >>> model = nn.Linear(3, 2)
    >>> model_size(model)["num_parameters"]
    8
    >>> model = nn.Module()
    >>> model.register_buffer("weight", zeros(512, 1024))
    >>> model_size(model)
    {'num_parameters': 524288, 'model_mb': 2.0}
    """
    state, shapes = model.state_dict(), whole_shapes(model)
    numbers = {name: shapes[name].numel() for name in state}
    learned = [numbers[name] for name, _ in model.named_parameters()] or [
        numbers[name] for name, tensor in state.items() if tensor.is_floating_point()
    ]
    stored = sum(numbers[name] * tensor.element_size() for name, tensor in state.items())
    return {"num_parameters": sum(learned), "model_mb": stored / 2**20}


def as_csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
