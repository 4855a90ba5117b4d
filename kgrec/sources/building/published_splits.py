"""Published splits and candidate lists, matched to the target relation's edges."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from kgrec.errors import BadData, some
from kgrec.graph import Candidates
from kgrec.graph.schema import EdgeType
from kgrec.sources.building.graph_builder import Drafts, EdgeDraft
from kgrec.sources.building.interactions import PART_CODE
from kgrec.sources.building.report import BuildReport
from kgrec.sources.packed_files import lines_of
from kgrec.sources.recipe.interaction_part import Interactions
from kgrec.sources.recipe.published_part import PublishedCandidates, PublishedSplit
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.recipe.table_part import TableFormat
from kgrec.sources.tables.bad_rows import Problems
from kgrec.sources.tables.columns import Ids
from kgrec.sources.tables.typed_columns import files_of, read_table
from kgrec.sources.tables.values import combined


class PublishedNumbers:
    """From the users and items of published files to node numbers, by id or by order of first appearance."""

    def __init__(self, edge: EdgeType, draft: EdgeDraft, drafts: Drafts) -> None:
        self._ends = (edge[0], draft.source), (edge[2], draft.target)
        self._drafts = drafts

    def of(self, end: int, ids: pa.Array, how: str) -> np.ndarray:
        """int64 [n]: the node numbers of users (end 0) or items (end 1), -1 where there is none."""
        node_type, number = self._ends[end]
        if how == "ids":
            return self._drafts.of(node_type).find(ids)
        appeared = np.asarray(pd.unique(number), np.int64)
        order = pd.to_numeric(pd.Series(ids.to_pylist(), dtype=object), errors="coerce").fillna(-1).to_numpy(np.int64)
        inside = (order >= 0) & (order < len(appeared))
        return np.where(inside, appeared[np.where(inside, order, 0)], -1)


def given_splits(
    recipe: Recipe, folder: Path, problems: Problems, drafts: Drafts, report: BuildReport
) -> dict[str, np.ndarray]:
    """By name, int8 [target edges]: 0 train, 1 valid, 2 test. Raises BadData where files and edges disagree."""
    edge, interactions = recipe.target_type, recipe.target_interactions
    draft = drafts.edges[edge]
    splits = {} if draft.part is None else {interactions.split: draft.part}
    for name, split in recipe.splits.items():
        splits[name] = _Matched(name, split, interactions, edge, draft, drafts).parts(folder, problems, report)
    return splits


class _Matched:
    """A split's files, matched by pairs of user and item."""

    def __init__(
        self,
        name: str,
        split: PublishedSplit,
        interactions: Interactions,
        edge: EdgeType,
        draft: EdgeDraft,
        drafts: Drafts,
    ) -> None:
        self.name, self.split, self.interactions = name, split, interactions
        self.numbers = PublishedNumbers(edge, draft, drafts)
        self.num_items = len(drafts.of(edge[2]))
        self.edges = draft.source * self.num_items + draft.target  # int64 [E], one number a pair
        self.pairs = pd.Index(pd.unique(self.edges))
        said = {key: value for key in ("format", "separator", "columns") if (value := getattr(split, key)) is not None}
        inherited = {key: getattr(interactions, key) for key in TableFormat.model_fields}
        self.format = TableFormat.model_validate(inherited | said)

    def parts(self, folder: Path, problems: Problems, report: BuildReport) -> np.ndarray:
        """int8 [E]."""
        part = np.full(len(self.pairs), -1, np.int8)
        for word, code in PART_CODE.items():
            files = getattr(self.split, word)
            if files:
                rows = self._rows(files, folder, problems, report)
                clash = rows[(part[rows] >= 0) & (part[rows] != code)]
                if len(clash):
                    raise BadData([f"split {self.name!r}: {len(clash)} pairs stand in two parts; mend the files"])
                part[rows] = code
        return self._with_rest(part)[self.pairs.get_indexer(pd.Index(self.edges))]

    def _rows(self, files: list[str], folder: Path, problems: Problems, report: BuildReport) -> np.ndarray:
        """The positions in `pairs` of the pairs in files. Raises BadData for pairs without an edge, unless the recipe's
        filters may have left it out."""
        columns = [Ids(self.split.user or self.interactions.user), Ids(self.split.item or self.interactions.item)]
        read = read_table(self.format, files, columns, folder, problems)
        ids = [combined(read[column].unify_dictionaries()).dictionary_decode() for column in columns]
        user, item = (self.numbers.of(end, names, self.split.ids) for end, names in enumerate(ids))
        found = self.pairs.get_indexer(pd.Index(np.where((user < 0) | (item < 0), -1, user * self.num_items + item)))
        absent = found < 0
        if absent.any() and not self.interactions.has_filter:
            shown = [f"{u} {i}" for u, i in zip(*(i.filter(pa.array(absent))[:5].to_pylist() for i in ids))]
            raise BadData(
                [
                    f"split {self.name!r}: {int(absent.sum())} pairs of {', '.join(files)} are no edges of the graph, "
                    f"such as {some(shown)}; the files are of another version of the data, or `ids` should be said"
                ]
            )
        report.drop(f"pairs of {', '.join(files)} whose edges the recipe's filters leave out", absent.sum())
        return found[~absent]

    def _with_rest(self, part: np.ndarray) -> np.ndarray:
        rest = self.split.rest or (None if self.split.train else "train")
        unlisted = part < 0
        if rest is None and unlisted.any():
            raise BadData(
                [f"split {self.name!r}: {int(unlisted.sum())} pairs of the graph are in no file; say `rest: train`"]
            )
        return np.where(unlisted, PART_CODE[rest], part).astype(np.int8) if rest else part


LINE = re.compile(rb"\(([^,\t]+),([^,\t]+)\)(?:\t(.*))?")


def given_candidates(recipe: Recipe, folder: Path, drafts: Drafts) -> dict[str, Candidates]:
    """By name, the items to rank for each user. Raises BadData for a line of another form or an unknown id."""
    edge = recipe.target_type
    numbers = PublishedNumbers(edge, drafts.edges[edge], drafts)
    return {name: _candidates(given, folder, numbers) for name, given in recipe.candidates.items()}


def _candidates(given: PublishedCandidates, folder: Path, numbers: PublishedNumbers) -> Candidates:
    users: list[str] = []
    lists: list[list[str]] = []
    for name, path in files_of([given.file], folder):
        for line, text in lines_of(path):
            match = LINE.fullmatch(text)
            if match is None:
                raise BadData([f"{name} line {line}: {text[:60]!r} is not `(user,item)<tab>item<tab>item`; mend it"])
            users.append(match[1].decode())
            lists.append([match[2].decode(), *(match[3] or b"").decode().split()])
    lengths = np.array([len(items) for items in lists])
    user = numbers.of(0, pa.array(users, pa.string()), given.ids)
    item = numbers.of(1, pa.array([i for items in lists for i in items], pa.string()), given.ids)
    if (user < 0).any() or (item < 0).any():
        raise BadData(
            [f"{given.file}: {(user < 0).sum()} users and {(item < 0).sum()} items are not in the graph; "
             f"say `ids: first_appearance`, or mend the file"]
        )  # fmt: skip
    pairs = pd.DataFrame({"user": np.repeat(user, lengths), "item": item}).drop_duplicates()
    pairs = pairs.sort_values("user", kind="stable")
    distinct, counts = np.unique(pairs["user"].to_numpy(), return_counts=True)
    ptr = np.concatenate([[0], counts.cumsum()])
    return Candidates(torch.from_numpy(distinct), torch.from_numpy(ptr), torch.tensor(pairs["item"].to_numpy()))
