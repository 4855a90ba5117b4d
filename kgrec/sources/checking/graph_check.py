"""Every problem of a graph folder, where `Graph.load` would stop at the first."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from kgrec.column_texts import texts_of
from kgrec.errors import KgrecError, some
from kgrec.graph import NO_TIME
from kgrec.graph.assembly import unix_seconds
from kgrec.graph.features import Feature
from kgrec.graph.schema import EdgeType, FeatureSchema, Schema
from kgrec.graph.storage import PARTS, adopt_advice, edge_file, read_document
from kgrec.json_files import described
from kgrec.plain_folders import is_inside
from kgrec.progress import Task, counted, working
from kgrec.sources.checking.findings import Problem, Severity
from kgrec.sources.tables.time_column import DAY
from kgrec.stored_tables import is_lists, plain_value, read_parquet

AGAIN = "build the graph again"


def check_graph(folder: Path) -> list[Problem]:
    """All problems of a graph folder, and notes on isolated nodes and repeated edges."""
    try:
        document = read_document(folder)
    except KgrecError as error:
        return [_of_document(error, folder)]
    hashes = document.get("files", {})
    if not isinstance(hashes, dict):
        return [Problem("graph.json", f"`files` is {described(hashes)}, not a JSON object; {AGAIN}", "bad schema")]
    problems = list(_altered(folder, hashes))
    try:
        schema = Schema.from_json(document, "the schema", AGAIN)
    except KgrecError as error:
        again = "" if str(error).endswith(AGAIN) else f"; {AGAIN}"
        return [*problems, Problem("graph.json", f"{error}{again}", "bad schema")]
    check = _GraphCheck(folder, schema, problems)
    for what, part in (
        ("nodes", check.nodes),
        ("edges", check.edges),
        ("splits", check.splits),
        ("isolated nodes", check.isolated),
    ):
        with working(Task(f"checking {what}")):
            part()
    return check.problems


def _of_document(error: KgrecError, folder: Path) -> Problem:
    """The problem of a graph.json that cannot be read, or of a folder with a symbolic link in it."""
    if not (folder / "graph.json").is_file():
        return Problem("graph.json", f"is missing, so {folder} is not a graph folder; {AGAIN}", "missing file")
    file = "graph.json" if error.file == str(folder / "graph.json") else str(folder)
    return Problem(file, error.fault.message, error.kind or "altered file", value=error.value)


def _altered(folder: Path, hashes: Mapping[str, Any]) -> Iterator[Problem]:
    for name, wanted in counted("checking", hashes.items(), len(hashes), "files"):
        file = folder / name
        if not is_inside(name):
            yield Problem(
                "graph.json", f"lists the file {name!r}, which is outside this folder; {AGAIN}", "altered file"
            )
        elif not file.exists():
            yield Problem(name, f"is missing; {AGAIN}", "missing file")
        elif file.is_file():
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != wanted:
                what = f"is truncated or altered: its hash is not the one in graph.json; {adopt_advice(folder)}"
                yield Problem(name, what, "altered file")


class _GraphCheck:
    """Reads each file of a folder separately, so that a problem in one does not hide a problem in another."""

    def __init__(self, folder: Path, schema: Schema, problems: list[Problem]) -> None:
        self.folder, self.schema = folder, schema
        self.problems = problems
        self.ids: dict[str, pa.Array] = {}  #: by node type, strings
        self.num_edges: dict[EdgeType, int] = {}
        self.has_edge = {name: np.zeros(node.count, bool) for name, node in schema.nodes.items()}
        self.is_complete = True  #: whether all edges could be read

    def _note(
        self,
        file: str,
        what: str,
        kind: str,
        value: object = None,
        severity: Severity = "error",
        column: str | None = None,
    ) -> None:
        found = None if value is None else str(value)
        self.problems.append(Problem(file, what, kind, severity, value=found, column=column))

    def nodes(self) -> None:
        """Check the node files."""
        for name, node in self.schema.nodes.items():
            file = f"nodes/{name}.parquet"
            table = self._table(file, ["id", *node.features])
            if table is None:
                continue
            if len(table) != node.count:
                what = f"has {len(table)} rows, but graph.json says {node.count}; {AGAIN}"
                self._note(file, what, "wrong length")
            if "id" in table.column_names:
                self._ids(file, name, table["id"].combine_chunks())
            self._features(file, table, node.features)

    def _ids(self, file: str, name: str, values: pa.Array) -> None:
        try:
            ids = texts_of(values, "column 'id'")
        except KgrecError as error:
            self._note(file, f"{error}; {AGAIN}", "bad id", column="id")
            return
        self.ids[name] = ids
        if ids.null_count:
            self._note(file, f"{ids.null_count} nodes have no id; {AGAIN}", "missing value", column="id")
        counts = pc.value_counts(ids)
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").drop_null().to_pylist()
        if twice:
            what = f"some ids appear more than once: {some(twice)}; {AGAIN}"
            self._note(file, what, "duplicate", twice[0], column="id")

    def _features(self, file: str, table: pa.Table, features: Mapping[str, FeatureSchema]) -> None:
        for column, feature in features.items():
            if column in table.column_names:
                try:
                    found = Feature.from_arrow(table[column], feature)
                except KgrecError as error:
                    self._note(file, f"column {column!r}: {error}; {AGAIN}", "bad feature", column, column=column)
                else:
                    self._values(file, column, found, table)

    def _values(self, file: str, column: str, feature: Feature, table: pa.Table) -> None:
        """Check a column for infinite values, which models cannot use, and for having only one value or none."""
        wrong = feature.infinite.nonzero().squeeze(1).tolist()
        if wrong:
            of = f" of {table['id'][wrong[0]].as_py()!r}" if "id" in table.column_names else f" in row {wrong[0] + 1}"
            is_number = feature.schema.kind == "numeric"
            what = f"{len(wrong):,} {'infinite values' if is_number else 'vectors with NaN or infinity'}, such as that"
            message = f"column {column!r} has {what}{of}; leave a value empty where it is not known"
            self._note(file, message, "bad feature", column=column)
        nothing = "" if not len(feature) else "no value" if feature.missing.all() else ""
        if not nothing and len(feature) > 1 and feature.is_constant(torch.ones(len(feature), dtype=torch.bool)):
            nothing = "the same value everywhere"
        if nothing:
            what = f"column {column!r} has {nothing}: there is nothing to learn from it"
            self._note(file, what, "empty feature", column, "note", column)

    def edges(self) -> None:
        """Check the edge files."""
        for edge, schema in self.schema.edges.items():
            file = f"edges/{edge_file(edge)}"
            table = self._table(file, ["source", "target", *schema.features])
            if table is None or not {"source", "target"} <= set(table.column_names):
                self.is_complete = False
                continue
            self.num_edges[edge] = len(table)
            self._ends(file, edge, table)
            self._features(file, table, schema.features)
            if "weight" in table.column_names:
                self._weights(file, table["weight"])
            if "time" in table.column_names:
                self._times(file, edge, table["time"])

    def _ends(self, file: str, edge: EdgeType, table: pa.Table) -> None:
        source = self._numbers(file, "source", table["source"].combine_chunks(), edge[0])
        target = self._numbers(file, "target", table["target"].combine_chunks(), edge[2])
        valid = (source >= 0) & (target >= 0)
        self.has_edge[edge[0]][source[valid]] = True
        self.has_edge[edge[2]][target[valid]] = True
        pair = source[valid] * max(1, self.schema.nodes[edge[2]].count) + target[valid]
        repeated = len(pair) - pc.count_distinct(pa.array(pair)).as_py()
        if repeated:
            what = f"{repeated:,} edges have the same source and target as an earlier edge"
            self._note(file, what, "duplicate", severity="note")

    def _numbers(self, file: str, column: str, values: pa.Array, node_type: str) -> np.ndarray:
        """int64 [n]: the local node number of each end, -1 where there is no such node."""
        count = self.schema.nodes[node_type].count
        if values.null_count:
            what = f"column {column!r} has {values.null_count} empty values; {AGAIN}"
            self._note(file, what, "missing value", column=column)
        if not pa.types.is_integer(values.type):
            try:
                values = texts_of(values, f"column {column!r}")
            except KgrecError as error:
                self._note(file, f"{error}; {AGAIN}", "bad id", column=column)
                return np.full(len(values), -1)
            known = self.ids.get(node_type, pa.array([], pa.string()))
            number = pc.fill_null(pc.index_in(values, value_set=known), -1)
        else:
            number = pc.fill_null(values.cast(pa.int64(), safe=False), -1)  # beyond 2^63: below 0, and so none
        local = number.cast(pa.int64()).to_numpy(zero_copy_only=False)
        wrong = ((local < 0) | (local >= count)) & np.asarray(values.is_valid())
        if wrong.any():
            first = plain_value(values.filter(pa.array(wrong))[0])
            what = f"column {column!r} has {wrong.sum():,} values that are not {node_type} nodes, such as {first!r}"
            there = f"there are {count:,} {node_type} nodes, numbered from 0"
            self._note(file, f"{what}; {there}; {AGAIN}", "dangling id", first, column=column)
        return np.where(wrong, -1, local)

    def _weights(self, file: str, weight: pa.ChunkedArray) -> None:
        if not (pa.types.is_floating(weight.type) or pa.types.is_integer(weight.type)):
            what = f"column 'weight' is of type {weight.type}, not a number; {AGAIN}"
            self._note(file, what, "bad number", column="weight")
            return
        wrong = int((~np.isfinite(weight.cast(pa.float64(), safe=False).to_numpy())).sum())
        if wrong:
            what = f"column 'weight' has {wrong:,} values that are empty, NaN or infinite; {AGAIN}"
            self._note(file, what, "bad number", column="weight")

    def _times(self, file: str, edge: EdgeType, times: pa.ChunkedArray) -> None:
        try:
            seconds = unix_seconds(times, edge[1])
        except KgrecError as error:
            self._note(file, f"{error}; {AGAIN}", "bad time", error.value, column="time")
            return
        late = seconds[(seconds != NO_TIME) & (seconds > time.time() + DAY)]
        if len(late):
            what = f"column 'time' has {len(late):,} values in the future, such as {late[0]}"
            self._note(file, f"{what}; times must be Unix seconds; {AGAIN}", "future time", late[0], column="time")

    def splits(self) -> None:
        """Check the splits and candidate lists."""
        for path in sorted((self.folder / "splits").glob("*.parquet")):
            file = f"splits/{path.name}"
            is_candidates = path.name.endswith(".candidates.parquet")
            table = self._table(file, ["user", "items"] if is_candidates else ["part"])
            if table is None or self.schema.target is None:
                continue
            if is_candidates and {"user", "items"} <= set(table.column_names):
                self._numbers(file, "user", table["user"].combine_chunks(), self.schema.target[0])
                self._items(file, table["items"], self.schema.target[2])
            elif "part" in table.column_names:
                self._parts(file, table["part"], self.schema.target)

    def _items(self, file: str, items: pa.ChunkedArray, node_type: str) -> None:
        if not is_lists(items.type):
            what = f"column 'items' is of type {items.type}, not lists of items; {AGAIN}"
            self._note(file, what, "bad id", column="items")
            return
        self._numbers(file, "items", pc.list_flatten(items).combine_chunks(), node_type)

    def _parts(self, file: str, part: pa.ChunkedArray, target: EdgeType) -> None:
        wanted = self.num_edges.get(target)
        if wanted is not None and len(part) != wanted:
            what = f"has {len(part):,} rows, but the target relation {target[1]!r} has {wanted:,} edges"
            self._note(file, f"{what}; {AGAIN}", "wrong length")
        try:
            others = [value for value in texts_of(part, "column 'part'").unique().to_pylist() if value not in PARTS]
        except KgrecError as error:
            self._note(file, f"{error}; {AGAIN}", "bad split", column="part")
            return
        if others:
            what = f"column 'part' has {some(others)}; the only parts are {', '.join(PARTS)}; {AGAIN}"
            self._note(file, what, "bad split", others[0], column="part")

    def isolated(self) -> None:
        """Note the nodes without edges, where all edges could be read."""
        for name, touched in self.has_edge.items() if self.is_complete else ():
            if name not in self.ids or len(self.ids[name]) != len(touched):
                continue
            ids = self.ids[name].filter(pa.array(~touched)).to_pylist()
            if ids:
                what = f"{len(ids):,} of {len(touched):,} nodes have no edge: {some(ids)}"
                self._note(f"nodes/{name}.parquet", what, "isolated node", ids[0], "note")

    def _table(self, file: str, wanted: list[str]) -> pa.Table | None:
        """A file's columns; None where it cannot be read."""
        path = self.folder / file
        is_known = any(problem.file == file for problem in self.problems)
        if not path.exists():
            if not is_known:
                self._note(file, f"is missing; {AGAIN}", "missing file")
            return None
        parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        try:
            table = pa.concat_tables([read_parquet(part) for part in parts], promote_options="permissive")
        except (pa.ArrowException, OSError) as error:
            if not is_known:
                self._note(file, f"is truncated or altered: {error}; {AGAIN}", "altered file")
            return None
        for column in wanted:
            if column not in table.column_names:
                what = f"has no column {column!r}; its columns are {some(table.column_names, 20)}"
                self._note(file, f"{what}; {AGAIN}", "missing column", column, column=column)
        return table
