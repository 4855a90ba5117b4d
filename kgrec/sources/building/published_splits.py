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
from kgrec.sources.tables.table_columns import read_table
from kgrec.sources.tables.text_streams import text_lines


class PublishedNumbers:
    """Node numbers of the users and items in published files, by id or by order of first appearance."""

    def __init__(self, edge: EdgeType, builder: GraphBuilder) -> None:
        edges = builder.edges[edge]
        self._ends = (edge[0], edges.source), (edge[2], edges.target)
        self._builder = builder

    def of(self, end: int, ids: pa.Array, how: str) -> np.ndarray:
        """int64 [n]: the node numbers of users (end 0) or items (end 1), -1 where there is none."""
        node_type, number = self._ends[end]
        if how == "ids":
            return self._builder.nodes_of(node_type).find(ids)
        appeared = np.asarray(pd.unique(number), np.int64)
        order = pd.to_numeric(pd.Series(ids.to_pylist(), dtype=object), errors="coerce").fillna(-1).to_numpy(np.int64)
        inside = (order >= 0) & (order < len(appeared))
        return np.where(inside, appeared[np.where(inside, order, 0)], -1)


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
        self.num_items = len(builder.nodes_of(edge[2]))
        edges = builder.edges[edge]
        self.edges = edges.source * self.num_items + edges.target  # int64 [E], one number a pair
        self.pairs = pd.Index(pd.unique(self.edges))
        own = {key: value for key in ("format", "separator", "columns") if (value := getattr(split, key)) is not None}
        said = interactions.model_fields_set & TableFormat.model_fields.keys()
        inherited = {key: getattr(interactions, key) for key in said}
        self.format = TableFormat.model_validate(inherited | own)

    def parts(self, folder: Path, bad_rows: BadRows, report: BuildReport) -> np.ndarray:
        """int8 [E]."""
        part = np.full(len(self.pairs), -1, np.int8)
        for part_name, code in PART_CODE.items():
            files = getattr(self.split, part_name)
            if files:
                rows = self._rows(files, folder, bad_rows, report)
                clash = rows[(part[rows] >= 0) & (part[rows] != code)]
                if len(clash):
                    raise self._wrong(f"{len(clash)} pairs are in two parts; fix the files", files, "duplicate")
                part[rows] = code
        return self._with_rest(part)[self.pairs.get_indexer(pd.Index(self.edges))]

    def _rows(self, files: list[str], folder: Path, bad_rows: BadRows, report: BuildReport) -> np.ndarray:
        """The positions in `pairs` of the pairs in files. Raises BadData for pairs without an edge, unless the recipe
        has filters that may have left the edge out."""
        columns = [Ids(self.split.user or self.interactions.user), Ids(self.split.item or self.interactions.item)]
        read = read_table(self.format, files, columns, folder, bad_rows)
        ids = [read[column].dictionary_decode() for column in columns]
        user, item = (self.numbers.of(end, names, self.split.ids) for end, names in enumerate(ids))
        found = self.pairs.get_indexer(pd.Index(np.where((user < 0) | (item < 0), -1, user * self.num_items + item)))
        absent = found < 0
        if absent.any() and not self.interactions.has_filter:
            shown = [f"{u} {i}" for u, i in zip(*(i.filter(pa.array(absent))[:5].to_pylist() for i in ids))]
            what = f"{int(absent.sum())} pairs of {', '.join(files)} are not edges of the graph, such as {some(shown)}"
            advice = "the files may belong to another version of the data, or need `ids: first_appearance`"
            if self.split.ids != "ids":
                advice = "the files may belong to another version of the data, or `ids` is wrong"
            raise self._wrong(f"{what}; {advice}", files, "dangling id", shown[0])
        report.drop(f"pairs of {', '.join(files)} without an edge, because of the recipe's filters", absent.sum())
        return found[~absent]

    def _with_rest(self, part: np.ndarray) -> np.ndarray:
        rest = self.split.rest or (None if self.split.train else "train")
        unlisted = part < 0
        if rest is None and unlisted.any():
            files = [*self.split.train, *self.split.valid, *self.split.test]
            what = (
                f"{int(unlisted.sum())} pairs of the graph are in none of its files; set `rest: train` to train on them"
            )
            raise self._wrong(what, files)
        return np.where(unlisted, PART_CODE[rest], part).astype(np.int8) if rest else part

    def _wrong(self, what: str, files: list[str], kind: str = "bad split", value: str | None = None) -> BadData:
        message = f"split {self.name!r}: {what}"
        return BadData(Fault(message, ", ".join(files), value=value, kind=kind, file_is="named"))


LINE = re.compile(rb"\(([^,\t]+),([^,\t]+)\)(?:\t(.*))?")


def published_candidates(
    published: PublishedCandidates, target: EdgeType, folder: Path, builder: GraphBuilder
) -> Candidates:
    """The items to rank for each user. Raises BadData for a line in another format, or an unknown id."""
    numbers = PublishedNumbers(target, builder)
    users: list[str] = []
    lists: list[list[str]] = []
    for name, path in files_of([published.file], folder):
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
