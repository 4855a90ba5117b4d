"""By what items are alike: by what facts say of them, by their vectors, or by the values under a name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are first used

from kgrec.errors import KgrecError
from kgrec.evaluation.list_quality import unit_rows
from kgrec.evaluation.ranking import scoring
from kgrec.serving.rules.item_values import ItemValues, facts_of, values_of
from kgrec.training.trained_model import TrainedModel

FACTS, VECTORS = "facts", "vectors"


@dataclass(frozen=True, eq=False)
class Likeness:
    """How alike two items are: the cosine of their sets of values, or of their vectors."""

    values: ItemValues
    vector: np.ndarray  #: float32 [I, D], of length 1 or 0; [I, 0] where items are alike by values

    @property
    def unit(self) -> scipy.sparse.csr_array | np.ndarray:
        """Rows of length 1 whose products are the likeness: [I, D]."""
        values = self.values
        return self.vector if self.vector.shape[1] else unit_rows(values.ptr, values.value, values.number)


def likeness(run: TrainedModel, by: str) -> Likeness:
    """By `facts`, `vectors` or a name of values. Kept for the run.

    Raises UnknownName for a name that is not there, KgrecError where there are no facts or no vectors of items."""
    return run.made_once("likeness", by, lambda: _likeness(run, by))


def _likeness(run: TrainedModel, by: str) -> Likeness:
    target = run.graph.target[2]
    items = len(run.graph.range(target))
    if by == VECTORS:
        with scoring(run.model):
            vector = run.model.node_vectors(target)
        if vector is None:
            raise KgrecError(f"{run.name} has no vectors of {target}; say `by: {FACTS}`, or the name of a relation")
        found = vector.float().cpu().numpy()
        length = np.linalg.norm(found, axis=1, keepdims=True)
        return Likeness(ItemValues.none(items), found / np.maximum(length, np.finfo(np.float32).tiny))
    graph = run.whole_graph()
    values = facts_of(graph, target) if by == FACTS else named_values(run, by, "diversity")
    return Likeness(values, np.zeros((items, 0), np.float32))


def named_values(run: TrainedModel, name: str, rule: str) -> ItemValues:
    """What items have under a name; kept for the run. rule: which asks, for messages. Raises as `values_of`, and
    KgrecError where no item has anything under it."""
    try:
        graph, target = run.whole_graph(), run.graph.target[2]
        found = run.made_once("item values", name, lambda: values_of(graph, target, name))
    except KgrecError as error:
        near = f"; or say `{FACTS}` or `{VECTORS}`" if rule == "diversity" else ""
        raise type(error)(f"rule {rule}: {error}{near}", value=error.value) from error
    if not len(found.value):
        raise KgrecError(f"rule {rule}: no {run.graph.target[2]} has anything under {name!r}; name another", value=name)
    return found
