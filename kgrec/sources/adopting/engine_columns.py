"""Converts columns that another program wrote into those of a graph folder: ids, features, row numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.column_texts import texts_of
from kgrec.errors import BadData, Fault, KgrecError, some
from kgrec.graph.features import Feature
from kgrec.graph.frame_columns import kind_of
from kgrec.graph.schema import FEATURE_KINDS, FeatureSchema
from kgrec.graph.vocabulary import Vocabulary

PANDAS_INDEX = re.compile(r"__index_level_[0-9]+__")  #: pandas' names for the columns of a frame's index
UNNAMED_INDEX = ("index", "level_0", "Unnamed: 0")  #: pandas' names for an index that was made a column
IGNORE = "ignore"  #: instead of a kind: the column is dropped
WANTED_KIND = f"one of {', '.join(FEATURE_KINDS)}, or {IGNORE} to drop it"


@contextmanager
def in_file(file: str) -> Iterator[None]:
    """A context in which errors without a file get this one. They become BadData."""
    try:
        yield
    except KgrecError as error:
        faults = [fault if fault.file else fault._replace(file=file) for fault in error.faults]
        raise BadData([fault._replace(unit="row") for fault in faults]) from error


def without_index(table: pa.Table, known: Mapping[str, object], note: Callable[[str], None]) -> pa.Table:
    """A table without the index that pandas writes as a column. known: features; they are never taken for an index."""
    for name in table.column_names:
        is_index = PANDAS_INDEX.fullmatch(name) or (name in UNNAMED_INDEX and _is_range(table[name]))
        if is_index and name not in known:
            table = table.drop_columns([name])
            note(f"column {name!r} dropped: it is the row index of pandas")
    return table


def _is_range(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_integer(column.type) or column.null_count:
        return False
    return bool((column.to_numpy() == np.arange(len(column))).all())


def vocabulary_of(table: pa.Table) -> Vocabulary:
    """The ids and labels of a node table. Raises BadData where an id is missing or repeated."""
    ids = _joined(texts_of(table["id"], "id"))
    if ids.null_count:
        row = int(np.argmax(np.asarray(ids.is_null()))) + 1
        what = f"{ids.null_count} nodes have no id; give each node an id, or remove these rows"
        raise BadData(Fault(what, None, row, "id", None, "missing value", unit="row"))
    vocabulary = Vocabulary(ids, table["label"] if "label" in table.column_names else None)
    vocabulary.index  # noqa: B018 - raises where an id is repeated
    return vocabulary


def _joined(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    try:
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    except pa.ArrowException as error:
        raise BadData(f"a column of {column.nbytes:,} bytes is too long for one array: {error}") from error


def feature_of(column: pa.ChunkedArray, name: str, kind: str | None, former: FeatureSchema | None) -> Feature:
    """A column as a feature. Its kind is the given one, or the former one, or inferred from the column's type. Former
    categories keep their codes, and new ones come after them. Raises KgrecError where the type does not fit the kind or
    the kind cannot be inferred, and BadData with the row for an infinite number."""
    array = plain_lists(_joined(column))
    chosen = kind or (former.kind if former is not None else _inferred(array, name))
    schema = FeatureSchema(chosen)  # type: ignore[arg-type]
    if former is not None and former.kind == chosen:
        schema = _grown(array, former)
    feature = Feature.from_arrow(array, schema)
    if feature.infinite.any():
        row = int(feature.infinite.nonzero()[0]) + 1
        wrong = "NaN or infinity in a vector" if chosen == "vector" else "an infinite number, or one above 3.4e38"
        what = f"column {name!r} has {wrong}; leave a value empty where it is not known"
        raise BadData(Fault(what, None, row, name, None, "out of range", unit="row"))
    return feature


def _inferred(array: pa.Array, name: str) -> str:
    try:
        return kind_of(array, name)
    except KgrecError:
        what = f"column {name!r} of type {array.type} could be several kinds of feature; choose one with --kind: "
        raise BadData(what + WANTED_KIND, column=name, kind="bad feature") from None


def plain_lists(array: pa.Array) -> pa.Array:
    """Lists of any layout as plain lists."""
    kind, types = array.type, pa.types
    odd = types.is_fixed_size_list(kind) or types.is_list_view(kind) or types.is_large_list_view(kind)
    return array.cast(pa.list_(kind.value_type)) if odd or types.is_large_list(kind) else array


def _grown(array: pa.Array, former: FeatureSchema) -> FeatureSchema:
    """The former kind with new categories added, or with the present length of vectors."""
    if former.kind == "vector":
        is_list = pa.types.is_list(array.type) and len(array) > array.null_count
        return FeatureSchema("vector", dim=0 if is_list else former.dim)
    if former.kind not in ("categorical", "multi"):
        return FeatureSchema(former.kind)
    values = array
    if former.kind == "multi":
        if not pa.types.is_list(array.type):
            return FeatureSchema("multi")  # Feature.from_arrow refuses it
        values = pc.list_flatten(array)
    found = pc.unique(texts_of(values)).drop_null().to_pylist()
    new = sorted(set(found) - set(former.categories))
    return FeatureSchema(former.kind, (*former.categories, *new))


def row_numbers(
    column: pa.Array, name: str, ids: Vocabulary, node_type: str, edges_by: str | None, is_ours: bool
) -> tuple[np.ndarray, bool]:
    """The local node numbers [E] of a column, and whether the column has numbers (not ids). edges_by: `numbers`, `ids`,
    or None: integers are numbers and text is ids. is_ours: whether kgrec wrote the numbers in this folder.

    Raises BadData with the row where a value is not a node, and where integers may be numbers or ids.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        row = int(np.argmax(np.asarray(column.is_null()))) + 1
        what = f"{name} has {column.null_count} empty values; fill them in, or remove these rows"
        raise BadData(Fault(what, None, row, name, None, "missing value", unit="row"))
    kind, types = column.type, pa.types
    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind)
    if edges_by == "numbers" or (edges_by is None and is_number):
        numbers = _whole_numbers(column, name)
        _refuse_beyond(numbers, name, column, ids, node_type)
        if edges_by is None and not is_ours:
            _refuse_ambiguous(numbers, name, ids, node_type)
        return numbers, True
    texts = texts_of(column, name)
    found = ids.find(texts)
    wrong = np.flatnonzero(found < 0)
    if len(wrong):
        row, value = int(wrong[0]) + 1, texts[int(wrong[0])].as_py()
        unknown = some(pc.unique(texts.take(pa.array(wrong))).to_pylist(), 3)
        what = f"{name} has {len(wrong):,} ids that are not {node_type} nodes: {unknown}"
        advice = f"add them to the {node_type} nodes, or remove these rows"
        raise BadData(Fault(f"{what}; {advice}", None, row, name, value, "dangling id", unit="row"))
    return found, False


def _refuse_ambiguous(numbers: np.ndarray, name: str, ids: Vocabulary, node_type: str) -> None:
    """Raise BadData where all row numbers are also ids, and of other rows."""
    distinct = np.unique(numbers)
    found = ids.find(pa.array(distinct).cast(pa.string()))
    other = distinct[found != distinct]
    if len(other) and (found >= 0).all():
        first = int(other[0])
        what = (
            f"the numbers in {name} may be row numbers or ids of {node_type} nodes: {first} is the number of the row "
            f"with id {ids.ids([first])[0]!r}, and also the id of row {int(found[distinct == first][0])} (counted from "
            "0); choose --edges-by ids or --edges-by numbers"
        )
        raise BadData(what, column=name, value=str(first), kind="ambiguous id")


def _whole_numbers(column: pa.Array, name: str) -> np.ndarray:
    """Row numbers, int64, from integers of any width, or from whole numbers in floats, decimals or text."""
    try:
        return column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        what = f"{name}, a column of type {column.type}, has values that are not row numbers: {error}"
        raise BadData(what, column=name, kind="bad number") from error


def _refuse_beyond(numbers: np.ndarray, name: str, column: pa.Array, ids: Vocabulary, node_type: str) -> None:
    wrong = np.flatnonzero((numbers < 0) | (numbers >= len(ids)))
    if not len(wrong):
        return
    row, value = int(wrong[0]) + 1, str(numbers[wrong[0]])
    are_ids = (ids.find(texts_of(column, name)) >= 0).all()
    advice = "all of them are ids, so use --edges-by ids" if are_ids else "fix them, or write ids instead"
    what = f"{name} has {len(wrong):,} numbers that are not {node_type} rows, such as {value}"
    there = f"there are {len(ids):,} rows, numbered from 0"
    raise BadData(Fault(f"{what}; {there}; {advice}", None, row, name, value, "dangling id", unit="row"))
