"""What filters and rules may be about: columns and relations of items, and the values that these have."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from kgrec.evaluation.ranking import scoring
from kgrec.graph import Graph
from kgrec.training.trained_model import TrainedModel

MOST_VALUES = 50  #: that are offered
MOST_NAMES = 2000  #: relations and columns that are offered at most


@dataclass(frozen=True)
class ControlNames:
    """Names to choose from."""

    filters: tuple[str, ...] = ()  #: columns and relations of items
    groups: tuple[str, ...] = ()  #: those by whose values items fall into groups
    alike_by: str | None = None  #: by what items are alike, for the rule of diversity; None: by nothing


def control_names(run: TrainedModel) -> ControlNames:
    """The names that there are; none for a run that was trained with --lean."""
    found: ControlNames = run.made_once("names of controls", None, lambda: _names(run))
    return found


def _names(run: TrainedModel) -> ControlNames:
    source, _, item = run.graph.target
    if not run.keeps_facts:
        with scoring(run.model):
            has_vectors = run.model.node_vectors(item) is not None
        return ControlNames(alike_by="vectors" if has_vectors else None)
    graph = run.whole_graph()
    relations = dict.fromkeys(name for head, name, tail in graph.edge_types if head == item and tail != source)
    kinds = {name: feature.schema.kind for name, feature in graph.features.get(item, {}).items()}
    columns = [name for name, kind in kinds.items() if kind != "vector"]
    grouping = [name for name, kind in kinds.items() if kind in ("categorical", "multi")]
    filters, groups = (tuple(dict.fromkeys([*some, *relations]))[:MOST_NAMES] for some in (columns, grouping))
    return ControlNames(filters, groups, "facts")


def value_choices(run: TrainedModel, name: str, text: str) -> list[str]:
    """Values of a column or relation of items that hold a text, in upper or lower case."""
    if not run.keeps_facts or not name:
        return []
    graph, item = run.whole_graph(), run.graph.target[2]
    feature = graph.features.get(item, {}).get(name)
    if feature is not None:
        held = [one for one in feature.schema.categories if text.casefold() in one.casefold()]
        return held[:MOST_VALUES]
    ends = dict.fromkeys(tail for head, relation, tail in graph.edge_types if head == item and relation == name)
    found = dict.fromkeys(label for end in ends for label in _labels(graph, end, text))
    return list(found)[:MOST_VALUES]


def _labels(graph: Graph, node_type: str, text: str) -> list[str]:
    vocabulary = graph.vocabulary[node_type]
    column = vocabulary.id_array if vocabulary.label_array is None else vocabulary.label_array
    met = pc.fill_null(pc.match_substring(column, text, ignore_case=True), False)
    return vocabulary.labels(pc.indices_nonzero(met).slice(0, MOST_VALUES).to_pylist())
