"""Reads and checks columns of pandas frames: ids as texts, features, weights. Errors name the row."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from kgrec.column_texts import texts_of_values
from kgrec.errors import BadData, Fault, KgrecError, some
from kgrec.graph.features import Feature
from kgrec.graph.schema import FeatureKind, FeatureSchema

GREATEST = float(np.finfo(np.float32).max)  #: the greatest number in a graph, which stores them as float32


def as_frame(values: object, what: str) -> pd.DataFrame:
    """Converts a pandas, Arrow or other table that Arrow can read to a pandas frame whose column names are texts. what:
    the name of the table in messages. Raises KgrecError for anything else, and if two columns have the same name."""
    if isinstance(values, pd.DataFrame):
        frame = values
    elif hasattr(values, "__arrow_c_stream__"):
        frame = pa.table(values).to_pandas(types_mapper=pd.ArrowDtype)
    else:
        raise KgrecError(f"{what} is a {type(values).__name__}; a pandas DataFrame or an Arrow table is wanted")
    names = [str(name) for name in frame.columns]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise KgrecError(f"{what} has two columns called {some(twice)}; remove or rename one", column=twice[0])
    return frame.set_axis(names, axis=1)


def require(frame: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    """Raise KgrecError if the frame lacks one of the columns. what: the name of the frame in messages."""
    for column in columns:
        if column not in frame:
            raise KgrecError(f"{what} has no column {column!r}; it has {some(frame.columns, 20)}")


def id_column(frame: pd.DataFrame, column: str, missing: str) -> pa.Array:
    """A column of ids as strings. missing: the message for a missing id without its number, such as "edges of relation
    'rated' have no user id". Raises BadData with the row for a missing id, for a value that cannot be written as one
    text, and for a float that may have been rounded."""
    values = frame[column]
    texts = texts_of_values(values, column)
    if texts.null_count:
        row = int(np.argmax(np.asarray(texts.is_null()))) + 1
        what = f"{texts.null_count} {missing}: row {row}" + (" is the first" if texts.null_count > 1 else "")
        raise BadData(Fault(what, None, row, column, None, "missing value", unit="row"))
    _refuse_rounded(values, column)
    return texts


def _refuse_rounded(values: pd.Series[Any], column: str) -> None:
    """Raise BadData for an id that is a float so large that it may stand for several integers."""
    if not pd.api.types.is_float_dtype(values.dtype):
        return
    dtype: Any = values.dtype
    kind = np.dtype(getattr(dtype, "numpy_dtype", dtype))
    numbers = values.to_numpy(kind, na_value=np.nan)
    great = np.flatnonzero(np.abs(numbers) >= 2.0 ** (np.finfo(kind).nmant + 1))
    if len(great):
        row, value = int(great[0]) + 1, repr(float(numbers[great[0]]))
        what = f"row {row} of {column} is {value}, a {kind} number that may have been rounded"
        advice = "give such ids as integers (dtype 'Int64' if some are missing) or as text"
        raise BadData(Fault(f"{what}; {advice}", None, row, column, value, "bad id", unit="row"))


def feature_column(frame: pd.DataFrame, column: str, schema: FeatureSchema | FeatureKind | None, what: str) -> Feature:
    """A column as a feature. schema: None infers the kind from the column's type. what: the name of the frame in
    messages.

    Raises KgrecError for a column of another kind, BadData with the row for an infinite number and for NaN in a vector.
    """
    values = frame[column]
    kind = schema.kind if isinstance(schema, FeatureSchema) else schema
    try:
        array = arrow_column(values, column)
    except BadData:  # values of several types, which can all be written as texts
        if kind in ("numeric", "vector"):
            raise
        is_list = kind == "multi" or values.map(pd.api.types.is_list_like).any()
        array = _lists(values, column) if is_list else texts_of_values(values, column)
    feature = Feature.from_arrow(array, schema or kind_of(array, column))
    if feature.infinite.any():
        row = int(feature.infinite.nonzero()[0]) + 1
        wrong = "NaN or infinity in a vector" if feature.schema.kind == "vector" else "an infinite number"
        message = f"column {column!r} of {what} has {wrong}, or one above 3.4e38, in row {row}"
        advice = "use a missing value if it is not known"
        raise BadData(Fault(f"{message}; {advice}", None, row, column, str(values.iloc[row - 1]), "out of range"))
    return feature


def arrow_column(values: pd.Series[Any], column: str) -> pa.Array:
    """A column as an Arrow array; NaN becomes null. Raises BadData if its values have several types."""
    try:
        array = pa.array(list(values) if values.dtype == object else values, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise BadData(f"column {column!r} mixes types: {error}", column=column, kind="mixed types") from error
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _lists(values: pd.Series[Any], column: str) -> pa.Array:
    """A column of lists as lists of texts. Raises BadData with the row for a value that is not a list."""
    rows: list[list[object] | None] = []
    for row, value in enumerate(values, 1):
        if pd.api.types.is_list_like(value) and not isinstance(value, dict):
            rows.append(list(value))
        elif pd.isna(value):
            rows.append(None)
        else:
            what = f"row {row} of {column} is {value!r}; a list is wanted, as in other rows"
            raise BadData(Fault(what, None, row, column, str(value), "mixed types", unit="row"))
    texts = texts_of_values(list(itertools.chain.from_iterable(row for row in rows if row is not None)), column)
    ends = np.cumsum([0] + [0 if row is None else len(row) for row in rows])
    nothing = np.array([row is None for row in rows], bool)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), texts, mask=pa.array(nothing))


def kind_of(array: pa.Array | pa.ChunkedArray, column: str) -> FeatureKind:
    """The kind of feature for a column of this type. Raises KgrecError for a type that fits no kind."""
    kind, types = array.type, pa.types
    if types.is_dictionary(kind):
        kind = pa.string()
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind):
        return "numeric"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) or _is_uuid(kind):
        return "categorical"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return "vector" if types.is_floating(kind.value_type) else "multi"
    raise KgrecError(
        f"column {column!r} has the type {kind}, which fits no kind of feature; name its kind in features=, or leave "
        "the column out"
    )


def _is_uuid(kind: pa.DataType) -> bool:
    of_16_bytes = pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16
    return of_16_bytes or (isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.uuid")


def weight_column(frame: pd.DataFrame, relation: str) -> np.ndarray:
    """The weights of a relation's edges: float32 [E], NaN for a missing weight. Raises BadData for values that are not
    numbers, and with the row for a number that is too large for float32."""
    array = arrow_column(frame["weight"], "weight")
    try:
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        numbers = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
    except pa.ArrowException as error:
        what = f"weight of relation {relation!r} is a column of {array.type}; numbers are wanted: {error}"
        raise BadData(what, column="weight", kind="bad number") from error
    great = np.flatnonzero(np.abs(numbers) > GREATEST)
    if len(great):
        row, value = int(great[0]) + 1, f"{numbers[great[0]]:g}"
        what = f"{len(great)} edges of relation {relation!r} have a weight that is infinite or above 3.4e38"
        message = f"{what}, such as {value} in row {row}; correct it"
        raise BadData(Fault(message, None, row, "weight", value, "bad number", unit="row"))
    return numbers.astype(np.float32)
