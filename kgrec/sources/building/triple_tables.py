"""Reads facts from tables with head, relation and tail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from kgrec.large_arrays import require_memory
from kgrec.sources.rdf.facts import Facts, Literals
from kgrec.sources.rdf.left_out import EXCLUDED, REPEATED
from kgrec.sources.rdf.numbering import first_rows
from kgrec.sources.rdf.schema_org import schemes, vocabulary_term
from kgrec.sources.recipe.knowledge_part import Triples
from kgrec.sources.tables.bad_rows import BadRows
from kgrec.sources.tables.columns import Ids
from kgrec.sources.tables.table_columns import read_table

BYTES_A_ROW = 100  #: of memory, for a row of a table while its triples are numbered
STRING = "http://www.w3.org/2001/XMLSchema#string"


def read_triples(table: Triples, folder: Path, bad_rows: BadRows, ids: Collection[str] = ()) -> Facts:
    """The facts in a table of triples. A repeated row counts once. ids: more relations whose tails are kept as values.
    Raises BadData as `read_table` does."""
    columns = [Ids(table.head), Ids(table.relation), Ids(table.tail)]
    read = read_table(table, table.file, columns, folder, bad_rows)
    require_memory(BYTES_A_ROW * len(read[columns[0]]), f"the triples of {', '.join(table.file)}")
    head, relation, tail = (read[column] for column in columns)
    spelled = relation.dictionary.to_pylist()
    names = [vocabulary_term(name) for name in spelled]
    code = relation.indices.to_numpy()
    valued = {table.term(name) for name in (*table.labels, *table.literals)} | {vocabulary_term(name) for name in ids}
    use = np.array([_use(table, name, valued) for name in names])
    new = _new_rows(head, names, code, tail)
    rows = {what: np.flatnonzero((use[code] == what) & new) for what in ("edge", "class", "value")}
    left_out = np.flatnonzero(use[code] == "none")
    skipped = Counter({EXCLUDED: len(left_out), REPEATED: int((~new & (use[code] != "none")).sum())})
    resources, subject, object = _numbered(head, tail, rows["edge"], rows["class"], rows["value"])
    classes = tail.take(pa.array(rows["class"])).dictionary_decode().dictionary_encode()
    class_names = [vocabulary_term(name) for name in classes.dictionary.to_pylist()]
    return Facts(
        resources=resources,
        edges={name: (subject[of], object[of]) for name, of in _groups(names, code[rows["edge"]], rows["edge"])},
        types={name: subject[of] for name, of in _groups(class_names, classes.indices.to_numpy(), rows["class"])},
        literals={
            name: _literals(subject[of], tail.take(pa.array(of)).dictionary_decode())
            for name, of in _groups(names, code[rows["value"]], rows["value"])
        },
        num_triples=len(code),
        skipped={why: count for why, count in skipped.items() if count},
        skipped_of={(EXCLUDED, name): len(of) for name, of in _groups(names, code[left_out], left_out)},
        spelled={term: name for name, term in zip(reversed(spelled), reversed(names)) if schemes([term])},
        schemes=frozenset(schemes([*spelled, *classes.dictionary.to_pylist()])),
    )


def _use(table: Triples, name: str, valued: set[str]) -> str:
    if name == table.class_relation:
        return "class"
    if name in valued:
        return "value"
    return "edge" if table.wants(name) else "none"


def _new_rows(head: pa.DictionaryArray, names: list[str], code: np.ndarray, tail: pa.DictionaryArray) -> np.ndarray:
    """bool [rows]: the rows that do not repeat an earlier one."""
    relation = {name: number for number, name in reversed(list(enumerate(names)))}
    of_code = np.array([relation[name] for name in names], np.int32)
    return first_rows(np.stack([head.indices.to_numpy(), of_code[code], tail.indices.to_numpy()], axis=1))


def _numbered(
    head: pa.DictionaryArray, tail: pa.DictionaryArray, edges: np.ndarray, *headed: np.ndarray
) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """The resources by first appearance, and for each row the numbers of its head and tail (-1: not a resource)."""
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


def _groups(names: Sequence[str], code: np.ndarray, rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The rows of each name, in order of the name's first appearance. code: the position of each row's name in `names`,
    where a name may be repeated."""
    number, distinct = pd.factorize(np.array(names, object))
    by_number = pd.Series(rows).groupby(number[code], sort=False)
    return [(str(distinct[key]), group.to_numpy()) for key, group in by_number]


def _literals(subject: np.ndarray, value: pa.Array) -> Literals:
    none = pa.nulls(len(value), pa.string())
    return Literals(subject, value, none, pa.array([STRING] * len(value), pa.string()))
