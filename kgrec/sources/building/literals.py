"""Makes labels, features and new nodes from the literal values of facts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import KgrecError
from kgrec.graph.schema import FeatureKind, clean_name
from kgrec.sources.building.fact_edges import EdgePlacer, NodesAt
from kgrec.sources.building.graph_builder import GraphBuilder, PartialFeature
from kgrec.sources.building.links import Places
from kgrec.sources.building.number_texts import numbers_of
from kgrec.sources.building.report import BuildReport
from kgrec.sources.rdf.facts import FactOptions, Facts, LiteralFeature, Literals
from kgrec.sources.rdf.left_out import EMPTY, FURTHER, FURTHER_LABEL, NO_NODE, NO_NUMBER, TOO_GREAT
from kgrec.sources.rdf.numbering import first_rows


def values_that_are_nodes(facts: Facts, options: FactOptions) -> dict[str, Literals]:
    """By predicate, the values that become nodes."""
    found = {}
    for name, wanted in options.literals.items():
        literals = facts.literals.get(options.term(name))
        if wanted.to is not None and literals is not None:
            literals = _in_language(literals, wanted.language)
            found[options.term(name)] = literals.where(_has_text(literals))
    return found


def add_labels(
    facts: Facts, options: FactOptions, places: Places, types: list[str], builder: GraphBuilder, report: BuildReport
) -> None:
    """Add labels from literals. Values that are used neither as labels nor as features are counted."""
    features = {options.term(name) for name in options.literals}
    for predicate in map(options.term, options.labels):
        literals = facts.literals.get(predicate)
        if literals is not None:
            further = 0
            for name, number, values in _by_type(literals, places, types):
                further += builder.nodes_of(name).add_labels(number, values)
            if predicate not in features:
                report.leave_out(FURTHER_LABEL, predicate, further, options)
                _of_nodes(literals, places, predicate, options, report)


def add_value_nodes(
    facts: Facts, options: FactOptions, places: Places, placer: EdgePlacer, builder: GraphBuilder, report: BuildReport
) -> None:
    """Add a node for each distinct value, and an edge to it from each node that has it."""
    for name, wanted in options.literals.items():
        predicate = options.term(name)
        if wanted.to is None or predicate not in facts.literals:
            continue
        literals = _in_language(facts.literals[predicate], wanted.language)
        has_text = _has_text(literals)
        report.leave_out(EMPTY, predicate, int((~has_text).sum()), options)
        literals = literals.where(has_text)
        row, head = places.of(literals.subject)
        nodes = builder.nodes_of(wanted.to, facts.spelled.get(predicate, predicate))
        number = nodes.add(literals.value)[row] if len(literals.subject) else row
        tail = NodesAt(np.full(len(row), placer.code(wanted.to)), number)
        relation = wanted.relation or placer.names[predicate]
        placer.add(NodesAt.of(places, head), relation, tail, facts.spelled.get(predicate, predicate))


@dataclass
class _Column:
    """A feature of one node type, collected from all sources."""

    predicate: str
    kind: FeatureKind
    options: FactOptions
    number: list[np.ndarray] = field(default_factory=list)
    values: list[pa.Array] = field(default_factory=list)


class LiteralColumns:
    """Features from literals. The values of a feature may come from several sources."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, str], _Column] = {}  # by node type and name

    def add(self, facts: Facts, options: FactOptions, places: Places, types: list[str], report: BuildReport) -> None:
        """Add the values of one source. Raises KgrecError where two predicates have the same feature name."""
        for name, wanted in options.literals.items():
            predicate = options.term(name)
            if wanted.to is None and predicate in facts.literals:
                literals = _in_language(facts.literals[predicate], wanted.language)
                literals = _of_nodes(literals, places, predicate, options, report)
                if wanted.kind == "numeric":
                    literals = _numbers_only(literals, predicate, options, report)
                for node_type, number, values in _by_type(literals, places, types):
                    self._add(node_type, predicate, wanted, options, number, values)

    def _add(
        self,
        node_type: str,
        predicate: str,
        wanted: LiteralFeature,
        options: FactOptions,
        number: np.ndarray,
        values: pa.Array,
    ) -> None:
        name = wanted.feature or clean_name(predicate)
        column = self._columns.setdefault((node_type, name), _Column(predicate, wanted.kind, options))
        if (column.predicate, column.kind) != (predicate, wanted.kind):
            what = f"feature {name!r} from {predicate} exists already; give it another name in the recipe"
            raise KgrecError(what, column=name, value=name, kind="duplicate")
        column.number.append(number)
        column.values.append(values)

    def place(self, builder: GraphBuilder, report: BuildReport) -> None:
        """Add all features to the nodes. Raises KgrecError where a table has a feature with the same name."""
        for (node_type, name), column in self._columns.items():
            number, values = np.concatenate(column.number), pa.concat_arrays(column.values)
            feature, further = _feature(column.kind, number, values)
            report.leave_out(FURTHER, column.predicate, further, column.options)
            builder.nodes_of(node_type).add_feature(name, feature, column.predicate)


def _by_type(literals: Literals, places: Places, types: list[str]) -> list[tuple[str, np.ndarray, pa.Array]]:
    row, node = places.of(literals.subject)
    node_type = places.type[node]
    return [
        (
            types[int(code)],
            places.number[node[node_type == code]],
            literals.value.take(pa.array(row[node_type == code])),
        )
        for code in np.unique(node_type)
    ]


def _of_nodes(
    literals: Literals, places: Places, predicate: str, options: FactOptions, report: BuildReport
) -> Literals:
    """The values of resources that are nodes. The others are counted."""
    are_nodes = places.have(literals.subject)
    report.leave_out(NO_NODE, predicate, int((~are_nodes).sum()), options)
    return literals.where(are_nodes)


def _in_language(literals: Literals, language: str | None) -> Literals:
    if language is None:
        return literals
    lower = pc.utf8_lower(literals.language)
    fits = pc.or_(pc.equal(lower, language.lower()), pc.starts_with(lower, language.lower() + "-"))
    return literals.where(pc.fill_null(fits, True).to_numpy(zero_copy_only=False))


def _has_text(literals: Literals) -> np.ndarray:
    has_text: np.ndarray = pc.not_equal(literals.value, "").to_numpy(zero_copy_only=False)
    return has_text


def _numbers_only(literals: Literals, predicate: str, options: FactOptions, report: BuildReport) -> Literals:
    number, is_too_great = numbers_of(literals.value)
    report.leave_out(TOO_GREAT, predicate, int(is_too_great.sum()), options)
    report.leave_out(NO_NUMBER, predicate, int((np.isnan(number) & ~is_too_great).sum()), options)
    return literals.where(~np.isnan(number))


def _feature(kind: FeatureKind, number: np.ndarray, values: pa.Array) -> tuple[PartialFeature, int]:
    """The first value of each node, and how many more values there are. A multi feature has all values, each once."""
    new = first_rows(np.stack([number, values.dictionary_encode().indices.to_numpy()], axis=1))
    number, values = number[new], values.filter(pa.array(new))
    if kind == "multi":
        order = np.argsort(number, kind="stable")
        nodes, counts = np.unique(number, return_counts=True)
        offsets = np.concatenate([[0], counts.cumsum()])
        lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values.take(pa.array(order)))
        return PartialFeature(kind, nodes, lists), 0
    first = first_rows(number[:, None])
    kept = values.filter(pa.array(first))
    if kind == "numeric":
        kept = pa.array(numbers_of(kept)[0])
    return PartialFeature(kind, number[first], kept), int((~first).sum())
