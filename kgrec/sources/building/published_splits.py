"""Published splits and candidate lists, matched with the edges of the target relation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from kgrec.errors import BadData, Fault, some
from kgrec.graph import Candidates
from kgrec.graph.schema import EdgeType
from kgrec.large_arrays import empty, require_memory, spans
from kgrec.sources.building.distinct_pairs import DistinctPairs
from kgrec.sources.building.events import PART_CODE
from kgrec.sources.building.graph_builder import GraphBuilder
from kgrec.sources.building.report import BuildReport
from kgrec.sources.recipe.interaction_part import Interactions
from kgrec.sources.recipe.published_part import PublishedCandidates, PublishedSplit
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.recipe.table_part import TableFormat
from kgrec.sources.tables.bad_rows import BadRows
from kgrec.sources.tables.columns import Ids
from kgrec.sources.tables.opening import files_of
from kgrec.sources.tables.table_columns import table_parts
from kgrec.sources.tables.text_streams import text_lines


class PublishedNumbers:
    """Node numbers of the users and items in published files, by id or by order of first appearance."""

    def __init__(self, edge: EdgeType, builder: GraphBuilder) -> None:
        edges = builder.edges[edge]
        self._ends = (edge[0], edges.source), (edge[2], edges.target)
        self._builder = builder
        self._by_appearance: dict[int, np.ndarray] = {}

    def of(self, end: int, ids: pa.Array, how: str) -> np.ndarray:
        """int64 [n]: the node numbers of users (end 0) or items (end 1), -1 where there is none. ids: strings, or codes
        of strings."""
        if isinstance(ids, pa.DictionaryArray):
            return self.of(end, ids.dictionary, how)[ids.indices.to_numpy()]
        node_type = self._ends[end][0]
        if how == "ids":
            return self._builder.nodes_of(node_type).find(ids)
        appeared = self._appeared(end)
        order = pd.to_numeric(pd.Series(ids.to_pylist(), dtype=object), errors="coerce").fillna(-1).to_numpy(np.int64)
        inside = (order >= 0) & (order < len(appeared))
        return np.append(appeared, -1)[np.where(inside, order, -1)]

    def _appeared(self, end: int) -> np.ndarray:
        """int64 [n]: the nodes of the edges by first appearance."""
        if end not in self._by_appearance:
            self._by_appearance[end] = np.asarray(pd.unique(self._ends[end][1]), np.int64)
        return self._by_appearance[end]


def published_split(
    name: str, recipe: Recipe, folder: Path, bad_rows: BadRows, builder: GraphBuilder, report: BuildReport
) -> np.ndarray:
    """int8 [target edges]: 0 train, 1 valid, 2 test. Raises BadData where the files do not match the edges."""
    edge = recipe.target_type
    matched = _MatchedSplit(name, recipe.splits[name], recipe.target_interactions, edge, builder)
    return matched.parts(folder, bad_rows, report)


class _MatchedSplit:
    """A split's files, matched by pairs of user and item."""

    def __init__(
        self,
        name: str,
        split: PublishedSplit,
        interactions: Interactions,
        edge: EdgeType,
        builder: GraphBuilder,
    ) -> None:
        self.name, self.split, self.interactions = name, split, interactions
        self.numbers = PublishedNumbers(edge, builder)
        self.edges = builder.edges[edge]
        self.pairs = DistinctPairs(self.edges.source, self.edges.target, len(builder.nodes_of(edge[2])))
        own = {key: value for key in ("format", "separator", "columns") if (value := getattr(split, key)) is not None}
        said = interactions.model_fields_set & TableFormat.model_fields.keys()
        inherited = {key: getattr(interactions, key) for key in said}
        self.format = TableFormat.model_validate(inherited | own)

    def parts(self, folder: Path, bad_rows: BadRows, report: BuildReport) -> np.ndarray:
        """int8 [E]."""
        part = empty(len(self.pairs), np.int8)
        part[:] = -1
        for part_name, code in PART_CODE.items():
            files = getattr(self.split, part_name)
            if files:
                self._mark(part, code, files, folder, bad_rows, report)
        part, codes = self._with_rest(part), empty(len(self.edges.source), np.int8)
        for span in spans(len(codes)):
            codes[span] = part[self.pairs.find(self.edges.source[span], self.edges.target[span])]
        return codes

    def _mark(
        self, part: np.ndarray, code: int, files: list[str], folder: Path, bad_rows: BadRows, report: BuildReport
    ) -> None:
        """Set the part of the pairs in files. Raises BadData for pairs in another part too, and for pairs without an
        edge, unless the recipe has filters that may have left the edge out."""
        columns = [Ids(self.split.user or self.interactions.user), Ids(self.split.item or self.interactions.item)]
        absent, clashes, shown = 0, 0, list[str]()
        for read, _ in table_parts(self.format, files, columns, folder, bad_rows):
            user, item = (self.numbers.of(end, read[column], self.split.ids) for end, column in enumerate(columns))
            rows = self.pairs.find(user, item)
            is_absent = rows < 0
            if is_absent.any() and len(shown) < 5:
                ids = (read[column].filter(pa.array(is_absent))[:5].dictionary_decode() for column in columns)
                shown += [f"{u} {i}" for u, i in zip(*(one.to_pylist() for one in ids))]
            absent, rows = absent + int(is_absent.sum()), rows[~is_absent]
            clashes += int(((part[rows] >= 0) & (part[rows] != code)).sum())
            part[rows] = np.where(part[rows] < 0, code, part[rows])
        if absent and not self.interactions.has_filter:
            what = f"{absent} pairs of {', '.join(files)} are not edges of the graph, such as {some(shown[:5])}"
            advice = "the files may belong to another version of the data, or need `ids: first_appearance`"
            if self.split.ids != "ids":
                advice = "the files may belong to another version of the data, or `ids` is wrong"
            raise self._wrong(f"{what}; {advice}", files, "dangling id", shown[0])
        report.drop(f"pairs of {', '.join(files)} without an edge, because of the recipe's filters", absent)
        if clashes:
            raise self._wrong(f"{clashes} pairs are in two parts; fix the files", files, "duplicate")

    def _with_rest(self, part: np.ndarray) -> np.ndarray:
        rest = self.split.rest or (None if self.split.train else "train")
        unlisted = part < 0
        if rest is None and unlisted.any():
            files = [*self.split.train, *self.split.valid, *self.split.test]
            what = (
                f"{int(unlisted.sum())} pairs of the graph are in none of its files; set `rest: train` to train on them"
            )
            raise self._wrong(what, files)
        if rest:
            part[unlisted] = PART_CODE[rest]
        return part

    def _wrong(self, what: str, files: list[str], kind: str = "bad split", value: str | None = None) -> BadData:
        message = f"split {self.name!r}: {what}"
        return BadData(Fault(message, ", ".join(files), value=value, kind=kind, file_is="named"))


MEMORY_OF_A_BYTE = 20  #: bytes of memory that a byte of a file of candidates takes while it is read
LINE = re.compile(rb"\(([^,\t]+),([^,\t]+)\)(?:\t(.*))?")


def published_candidates(
    published: PublishedCandidates, target: EdgeType, folder: Path, builder: GraphBuilder
) -> Candidates:
    """The items to rank for each user. Raises BadData for a line in another format, or an unknown id."""
    numbers = PublishedNumbers(target, builder)
    users: list[str] = []
    lists: list[list[str]] = []
    for name, path in files_of([published.file], folder):
        require_memory(MEMORY_OF_A_BYTE * path.stat().st_size, f"the lists of candidates of {name}")
        for line, text in text_lines(path):
            if not text.strip():
                continue
            match = LINE.fullmatch(text)
            if match is None:
                what = f"{text[:60]!r} is not in the format `(user,item)<tab>item<tab>item`; fix the line"
                shown = text[:60].decode(errors="replace")
                raise BadData(what, file=name, row=line, value=shown, kind="bad row")
            try:
                users.append(match[1].decode())
                lists.append([match[2].decode(), *filter(None, (match[3] or b"").decode().split("\t"))])
            except UnicodeDecodeError as error:
                what = f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
                raise BadData(what, file=name, row=line, kind="bad row") from error
    if not users:
        what = "has no lists of candidates; fix the file, or remove it from `candidates`"
        raise BadData(Fault(what, published.file, kind="empty file", file_is="subject"))
    lengths = np.array([len(items) for items in lists])
    user = numbers.of(0, pa.array(users, pa.string()), published.ids)
    item = numbers.of(1, pa.array([i for items in lists for i in items], pa.string()), published.ids)
    if (user < 0).any() or (item < 0).any():
        what = f"{(user < 0).sum()} users and {(item < 0).sum()} items are not in the graph"
        advice = "set `ids: first_appearance`, or fix the file" if published.ids == "ids" else "fix the file, or `ids`"
        raise BadData(f"{what}; {advice}", file=published.file, kind="dangling id")
    pairs = pd.DataFrame({"user": np.repeat(user, lengths), "item": item}).drop_duplicates()
    pairs = pairs.sort_values("user", kind="stable")
    distinct, counts = np.unique(pairs["user"].to_numpy(), return_counts=True)
    ptr = np.concatenate([[0], counts.cumsum()])
    return Candidates(torch.from_numpy(distinct), torch.from_numpy(ptr), torch.tensor(pairs["item"].to_numpy()))
