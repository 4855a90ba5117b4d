"""What training leaves behind as it goes: log.csv, TensorBoard's events, the peak of memory, a model's size."""

from __future__ import annotations

import csv
import io
import resource
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from kgrec.errors import KgrecError


def event_writer(folder: str | None) -> Any:
    """TensorBoard's writer, where a folder for it is named. Raises KgrecError where the extra is not installed."""
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise KgrecError("training.tensorboard needs an extra: pip install 'kgrec[tensorboard]'") from error
    return SummaryWriter(folder)


def peak_mb() -> int:
    """The most memory that this process had in use so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)


def model_size(model: nn.Module) -> dict[str, float]:
    """What a model is made of: `num_parameters`, and `model_mb`, MiB of what a run folder keeps of it.

    Parameters are what an optimizer moves; of a model that has none, because it is complete when built, they are the
    floating-point numbers that it keeps, such as the item-item weights of EASE.

    >>> from torch import zeros
    >>> model = nn.Linear(3, 2)
    >>> model_size(model)["num_parameters"]
    8
    >>> model = nn.Module()
    >>> model.register_buffer("weight", zeros(512, 1024))
    >>> model_size(model)
    {'num_parameters': 524288, 'model_mb': 2.0}
    """
    state = model.state_dict().values()
    learned = list(model.parameters()) or [tensor for tensor in state if tensor.is_floating_point()]
    stored = sum(tensor.numel() * tensor.element_size() for tensor in state)
    return {"num_parameters": sum(tensor.numel() for tensor in learned), "model_mb": stored / 2**20}


def as_csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
