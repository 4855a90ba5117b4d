"""Tables of head, relation and tail to facts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from kgrec.sources.rdf.collector import EXCLUDED
from kgrec.sources.rdf.facts import Facts, Literals
from kgrec.sources.recipe.knowledge_part import Triples
from kgrec.sources.tables.bad_rows import BadRows
from kgrec.sources.tables.columns import Ids
from kgrec.sources.tables.table_columns import read_table

STRING = "http://www.w3.org/2001/XMLSchema#string"


def read_triples(table: Triples, folder: Path, bad_rows: BadRows) -> Facts:
    """The facts in a table of triples. Raises BadData as `read_table` does."""
    columns = [Ids(table.head), Ids(table.relation), Ids(table.tail)]
    read = read_table(table, table.file, columns, folder, bad_rows)
    head, relation, tail = (read[column] for column in columns)
    names = relation.dictionary.to_pylist()
    code = relation.indices.to_numpy()
    valued = {table.expanded(name) for name in (*table.labels, *table.literals)}
    use = np.array([_use(table, name, valued) for name in names])
    rows = {what: np.flatnonzero(use[code] == what) for what in ("edge", "class", "value", "none")}
    resources, subject, object = _numbered(head, tail, rows["edge"], rows["class"], rows["value"])
    skipped = Counter({EXCLUDED: len(rows["none"])} if len(rows["none"]) else {})
    return Facts(
        resources=resources,
        edges={
            name: (subject[of], object[of])
            for name, of in _groups(pa.array(names), code, rows["edge"])
        },
        types={
            name: subject[of]
            for name, of in _groups(tail.dictionary, tail.indices.to_numpy(), rows["class"])
        },
        literals={
            name: _literals(subject[of], tail.take(pa.array(of)).dictionary_decode())
            for name, of in _groups(pa.array(names), code, rows["value"])
        },
        num_triples=len(code),
        skipped=skipped,
    )  # fmt: skip


def _use(table: Triples, name: str, valued: set[str]) -> str:
    if name == table.type_relation:
        return "class"
    if name in valued:
        return "value"
    return "edge" if table.wants(name) else "none"


def _numbered(
    head: pa.DictionaryArray, tail: pa.DictionaryArray, edges: np.ndarray, *headed: np.ndarray
) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """The resources by first appearance, and for each row the numbers of its head and tail (-1: no resource)."""
    ids = pa.concat_arrays([head.dictionary, tail.dictionary]).dictionary_encode()
    same = ids.indices.to_numpy()
    ends = np.full((len(head), 2), -1, np.int64)
    for rows in (edges, *headed):
        ends[rows, 0] = same[head.indices.to_numpy()[rows]]
    ends[edges, 1] = same[len(head.dictionary) + tail.indices.to_numpy()[edges]]
    flat = ends.reshape(-1)
    order = np.asarray(pd.unique(flat[flat >= 0]), np.int64)
    number = np.full(len(ids.dictionary) + 1, -1, np.int64)
    number[order] = np.arange(len(order))
    return ids.dictionary.take(pa.array(order)), number[ends[:, 0]], number[ends[:, 1]]


def _groups(names: pa.Array, code: np.ndarray, rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The rows of each name, in order, by first appearance of the name."""
    by_code = pd.Series(rows).groupby(code[rows], sort=False)
    return [(names[int(key)].as_py(), group.to_numpy()) for key, group in by_code]


def _literals(subject: np.ndarray, value: pa.Array) -> Literals:
    none = pa.nulls(len(value), pa.string())
    return Literals(subject, value, none, pa.array([STRING] * len(value), pa.string()))
