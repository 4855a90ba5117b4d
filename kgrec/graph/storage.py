"""The graph folder: `graph.json` and Parquet files that any engine can write and read. Nothing is pickled.

| file | contents |
|---|---|
| `graph.json` | format, schema (node types, relations, features, target), hashes of files and of the order of rows |
| `nodes/TYPE.parquet` | `id`, optional `label`, and a column for each feature; the row number is the local number |
| `edges/SOURCE__RELATION__TARGET.parquet` | `source`, `target`, optional `time`, `weight` and features |
| `splits/NAME.parquet`, `splits/NAME.candidates.parquet` | optional: published splits, and lists of items to rank |
| `recipe.json` | optional: the recipe that the graph was built from, including all defaults, as JSON |
| `arrays` | optional: a folder of arrays that are mapped into memory, see `kgrec.graph.array_folder` |

`kgrec adopt` accepts a folder that another engine wrote or changed. Older versions ignore optional files that they do
not know, so a new one needs no new format number.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from kgrec.column_texts import texts_of
from kgrec.drafts import put_back
from kgrec.errors import Fault, KgrecError, some
from kgrec.files import file_hash, whole, write_json
from kgrec.graph.assembly import EdgePart, NodePart, assemble, unix_seconds
from kgrec.graph.features import Feature
from kgrec.graph.parts import NO_TIME, Candidates, GraphParts
from kgrec.graph.row_order import order_of_edges, order_of_ids
from kgrec.graph.schema import EdgeType, FeatureSchema, Schema
from kgrec.graph.vocabulary import Vocabulary
from kgrec.json_files import JsonPlace, read_object
from kgrec.output_kinds import FolderKind
from kgrec.plain_folders import is_inside, must_be_plain
from kgrec.stored_tables import is_lists, read_parquet

FORMAT = 1
ROWS_A_GROUP = 1 << 20  #: of a Parquet file
WRITTEN_ROWS = 4 * ROWS_A_GROUP  #: edges that are converted to Arrow at a time
REMEDY = "build the graph again"
PARTS = ("train", "valid", "test")
RECIPE = "recipe.json"
GRAPH_FOLDER = FolderKind(
    "graph folder",
    "graph.json",
    {"format": int, "nodes": dict, "edges": list},
    (RECIPE, "nodes/*.parquet", "edges/*.parquet", "splits/*.parquet", "nodes/*.parquet/*", "edges/*.parquet/*"),
    listed_under="files",
    caches=("arrays",),
)


def edge_file(edge: EdgeType) -> str:
    return "__".join(edge) + ".parquet"


def save_graph(graph: GraphParts, path: Path, *, overwrite: bool = False) -> None:
    """Write the folder of a graph, which must be on the CPU. `source` and `target` in an edge file are row numbers of
    the node files, from 0.

    Raises KgrecError if `path` exists and `overwrite` is false, if `path` is something other than a graph folder, and
    if writing fails.
    """
    with whole(path, overwrite, GRAPH_FOLDER) as folder:
        write_graph(graph, folder)


def write_graph(graph: GraphParts, folder: Path) -> None:
    """Write all files of a graph to a folder that does not exist yet. The graph must be on the CPU."""
    for name in ("nodes", "edges", "splits"):
        (folder / name).mkdir(parents=True)
    for node_type in graph.node_types:
        write_columns(folder / "nodes" / f"{node_type}.parquet", _node_columns(graph, node_type))
    for number, edge in enumerate(graph.edge_types):
        write_columns(folder / "edges" / edge_file(edge), edge_columns(graph, number))
    for name, part in graph.splits.items():
        write_columns(folder / "splits" / f"{name}.parquet", _split_columns(part.numpy()))
    for name, lists in graph.candidates.items():
        items = pa.ListArray.from_arrays(
            pa.array(lists.ptr.numpy(), pa.int32()), pa.array(lists.item.numpy(), pa.int32())
        )
        columns = {"user": pa.array(lists.user.numpy(), pa.int32()), "items": items}
        write_columns(folder / "splits" / f"{name}.candidates.parquet", columns)
    if graph.recipe is not None:
        write_json(folder / RECIPE, graph.recipe)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    document = {
        "format": FORMAT,
        **graph.schema.to_json(),
        "order": row_orders(graph),
        "files": {file.relative_to(folder).as_posix(): file_hash(file) for file in files},
    }
    write_json(folder / "graph.json", document)


def row_orders(graph: GraphParts) -> dict[str, str]:
    """Hashes of the order of rows, by file, for tables whose row numbers are used in other files: the nodes, and the
    target's edges if there are splits. `kgrec adopt` compares a rewritten folder with them."""
    orders = {f"nodes/{name}.parquet": order_of_ids(graph.vocabulary[name].id_array) for name in graph.node_types}
    if graph.splits and graph.schema.target is not None:
        number = graph.edge_types.index(graph.schema.target)
        ends = graph.edge_index[:, graph.relation_ptr[number] : graph.relation_ptr[number + 1]].numpy()
        orders[f"edges/{edge_file(graph.schema.target)}"] = order_of_edges(ends[0], ends[1])
    return orders


def _node_columns(graph: GraphParts, node_type: str) -> dict[str, pa.Array]:
    vocabulary = graph.vocabulary[node_type]
    columns = {"id": vocabulary.id_array}
    if vocabulary.label_array is not None:
        columns["label"] = vocabulary.label_array
    return columns | feature_columns(graph, node_type)


def feature_columns(graph: GraphParts, node_type: str) -> dict[str, pa.Array]:
    """The feature columns of a node type, as they are written to a Parquet file."""
    return {name: feature.to_arrow() for name, feature in graph.features.get(node_type, {}).items()}


def edge_columns(graph: GraphParts, number: int) -> Iterator[dict[str, pa.Array]]:
    """The columns in the file of an edge type, for WRITTEN_ROWS edges at a time. number: its position in
    `graph.edge_types`."""
    start, stop = graph.relation_ptr[number], graph.relation_ptr[number + 1]
    source, target = graph.edge_index[:, start:stop].numpy()
    time, weight = graph.time[start:stop].numpy(), graph.weight[start:stop].numpy()
    slices = [slice(at, at + WRITTEN_ROWS) for at in range(0, max(stop - start, 1), WRITTEN_ROWS)]
    has_time = any((time[rows] != NO_TIME).any() for rows in slices)
    misses_some = any((time[rows] == NO_TIME).any() for rows in slices)
    has_weight = any((weight[rows] != 1).any() for rows in slices)
    features = edge_feature_columns(graph, graph.edge_types[number])
    for rows in slices:
        columns = {"source": pa.array(source[rows].astype(np.int32)), "target": pa.array(target[rows].astype(np.int32))}
        if has_time:
            columns["time"] = pa.array(time[rows], mask=time[rows] == NO_TIME if misses_some else None)
        if has_weight:
            columns["weight"] = pa.array(weight[rows])
        yield columns | {name: values[rows] for name, values in features.items()}


def edge_feature_columns(graph: GraphParts, edge: EdgeType) -> dict[str, pa.Array]:
    """The feature columns of an edge type, as they are written to a Parquet file."""
    return {name: feature.to_arrow() for name, feature in graph.edge_features.get(edge, {}).items()}


def _split_columns(part: np.ndarray) -> Iterator[dict[str, pa.Array]]:
    """The column in the file of a split, for WRITTEN_ROWS edges at a time. part: int8 [target edges]."""
    for start in range(0, max(len(part), 1), WRITTEN_ROWS):
        codes = pa.array(part[start : start + WRITTEN_ROWS])
        yield {"part": pa.DictionaryArray.from_arrays(codes, list(PARTS))}


def write_columns(
    path: Path,
    columns: Mapping[str, pa.Array] | Iterator[Mapping[str, pa.Array]],
    compression: str = "snappy",
    **encoding: Any,
) -> None:
    """Write columns of equal length as a Parquet file. They may be given some rows at a time, ROWS_A_GROUP or a
    multiple of it except at the end; the file is the same. encoding: other settings of Arrow's writer."""
    tables = (pa.table(dict(part)) for part in ([columns] if isinstance(columns, Mapping) else columns))
    first = next(tables)
    with pq.ParquetWriter(path, first.schema, compression=compression, **encoding) as writer:
        for table in itertools.chain([first], tables):
            writer.write_table(table, row_group_size=ROWS_A_GROUP)


def load_parts(path: Path) -> GraphParts:
    """Read a graph folder. See `Graph.load`."""
    put_back(path)
    document = read_document(path)
    verify_files(path, JsonPlace(path / "graph.json", REMEDY).mapping({"files": {}, **document}, "files"))
    schema = Schema.from_json(document, path / "graph.json", REMEDY)
    nodes = {name: _read_nodes(path, name, schema) for name in schema.nodes}
    edges = {edge: _read_edges(path, edge, schema, nodes) for edge in schema.edges}
    splits, candidates = {}, {}
    for file in sorted((path / "splits").glob("*.parquet")):
        name = file.name.removesuffix(".parquet")
        if name.endswith(".candidates"):
            candidates[name.removesuffix(".candidates")] = candidate_lists(read_table(file), schema, nodes, file)
        else:
            splits[name] = split_codes(read_table(file), file)
    return assemble(
        nodes,
        edges,
        target=schema.target,
        standard=schema.standard,
        splits=splits,
        candidates=candidates,
        recipe=read_recipe(path / RECIPE),
    )


def read_recipe(file: Path) -> dict[str, Any] | None:
    """The recipe that a graph was built from; None if there is none."""
    return read_object(file, REMEDY) if file.is_file() else None


def read_document(path: Path) -> dict[str, Any]:
    """The contents of graph.json. Raises KgrecError if the folder is not a graph folder or contains a link, and if
    graph.json is altered or of a newer format."""
    file = path / "graph.json"
    if not file.is_file():
        what = "is not a graph folder: it has no graph.json" if path.is_dir() else "does not exist"
        advice = f"build a graph with `kgrec build RECIPE --out {path}`"
        if (path / "nodes").is_dir():
            advice = f"if its Parquet files are those of a graph, run `kgrec adopt {path}`; otherwise {advice}"
        raise _wrong(path, f"{what}; {advice}", "missing file")
    must_be_plain(path, REMEDY)
    document = read_object(file, REMEDY)
    version = JsonPlace(file, REMEDY).whole(document, "format", least=1)
    if version > FORMAT:
        what = f"has format {version}, but this kgrec reads formats up to {FORMAT}; update kgrec"
        raise _wrong(file, what, "newer format", value=str(version))
    return document


def adopt_advice(path: Path) -> str:
    """What to do if a folder does not agree with its graph.json."""
    return f"if you changed it, run `kgrec adopt {path}`; otherwise {REMEDY}"


def _wrong(
    file: Path | str, what: str, kind: str, *, column: str | None = None, value: str | None = None
) -> KgrecError:
    """The error with the message `what` about a file."""
    return KgrecError(Fault(what, str(file), None, column, value, kind, file_is="subject"))


def verify_files(path: Path, hashes: Mapping[str, Any]) -> None:
    """Raise KgrecError if a file that graph.json lists is missing, truncated or altered. hashes: `files` there."""
    place = JsonPlace(path / "graph.json", REMEDY).at("files")
    for name in hashes:
        wanted, file = place.text(hashes, name), path / name
        if not is_inside(name):
            what = f"lists the file {name!r}, which is outside of this folder, so it was altered; {REMEDY}"
            raise _wrong(path / "graph.json", what, "altered file", value=name)
        if not file.exists():
            raise _wrong(path, f"lacks its file {name}; {REMEDY}", "missing file", value=name)
        if file.is_file() and file_hash(file) != wanted:
            what = f"is truncated or altered: its hash is not the one in graph.json; {adopt_advice(path)}"
            raise _wrong(file, what, "altered file")


def read_table(file: Path) -> pa.Table:
    """Reads a Parquet file, or a folder of Parquet files in the order of their names."""
    if not file.exists():
        name = f"{file.parent.name}/{file.name}"
        raise _wrong(file.parent.parent, f"lacks its file {name}; build the graph again", "missing file", value=name)
    parts = sorted(file.glob("*.parquet")) if file.is_dir() else [file]
    try:
        return pa.concat_tables([read_parquet(part) for part in parts], promote_options="permissive")
    except (pa.ArrowException, OSError) as error:
        raise _wrong(file, f"is truncated or altered: {error}; build the graph again", "altered file") from error


def require_columns(table: pa.Table, wanted: Iterable[str], file: str) -> None:
    """Raise KgrecError if a table lacks a column. file: its name, for messages."""
    for name in wanted:
        if name not in table.column_names:
            what = f"has no column {name!r}; it has {some(table.column_names, 20)}"
            raise _wrong(file, what, "missing column", column=name, value=name)


def read_features(table: pa.Table, features: Mapping[str, FeatureSchema], file: str) -> dict[str, Feature]:
    """The features in a table's columns. Raises KgrecError if a column is missing or does not fit its kind."""
    require_columns(table, features, file)
    return {name: Feature.from_arrow(table[name], feature) for name, feature in features.items()}


def _read_nodes(path: Path, name: str, schema: Schema) -> NodePart:
    file = f"nodes/{name}.parquet"
    table = read_table(path / file)
    require_columns(table, ["id"], file)
    check_rows(path, file, len(table), schema.nodes[name].count)
    label = table["label"] if "label" in table.column_names else None
    return NodePart(
        Vocabulary(table["id"], label),
        read_features(table, schema.nodes[name].features, file),
        schema.nodes[name].label,
    )


def check_rows(path: Path, file: str, rows: int, wanted: int) -> None:
    """Raise KgrecError if a file of nodes has another number of rows than graph.json says."""
    if rows != wanted:
        what = f"has {rows} rows, but graph.json says {wanted}; {adopt_advice(path)}"
        raise _wrong(path / file, what, "wrong length")


def _read_edges(path: Path, edge: EdgeType, schema: Schema, nodes: Mapping[str, NodePart]) -> EdgePart:
    file = f"edges/{edge_file(edge)}"
    return edge_part(read_table(path / file), edge, schema, nodes, file)


def edge_part(table: pa.Table, edge: EdgeType, schema: Schema, nodes: Mapping[str, NodePart], file: str) -> EdgePart:
    """The edges of a table with the columns of an edge file. file: its name, for messages.

    Raises KgrecError if a column is missing or has the wrong type, UnknownName for unknown external ids.
    """
    require_columns(table, ["source", "target"], file)
    time = weight = None
    if "time" in table.column_names:
        time = unix_seconds(table["time"], edge[1])
    if "weight" in table.column_names:
        weight = _weights(table["weight"], file)
    edge_schema = schema.edges[edge]
    return EdgePart(
        source=_local_numbers(table["source"], nodes, edge[0], file),
        target=_local_numbers(table["target"], nodes, edge[2], file),
        time=time,
        weight=weight,
        features=read_features(table, edge_schema.features, file),
        label=edge_schema.label,
        inverse_of=edge_schema.inverse_of,
    )


def _weights(column: pa.ChunkedArray, file: str) -> np.ndarray:
    """Weights, float32 [E], NaN for a missing one."""
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
        what = f"has a column 'weight' of type {column.type}; numbers are wanted"
        raise _wrong(file, what, "bad number", column="weight", value=str(column.type))
    return column.cast(pa.float32(), safe=False).to_numpy()


def _local_numbers(
    column: pa.Array | pa.ChunkedArray, nodes: Mapping[str, NodePart], node_type: str, file: str
) -> np.ndarray:
    """Local numbers of a column: integers are row numbers; other values are external ids, which are looked up."""
    if column.null_count:
        raise _wrong(file, f"has {column.null_count} empty ids or numbers; fill them in", "missing value")
    if pa.types.is_integer(column.type):
        return column.to_numpy()
    return nodes[node_type].vocabulary.numbers(column, what=f"id of {file}").numpy()


def split_codes(table: pa.Table, file: Path) -> np.ndarray:
    """The parts of a published split, int8 [target edges]. Raises KgrecError for a part that is not train, valid or
    test."""
    require_columns(table, ["part"], file.name)
    column = table["part"].combine_chunks()
    codes = pc.index_in(texts_of(column, f"the column 'part' of {file.name}"), value_set=pa.array(PARTS))
    if codes.null_count:
        raise _wrong(file, f"has parts other than {', '.join(PARTS)}; use these names", "bad split", column="part")
    return codes.to_numpy().astype(np.int8)


def candidate_lists(table: pa.Table, schema: Schema, nodes: Mapping[str, NodePart], file: Path) -> Candidates:
    """The lists of candidates in a table with the columns `user` and `items`. Raises KgrecError if a column is missing,
    UnknownName for unknown external ids."""
    if schema.target is None:
        what = "lists candidates, but graph.json names no target relation that they could belong to; name it as target"
        raise _wrong(file, what, "bad schema")
    require_columns(table, ["user", "items"], file.name)
    if not is_lists(table["items"].type) or table["items"].null_count:
        what = f"has a column 'items' of type {table['items'].type}; a list of items is wanted in every row"
        raise _wrong(file.name, what, "bad id", column="items")
    user = _local_numbers(table["user"], nodes, schema.target[0], file.name).astype(np.int64)
    order = np.argsort(user, kind="stable")
    items = table["items"].combine_chunks().take(pa.array(order))
    ptr = np.concatenate([[0], np.cumsum(pc.list_value_length(items).to_numpy())])
    flat = _local_numbers(pc.list_flatten(items), nodes, schema.target[2], file.name).astype(np.int64)
    return Candidates(torch.from_numpy(user[order]), torch.from_numpy(ptr.astype(np.int64)), torch.from_numpy(flat))
