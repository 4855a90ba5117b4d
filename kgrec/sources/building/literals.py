"""Literal values of facts to labels and features of the nodes they are about."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.graph.schema import FeatureKind, clean_name
from kgrec.sources.building.graph_builder import GraphBuilder, PartialFeature
from kgrec.sources.building.links import Places
from kgrec.sources.building.report import BuildReport
from kgrec.sources.rdf.facts import FactOptions, Facts, Literals


def add_literals(
    facts: Facts, options: FactOptions, places: Places, types: list[str], builder: GraphBuilder, report: BuildReport
) -> None:
    """Labels, and a feature column for each node type that has a value of a predicate of `literals`."""
    for predicate in map(options.expanded, options.labels):
        if predicate in facts.literals:
            for name, number, values in _by_type(facts.literals[predicate], places, types):
                builder.nodes_of(name).add_labels(number, values)
    for name_in_recipe, wanted in options.literals.items():
        predicate = options.expanded(name_in_recipe)
        if predicate not in facts.literals:
            continue
        literals = _in_language(facts.literals[predicate], wanted.language)
        if wanted.kind == "numeric":
            literals = _numbers_only(literals, predicate, report)
        feature = wanted.feature or clean_name(predicate)
        for name, number, values in _by_type(literals, places, types):
            column = _feature(wanted.kind, number, values, predicate, report)
            builder.nodes_of(name).add_feature(feature, column, predicate)


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


def _in_language(literals: Literals, language: str | None) -> Literals:
    if language is None:
        return literals
    lower = pc.utf8_lower(literals.language)
    fits = pc.or_(pc.equal(lower, language.lower()), pc.starts_with(lower, language.lower() + "-"))
    return _where(literals, pc.fill_null(fits, True))


def _numbers_only(literals: Literals, predicate: str, report: BuildReport) -> Literals:
    number = pd.to_numeric(pd.Series(literals.value.to_pylist(), dtype=object), errors="coerce")
    fits = number.notna().to_numpy()
    report.drop(f"values of {predicate} that are no number", (~fits).sum())
    return _where(literals, pa.array(fits))


def _where(literals: Literals, mask: pa.Array) -> Literals:
    columns = (literals.value, literals.language, literals.datatype)
    subject = literals.subject[mask.to_numpy(zero_copy_only=False)]
    return Literals(subject, *(column.filter(mask) for column in columns))


def _feature(
    kind: FeatureKind, number: np.ndarray, values: pa.Array, predicate: str, report: BuildReport
) -> PartialFeature:
    """One value a node, the first; all of them for a multi feature."""
    if kind == "multi":
        order = np.argsort(number, kind="stable")
        nodes, counts = np.unique(number, return_counts=True)
        offsets = np.concatenate([[0], counts.cumsum()])
        return PartialFeature(
            kind, nodes, pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values.take(pa.array(order)))
        )
    first = ~pd.Series(number).duplicated().to_numpy()
    report.drop(f"further values of {predicate}, of which a node takes the first", (~first).sum())
    kept = values.filter(pa.array(first))
    if kind == "numeric":
        kept = pa.array(pd.to_numeric(pd.Series(kept.to_pylist(), dtype=object)).to_numpy(np.float64))
    return PartialFeature(kind, number[first], kept)
