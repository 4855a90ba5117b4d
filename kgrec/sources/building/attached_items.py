"""New items beside the nodes that a graph has: what ties them to these, and what of them the graph does not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kgrec.errors import BadData, Fault, KgrecError, some
from kgrec.graph import Graph
from kgrec.graph.features import Feature
from kgrec.graph.schema import EdgeType, FeatureSchema
from kgrec.sources.building.build_state import BuildState
from kgrec.sources.building.graph_builder import EdgeColumns, PartialFeature
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.bad_rows import MEND, BadRows

MOST = 10  #: items that an error lists; the rest are counted
OPEN = {"complete": False, "only_interacted": False}  #: words by which a recipe takes no new nodes of a type
SKIP = "leave out what is not known (--skip-unknown, or skip_unknown=True)"


@dataclass(frozen=True, eq=False)
class NewItems:
    """New items, and what ties them to the nodes that a graph has, in ids."""

    ids: Sequence[str]  #: in the order in which they are named
    nodes: Mapping[str, pd.DataFrame]  #: by node type `id`, `label` and features, as `Graph.with_nodes` takes them
    edges: Mapping[EdgeType, pd.DataFrame]  #: `source` and `target`, as `Graph.with_edges` takes them
    notes: tuple[str, ...]  #: what was left out, a sentence each


class NamedSource:
    """Where rows or facts about new items are: a file, or something in memory."""

    def __init__(self, content: Any, name: str, scratch: Path) -> None:
        """content: a Path, an Arrow table, triples or an rdflib graph. name: what messages call it, a file by its path.
        scratch: a folder in which a table is put down, to be read as files are."""
        self.content, self.name, self.is_file = content, name, isinstance(content, Path)
        self.folder = Path() if self.is_file else scratch  #: that `name` is a file of, where there are rows
        if isinstance(content, pa.Table):
            try:
                pq.write_table(content, scratch / name)
            except pa.ArrowException as error:
                message = f"a column has values that no table holds: {str(error).rstrip('.')}; remove it"
                raise BadData(Fault(message, name, kind="bad column")) from error


class AttachedItems:
    """A build that begins with all nodes of a graph, so that what it adds to them is new.

    name: what all rows and facts are called in messages. skip_unknown: leave out items of which nothing is known. Nodes
    other than items are never kept: what names one is left out, and said.
    """

    def __init__(self, graph: Graph, recipe: Recipe, name: str, *, skip_unknown: bool) -> None:
        self.graph, self.name, self.skip_unknown = graph, name, skip_unknown
        self.item = graph.target[2]  #: the node type of items
        self.first = len(graph.vocabulary[self.item])  #: the number of the first new item
        anyhow = {name: part.model_copy(update=OPEN) for name, part in recipe.nodes.items()}
        self.recipe = recipe = recipe.model_copy(update={"nodes": anyhow})
        self.state = BuildState(recipe, Path(), BadRows(recipe.on_bad_rows))
        for node_type in graph.node_types:
            self.state.builder.nodes_of(node_type).ids = graph.vocabulary[node_type].id_array
        self.notes: list[str] = []
        # by what says it and what the value should be: numbers of new items, and the values
        self._unknown: dict[tuple[str, str], list[tuple[int, str]]] = {}

    @property
    def ids(self) -> pa.Array:
        """The ids of all items so far."""
        return self.state.builder.nodes_of(self.item).ids

    def add(self, ids: pa.Array, name: str) -> None:
        """Items of these ids (strings, distinct), which may be there from another source. name: of this one. Raises
        BadData for those that the graph has already."""
        number = self.state.builder.nodes_of(self.item).find(ids)
        self.refuse_known(ids.filter(pa.array((number >= 0) & (number < self.first))).to_pylist(), name)
        self.state.builder.nodes_of(self.item).add(ids)

    def refuse_known(self, known: Sequence[str], name: str) -> None:
        """Raise BadData where there are any of these ids, which the graph has already."""
        what = "is known to the run already; give new items only: remove it, or give it another id"
        faults = [Fault(f"{self.item} {one!r} {what}", name, value=one, kind="duplicate") for one in known[:MOST]]
        if len(known) > MOST:
            faults.append(Fault(f"and {len(known) - MOST:,} more known ones", name))
        if faults:
            raise BadData(faults)

    def miss(self, name: str, wanted: str, rows: Sequence[int], values: Sequence[str]) -> None:
        """Values of a feature or relation that the graph does not know. wanted: what each should be, such as a node
        type; rows: of the new items that have them, from 0."""
        self._unknown.setdefault((name, wanted), []).extend(zip(rows, values))

    def finished(self) -> NewItems:
        """The items with all that the graph knows of them. Raises BadData for items of which it knows nothing."""
        ids = self.ids[self.first :]
        frame, is_known = self._frame(ids)
        edges = {
            edge: found
            for edge, columns in self.state.builder.edges.items()
            if len(found := self._kept(edge, columns, is_known))
        }
        if not is_known.all():
            self._refuse_or_leave_out(ids, is_known)
            left_out = {*ids.filter(pa.array(~is_known)).to_pylist()}
            frame = frame[is_known].reset_index(drop=True)
            edges = {edge: kept for edge, found in edges.items() if len(kept := self._without(edge, found, left_out))}
        return NewItems(frame["id"].tolist(), {self.item: frame}, edges, tuple(self._all_notes()))

    def _frame(self, ids: pa.Array) -> tuple[pd.DataFrame, np.ndarray]:
        """Ids, labels and features, and which items have a value that the graph's columns know: bool [n]."""
        nodes = self.state.builder.nodes_of(self.item)
        columns: dict[str, object] = {"id": ids.to_pylist()}
        labels = nodes.labels_from(self.first)
        if labels is not None:
            columns["label"] = labels.to_pylist()
        is_known = np.zeros(len(ids), bool)
        for name, partial in nodes.features.items():
            schema = self.graph.schema.nodes[self.item].features.get(name)
            if schema is None or schema.kind != partial.kind:
                self.notes.append(f"left out: {name}, which is no {partial.kind} feature of {self.item} in this run")
                continue
            feature = self._feature(name, schema, partial, len(ids))
            columns[name] = feature.to_arrow().to_pylist()
            is_known |= ~feature.missing.numpy()
        return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()}), is_known

    def _feature(self, name: str, schema: FeatureSchema, partial: PartialFeature, count: int) -> Feature:
        """A column of the new items. Categories that the graph does not have are missing, and noted."""
        row = np.full(count, -1)
        new = partial.number >= self.first
        row[partial.number[new] - self.first] = np.flatnonzero(new)
        values = partial.values.take(pa.array(row, mask=row < 0))
        try:
            feature = Feature.from_arrow(values, schema)
        except KgrecError as error:
            message = f"feature {name!r}: {error}; fix it"
            raise BadData(Fault(message, self.name, column=name, kind="bad feature")) from error
        if schema.kind in ("categorical", "multi"):
            is_list = schema.kind == "multi"
            flat = pc.list_flatten(values) if is_list else values
            items = pc.list_parent_indices(values).to_numpy() if is_list else np.arange(count)
            texts = flat.cast(pa.string())
            known = pc.is_in(texts, value_set=pa.array(schema.categories, pa.string()))
            wrong = pc.and_(texts.is_valid(), pc.invert(known)).to_numpy(zero_copy_only=False)
            self.miss(name, f"category of {name}", items[wrong].tolist(), texts.filter(pa.array(wrong)).to_pylist())
        return feature

    def _kept(self, edge: EdgeType, columns: EdgeColumns, is_known: np.ndarray) -> pd.DataFrame:
        """The edges between a new item and what is known; items that have one become known in `is_known`."""
        ends, new, there = [], [], []
        for node_type, number in ((edge[0], columns.source), (edge[2], columns.target)):
            is_new = (number >= self.first) if node_type == self.item else np.zeros(len(number), bool)
            ends.append(self.state.builder.nodes_of(node_type).ids)
            new.append(is_new)
            there.append(is_new | (number < len(self.graph.vocabulary.get(node_type, ()))))
        touches = new[0] | new[1]
        kept = touches & there[0] & there[1] if edge in self.graph.schema.edges else np.zeros(len(touches), bool)
        for own, other, number, others, names in (
            (new[0], there[1], columns.source, columns.target, ends[1]),
            (new[1], there[0], columns.target, columns.source, ends[0]),
        ):
            lost = own & ~kept
            far = edge[2] if own is new[0] else edge[0]
            wanted = far if edge in self.graph.schema.edges else f"relation {edge[1]} to a {far}, such as"
            if lost.any():
                values = names.take(pa.array(others[lost])).to_pylist()
                self.miss(edge[1], wanted, (number[lost] - self.first).tolist(), values)
            is_known[number[own & kept & other] - self.first] = True
        found = {
            end: pd.Series(ids.take(pa.array(number[kept])).to_pylist(), dtype=object)
            for end, ids, number in zip(("source", "target"), ends, (columns.source, columns.target))
        }
        for name, numbers in (("time", columns.time), ("weight", columns.weight)):
            if numbers is not None:
                found[name] = pd.Series(numbers[kept])
        for name, (_, values) in columns.features.items():
            found[name] = pd.Series(values.filter(pa.array(kept)).to_pylist(), dtype=object)
        return pd.DataFrame(found)

    def _without(self, edge: EdgeType, frame: pd.DataFrame, left_out: set[str]) -> pd.DataFrame:
        """Edges of which no end is an item that is left out."""
        for end, node_type in (("source", edge[0]), ("target", edge[2])):
            if node_type == self.item:
                frame = frame[~frame[end].isin(left_out)]
        return frame

    def _refuse_or_leave_out(self, ids: pa.Array, is_known: np.ndarray) -> None:
        """Raise BadData for items of which nothing is known, or note that they are left out where others are not."""
        number = np.flatnonzero(~is_known)
        if self.skip_unknown and is_known.any():
            names = ids.take(pa.array(number)).to_pylist()
            self.notes.append(
                f"left out: {counted(len(names), 'new item')} of which the run knows nothing, {some(names)}"
            )
            return
        faults = []
        for row in number[:MOST].tolist():
            unknown = self._unknown.items()
            said = [f"no {wanted} {value!r}" for (_, wanted), found in unknown for at, value in found if at == row]
            why = f"it has {', '.join(said[:3])}" if said else "no column or fact that it reads has a value"
            more = f" and {len(said) - 3} more" if len(said) > 3 else ""
            message = (
                f"{self.item} {ids[row].as_py()!r}: the run knows nothing of it ({why}{more}), so it cannot be ranked; "
                "give it a feature or attribute that other items have"
            )
            faults.append(Fault(message, self.name, value=ids[row].as_py(), kind="unknown item"))
        if len(number) > MOST:
            faults.append(Fault(f"and {len(number) - MOST:,} more items of which nothing is known", self.name))
        raise BadData(faults)

    def _all_notes(self) -> Iterator[str]:
        yield from self.notes
        for (name, wanted), found in self._unknown.items():
            if found:
                number, values = len({row for row, _ in found}), dict.fromkeys(value for _, value in found)
                yield f"left out: {name} of {counted(number, 'new item')}, as the run has no {wanted} {some(values)}"
        yield from (f"left out: {line}" for line in self.state.bad_rows.lines)


@contextmanager
def plain_messages() -> Iterator[None]:
    """What is wrong with rows is said without advice about a recipe, which a run's user does not change."""
    try:
        yield
    except KgrecError as error:
        error.become(map(_plain, error.faults))
        raise


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _plain(fault: Fault) -> Fault:
    message = fault.message.replace(MEND, "fix the row").replace("fix it, or remove it from `files`", "fix it")
    if fault.kind == "empty file" and (fault.file or "").endswith(".json"):
        message += "; if it holds rows, write one JSON object a line, in a file that ends in .jsonl"
    return fault._replace(message=message)
