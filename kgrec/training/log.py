"""What training leaves behind as it goes: log.csv, TensorBoard's events, the peak of memory."""

from __future__ import annotations

import csv
import io
import resource
import sys
from collections.abc import Mapping, Sequence
from typing import Any

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


def as_csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
