"""Images of items, by a column that holds their addresses."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from kgrec.errors import KgrecError, unknown_name
from kgrec.graph.features import Feature
from kgrec.serving.described_items import feature_value
from kgrec.training.trained_model import TrainedModel

KINDS = ("text", "categorical")
LONGEST = 2000  #: characters of an address


def pictures(run: TrainedModel, column: str | None, items: Sequence[str]) -> list[str | None]:
    """The address of an image of each item; None: it has none, or what the column holds is no address of the web."""
    feature = _column(run, column)
    if feature is None:
        return [None] * len(items)
    found = []
    vocabulary = run.whole_graph().vocabulary[run.graph.target[2]]
    for number in vocabulary.find(list(items)).tolist():
        value = feature_value(feature, number) if number >= 0 else None
        found.append(value if isinstance(value, str) and is_web_address(value) else None)
    return found


def is_web_address(text: str) -> bool:
    """Whether a text is the address of something on the web.

    >>> is_web_address("https://shop.example/1.png"), is_web_address("javascript:alert(1)"), is_web_address("//x/1.png")
    (True, False, False)
    """
    if len(text) > LONGEST or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme.lower() in ("http", "https") and bool(parts.netloc)


def must_have_column(runs: Sequence[TrainedModel], column: str) -> None:
    """Raise KgrecError where no run has a column of texts of this name."""
    if any(_column(run, column) is not None for run in runs):
        return
    kept = [run for run in runs if run.keeps_facts]
    if not kept:
        raise KgrecError("--image needs the columns of items, and the runs have none; train without --lean")
    columns = {
        name
        for run in kept
        for name, feature in run.whole_graph().features.get(run.graph.target[2], {}).items()
        if feature.schema.kind in KINDS
    }
    raise unknown_name("column of texts", column, sorted(columns), "of items, for --image")


def _column(run: TrainedModel, column: str | None) -> Feature | None:
    if column is None or not run.keeps_facts:
        return None
    feature = run.whole_graph().features.get(run.graph.target[2], {}).get(column)
    return feature if feature is not None and feature.schema.kind in KINDS else None
