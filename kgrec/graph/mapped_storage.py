"""Make the arrays of a graph folder from its Parquet files in bounded memory, and load a graph from them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kgrec.drafts import put_back
from kgrec.errors import KgrecError
from kgrec.graph.array_check import are_sound
from kgrec.graph.array_folder import ArrayFolder, ArrayWriter, hash_of
from kgrec.graph.array_seal import can_seal
from kgrec.graph.assembly import NodePart, check_numbers, check_split, check_weights
from kgrec.graph.column_arrays import FeatureWriter, TextWriter, complete_schema, read_feature, read_texts
from kgrec.graph.export import ContentHash
from kgrec.graph.features import Feature
from kgrec.graph.mapped_edges import GROUPING, Ends, edge_kinds, with_mapped
from kgrec.graph.parts import NO_TIME, Candidates, GraphParts
from kgrec.graph.schema import EdgeType, FeatureSchema, Schema
from kgrec.graph.storage import (
    RECIPE,
    REMEDY,
    candidate_lists,
    check_rows,
    edge_file,
    edge_part,
    read_document,
    read_recipe,
    read_table,
    require_columns,
    split_codes,
    verify_files,
)
from kgrec.graph.stored_batches import batches_of, columns_of, num_rows
from kgrec.graph.vocabulary import Vocabulary
from kgrec.json_files import JsonPlace
from kgrec.memory import memory as memory_of_machine

EDGE_BYTES = 90  #: bytes of memory for each edge of a graph in memory, with both groupings, as measured
SHARE = 4  #: a graph is large if it takes more than 1 / SHARE of the memory
HASH, SCHEMA, FILES = "content_hash", "schema", "files"  #: names of notes in arrays.json


def is_large(path: Path) -> bool:
    """Whether a graph in memory would take more than a quarter of the memory, by the number of its edges. Raises
    KgrecError if the folder is not a graph folder."""
    schema = Schema.from_json(read_document(path), path / "graph.json", REMEDY)
    edges = sum(num_rows(path / "edges" / edge_file(edge)) for edge in schema.edges)
    found = memory_of_machine()
    most = min((part for part in (found["total"], found["limit"]) if part is not None), default=None)
    return most is not None and edges * EDGE_BYTES * SHARE > most


def write_arrays(folder: Path, memory: int = GROUPING) -> None:
    """Make the arrays of a graph folder, unless it has them. The folder must have its graph.json.

    memory: bytes that may be taken for grouping the edges by their ends. In addition it takes 16 bytes for each node
    and the rows of a few batches. Raises what `Graph.load` raises, and KgrecError if the arrays cannot be written, for
    example because the disk is full; then nothing of them is left.
    """
    document = read_document(folder)
    arrays = ArrayFolder.beside(folder, hash_of(folder / "graph.json"))
    if arrays.note(HASH) is None:
        _Making(folder, document, arrays).run(memory)


def load_mapped(path: Path) -> GraphParts:
    """The graph of a folder, mapped from its arrays, which are made if they are missing. See `Graph.load`."""
    put_back(path)
    document = read_document(path)
    hashes = JsonPlace(path / "graph.json", REMEDY).mapping({"files": {}, **document}, "files")
    arrays = ArrayFolder.beside(path, hash_of(path / "graph.json"))
    if not can_seal():
        arrays = arrays.of_anybody()
    found = _of_somebody(path, arrays) if arrays.from_anybody or arrays.note(HASH) is None else None
    if found is None and not arrays.from_anybody and arrays.note(HASH) is not None:
        if arrays.note(FILES) != _stamps(path, hashes):
            verify_files(path, hashes)  # their times or sizes have changed
            with arrays.writing("the times of files") as writer:
                writer.note(FILES, _stamps(path, hashes))
        found = _Mapped(path, arrays).parts()
    if found is None:
        _Making(path, document, arrays).run(GROUPING, again=arrays.note(HASH) is not None)
        found = _Mapped(path, arrays).parts()
    assert found is not None
    return found


def _of_somebody(path: Path, arrays: ArrayFolder) -> GraphParts | None:
    """The graph from arrays that another user made, if there are any and they are sound. They are sealed."""
    others = arrays.of_anybody()
    if others.note(HASH) is None:
        return None
    try:
        mapped = _Mapped(path, others)
        found = mapped.parts()
        if found is None or not are_sound(found, mapped.rows()):
            return None
    except (KgrecError, pa.ArrowException, KeyError, TypeError, ValueError, IndexError, RuntimeError):
        return None
    if not arrays.from_anybody:
        with suppress(KgrecError):  # a folder that cannot be written to; then they are checked again the next time
            arrays.adopt()
    return with_mapped(found, arrays)


def _stamps(path: Path, hashes: Mapping[str, Any]) -> dict[str, list[int]]:
    """Size and time of change of each listed file. If these are the same, so are its contents."""
    files = {name: path / name for name in hashes}
    stats = {name: file.stat() for name, file in files.items() if file.is_file()}
    return {name: [one.st_size, one.st_mtime_ns] for name, one in stats.items()}


class _Ids(dict[str, NodePart]):
    """The nodes of each type with their ids alone, read when an edge names an external id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def __missing__(self, name: str) -> NodePart:
        self[name] = NodePart(Vocabulary(read_table(self.path / "nodes" / f"{name}.parquet")["id"]))
        return self[name]


class _Making:
    """Makes the arrays of one graph folder."""

    def __init__(self, path: Path, document: Mapping[str, Any], arrays: ArrayFolder) -> None:
        self.path, self.arrays = path, arrays
        self.hashes = JsonPlace(path / "graph.json", REMEDY).mapping({"files": {}, **document}, "files")
        self.schema = Schema.from_json(document, path / "graph.json", REMEDY)
        self.hash, self.ids = ContentHash(), _Ids(path)

    def run(self, memory: int, *, again: bool = False) -> None:
        """Make them, unless another process makes them now. again: make them even if they are there."""
        verify_files(self.path, self.hashes)
        with self.arrays.writing("the arrays of the graph") as writer:
            if self.arrays.note(HASH) is not None and not again:
                return
            nodes = {name: self._nodes(writer, number, name) for number, name in enumerate(self.schema.nodes)}
            types = list(self.schema.edges)
            counts = [num_rows(self.path / "edges" / edge_file(edge)) for edge in types]
            ptr = (0, *itertools.accumulate(counts))
            into = {name: writer.array(name, *kind) for name, kind in edge_kinds(ptr[-1]).items()}
            edges = {
                edge: self._edges(writer, into, number, edge, slice(ptr[number], ptr[number + 1]))
                for number, edge in enumerate(types)
            }
            schema = _with_features(self.schema, nodes, edges)
            self._grouped(writer, into, ptr, memory)
            self._splits(writer, counts[types.index(schema.target)] if schema.target is not None else 0)
            writer.note(HASH, self.hash.edges(types, ptr, into["edge_index"], into["time"], into["weight"]))
            writer.note(SCHEMA, schema.to_json())
            writer.note("relation_ptr", list(ptr))
            writer.note(FILES, _stamps(self.path, self.hashes))

    def _nodes(self, writer: ArrayWriter, number: int, name: str) -> dict[str, FeatureSchema]:
        """Write the ids, labels and features of a node type. Returns the schemas of the features."""
        file, node, rows = f"nodes/{name}.parquet", self.schema.nodes[name], 0
        self.hash.node_type(name)
        ids = TextWriter(writer, f"nodes.{number}.id", nullable=False)
        has_labels = "label" in columns_of(self.path / file)
        labels = TextWriter(writer, f"nodes.{number}.label", nullable=True) if has_labels else None
        features = self._writers(writer, f"nodes.{number}", node.features, self.path / file)
        for table in batches_of(self.path / file):
            require_columns(table, ["id", *node.features], file)
            of_batch = Vocabulary(table["id"], table["label"] if labels is not None else None)  # raises for nulls
            ids.append(of_batch.id_array)
            self.hash.ids(of_batch.id_array)
            if labels is not None:
                labels.append(of_batch.label_array)
            for column, one in features.items():
                one.append(table[column])
            rows += len(table)
        check_rows(self.path, file, rows, node.count)
        if labels is not None:
            labels.close()
        return {column: one.close() for column, one in features.items()}

    def _writers(
        self, writer: ArrayWriter, name: str, features: Mapping[str, FeatureSchema], file: Path
    ) -> dict[str, FeatureWriter]:
        found = {}
        for number, (column, schema) in enumerate(features.items()):
            whole = complete_schema(schema, lambda column=column: read_table(file)[column])
            found[column] = FeatureWriter(writer, f"{name}.feature{number}", whole)
        return found

    def _edges(
        self, writer: ArrayWriter, into: Mapping[str, np.ndarray], number: int, edge: EdgeType, rows: slice
    ) -> dict[str, FeatureSchema]:
        """Write the edges of a type and their features. rows: their positions. Returns the schemas of the features."""
        file, described = f"edges/{edge_file(edge)}", self.schema.edges[edge]
        features = self._writers(writer, f"edges.{number}", described.features, self.path / file)
        plain = replace(self.schema, edges={edge: replace(described, features={})})
        missing = infinite = 0
        at = rows.start
        for table in batches_of(self.path / file):
            require_columns(table, described.features, file)
            part = edge_part(table, edge, plain, self.ids, file)
            to = slice(at, at + len(table))
            for end, numbers, node_type in ((0, part.source, edge[0]), (1, part.target, edge[2])):
                check_numbers(numbers, self.schema.nodes[node_type].count, edge, node_type)
                into["edge_index"][end, to] = numbers
            into["time"][to] = NO_TIME if part.time is None else part.time
            with np.errstate(over="ignore"):  # becomes infinite, which raises an error below
                into["weight"][to] = 1.0 if part.weight is None else part.weight
            missing += int(np.isnan(into["weight"][to]).sum())
            infinite += int(np.isinf(into["weight"][to]).sum())
            for column, one in features.items():
                one.append(table[column])
            at = to.stop
        check_weights(edge, missing, infinite)
        return {column: one.close() for column, one in features.items()}

    def _grouped(self, writer: ArrayWriter, into: Mapping[str, np.ndarray], ptr: tuple[int, ...], memory: int) -> None:
        first = dict(zip(self.schema.nodes, (0, *itertools.accumulate(n.count for n in self.schema.nodes.values()))))
        starts = [first[edge[0]] for edge in self.schema.edges], [first[edge[2]] for edge in self.schema.edges]
        ends = Ends(into["edge_index"], into["time"], ptr, starts, self.schema.num_nodes)
        for end, side in enumerate(("csr", "csc")):
            made = {name: writer.array(f"{side}.{name}", *kind) for name, kind in ends.kinds().items()}
            ends.group(end, made, memory)

    def _splits(self, writer: ArrayWriter, rows: int) -> None:
        """Write published splits and lists of candidates. rows: number of the target's edges."""
        splits, lists = list[str](), list[str]()
        for file in sorted((self.path / "splits").glob("*.parquet")):
            name = file.name.removesuffix(".parquet")
            if name.endswith(".candidates"):
                found = candidate_lists(read_table(file), self.schema, self.ids, file)
                self._check_lists(found)
                for part in ("user", "ptr", "item"):
                    values = getattr(found, part).numpy()
                    writer.array(f"candidates.{len(lists)}.{part}", np.int64, values.shape)[:] = values
                lists.append(name.removesuffix(".candidates"))
                continue
            codes, lowest, highest = writer.appended(f"splits.{len(splits)}", np.int8), 0, 0
            for table in batches_of(file):
                of_batch = split_codes(table, file)
                codes.append(of_batch)
                lowest, highest = min(lowest, int(of_batch.min())), max(highest, int(of_batch.max()))
            check_split(name, codes.length, lowest, highest, self.schema.target, rows)
            splits.append(name)
        writer.note("splits", splits)
        writer.note("candidates", lists)

    def _check_lists(self, lists: Candidates) -> None:
        target = self.schema.target
        assert target is not None  # else candidate_lists has raised
        for numbers, node_type in ((lists.user.numpy(), target[0]), (lists.item.numpy(), target[2])):
            check_numbers(numbers, self.schema.nodes[node_type].count, target, node_type)


def _with_features(
    schema: Schema,
    nodes: Mapping[str, Mapping[str, FeatureSchema]],
    edges: Mapping[EdgeType, Mapping[str, FeatureSchema]],
) -> Schema:
    """The schema with these features."""
    return replace(
        schema,
        nodes={name: replace(node, features=dict(nodes[name])) for name, node in schema.nodes.items()},
        edges={edge: replace(one, features=dict(edges[edge])) for edge, one in schema.edges.items()},
    )


class _Missing(Exception):
    """An array is missing or was altered, so all of them are made again."""


@dataclass(frozen=True)
class _Mapped:
    """Reads the graph of a folder from its arrays."""

    path: Path
    arrays: ArrayFolder

    def parts(self) -> GraphParts | None:
        """The graph; None if an array is missing or was altered."""
        try:
            return self._parts()
        except _Missing:
            return None

    def _parts(self) -> GraphParts:
        schema = Schema.from_json(self.arrays.note(SCHEMA), self.path / "arrays" / "arrays.json", "remove the folder")
        ptr = tuple(self.arrays.note("relation_ptr"))
        edge_index, time, weight = (torch.from_numpy(array) for array in self._found(*edge_kinds(ptr[-1])))
        self.rows()  # they are read later, but altered ones are made again here
        nodes, edges = list(schema.nodes), list(schema.edges)
        parts = GraphParts(
            schema,
            edge_index,
            ptr,
            time,
            weight,
            vocabulary={name: self._vocabulary(number) for number, name in enumerate(nodes)},
            features={
                name: self._features(f"nodes.{number}", schema.nodes[name].features)
                for number, name in enumerate(nodes)
            },
            edge_features={
                edge: self._features(f"edges.{number}", schema.edges[edge].features)
                for number, edge in enumerate(edges)
                if schema.edges[edge].features
            },
            splits={
                name: torch.from_numpy(self._found(f"splits.{number}")[0])
                for number, name in enumerate(self.arrays.note("splits"))
            },
            candidates={name: self._lists(number) for number, name in enumerate(self.arrays.note("candidates"))},
            recipe=read_recipe(self.path / RECIPE),
        )
        return with_mapped(parts, self.arrays)

    def rows(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """ptr, edge and other of the edges grouped by either end."""
        found = {}
        for side in ("csr", "csc"):
            ptr, edge, other = map(torch.from_numpy, self._found(f"{side}.ptr", f"{side}.edge", f"{side}.other"))
            found[side] = ptr, edge, other
        return found

    def _lists(self, number: int) -> Candidates:
        found = self._found(*(f"candidates.{number}.{part}" for part in ("user", "ptr", "item")))
        return Candidates(*map(torch.from_numpy, found))

    def _found(self, *names: str) -> list[np.ndarray]:
        found = self.arrays.found(names)
        if found is None:
            raise _Missing
        return found

    def _vocabulary(self, number: int) -> Vocabulary:
        ids = read_texts(self.arrays, f"nodes.{number}.id", nullable=False)
        if ids is None:
            raise _Missing
        return Vocabulary(ids, read_texts(self.arrays, f"nodes.{number}.label", nullable=True))

    def _features(self, name: str, features: Mapping[str, FeatureSchema]) -> dict[str, Feature]:
        found = dict[str, Feature]()
        for number, (column, schema) in enumerate(features.items()):
            feature = read_feature(self.arrays, f"{name}.feature{number}", schema)
            if feature is None:
                raise _Missing
            found[column] = feature
        return found


__all__ = ["is_large", "load_mapped", "write_arrays"]
