"""What is known of items besides who had them: their facts, the words of their texts, and their other columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are first used
import torch
from pydantic import NonNegativeFloat

from kgrec.errors import KgrecError, some
from kgrec.graph import Graph
from kgrec.graph.features import Feature
from kgrec.nn.node_features import fitted_nodes
from kgrec.settings import settings
from kgrec.text_vectors import tfidf


@settings
class ItemContentConfig:
    """Settings of what is known of items, for models that compare items. Each weight is 0 by default: left out."""

    #: weight of the facts of items: each fact is one more row beside the users', which marks the items of which it
    #: holds; 0: facts are left out
    facts: NonNegativeFloat = 0.0
    #: weight of the words of items' texts: each word is one more row, with its TF-IDF weights; the weights of one text
    #: have length 1; 0: texts are left out
    words: NonNegativeFloat = 0.0
    #: weight of the other columns of items: each category is one more row; a number is spread over narrow bins, so that
    #: near numbers are alike; vectors have mean length 1; 0: columns are left out
    columns: NonNegativeFloat = 0.0

    @property
    def reads_content(self) -> bool:
        """Whether anything but interactions counts."""
        return bool(self.facts or self.words or self.columns)


Rows = slice | np.ndarray  #: which items, from 0
BINS = 8  #: bins of a number in a standard deviation
#: What is known of items: the name of each weight, and what it is called in messages
CONTENT: Mapping[str, str] = {"facts": "facts", "words": "texts", "columns": "other columns"}


def content_there(graph: Graph) -> dict[str, int]:
    """How many items have each kind of content, by its name in CONTENT; kinds that no item has are left out.

    >>> import pandas as pd
    >>> of_genre = pd.DataFrame({"source": ["x"], "target": ["drama"]})
    >>> rated = pd.DataFrame({"source": ["ann", "ann"], "target": ["x", "y"]})
    >>> content_there(Graph.from_frames(edges={("user", "rated", "item"): rated, ("item", "of", "genre"): of_genre}))
    {'facts': 1}
    """
    items, facts = graph.range(graph.target[2]), graph.facts()
    touched = torch.zeros(graph.num_nodes, dtype=torch.bool)
    for end in (facts.head, facts.tail):
        touched[end.cpu()] = True
    found = {"facts": int(touched[items.start : items.stop].sum())}
    for name, texts in (("words", True), ("columns", False)):
        known = [~feature.missing for feature in _columns(graph, texts=texts).values()]
        found[name] = int(torch.stack(known).any(0).sum()) if known else 0
    return {name: number for name, number in found.items() if number}


@dataclass(frozen=True, eq=False)
class ItemContent:
    """The content of I items: matrices with a row for each item and a column for each fact, word or category, and the
    weight of each matrix."""

    parts: list[tuple[float, scipy.sparse.csr_array]]  #: weight, and float32 [I, *]

    @staticmethod
    def of(graph: Graph, config: ItemContentConfig) -> ItemContent:
        """The content that the settings give a weight. Words and scales are fitted on the items that training sees.

        Raises KgrecError where a weight is set and no item has any such content."""
        parts = []
        if config.facts:
            parts.append((config.facts, facts_of(graph)))
        if config.words:
            parts.append((config.words, words_of(graph)))
        if config.columns:
            parts.append((config.columns, columns_of(graph)))
        return ItemContent(parts)

    def gram(self, rows: Rows = slice(None), columns: Rows = slice(None)) -> np.ndarray:
        """The products of items' rows, weighted and summed: float32 [I, I], or [R, C] of some items with some."""
        products = (weight * (matrix[rows] @ matrix[columns].T).toarray(order="C") for weight, matrix in self.parts)
        first = next(products)
        for product in products:
            first += product
        return first

    def squares(self) -> np.ndarray:
        """The products of the items' rows with themselves: float32 [I]."""
        found: np.ndarray = np.sum([weight * matrix.multiply(matrix).sum(1) for weight, matrix in self.parts], axis=0)
        return found

    def known(self) -> np.ndarray:
        """Which items have any content: bool [I]."""
        return np.any([np.diff(matrix.indptr) > 0 for _, matrix in self.parts], axis=0)


def facts_of(graph: Graph, relation_name: str | None = None) -> scipy.sparse.csr_array:
    """The facts about items, 0 or 1: float32 [I, *], a column for each relation, direction and other end. A fact that
    an inverse relation states again counts once. relation_name: only facts of relations of this name; None: all.

    Raises KgrecError where no fact is about an item, UnknownName for the name of no relation."""
    items, facts, keys, members = graph.range(graph.target[2]), graph.facts(), [], []
    if relation_name is not None:
        facts = facts.only(relation_name)
    second = torch.tensor([edge.inverse_of is not None for edge in facts.schema.edges.values()], dtype=torch.bool)
    if facts.num_edges:
        facts = facts.where(~second.to(facts.device)[facts.relation])
    relation = facts.relation.cpu().numpy()
    ends = facts.head.cpu().numpy(), facts.tail.cpu().numpy()
    for direction, (item, other) in enumerate((ends, ends[::-1])):
        about = (item >= items.start) & (item < items.stop)
        keys.append(((relation * 2 + direction) * (graph.num_nodes + 1) + other)[about])
        members.append(item[about] - items.start)
    column = np.unique(np.concatenate(keys), return_inverse=True)[1]
    if not len(column) and (facts.num_edges or not facts.edge_types):  # relations without edges are no mistake
        raise KgrecError(
            f"none of the {facts.num_edges:,} facts of this graph is about an item; link items to entities in the "
            "recipe (`links:`), or leave out the setting `facts`"
        )
    return multi_hot(np.concatenate(members), column, (len(items), int(column.max(initial=-1)) + 1))


def words_of(graph: Graph) -> scipy.sparse.csr_array:
    """TF-IDF weights of the words of items' texts: float32 [I, *]; the row of a text has length 1. Raises KgrecError
    where no item that training sees has a text."""
    items, fitted = _fitted(graph)
    matrices = []
    for feature in _columns(graph, texts=True).values():
        texts = [text or "" for text in feature.values.to_pylist()]
        found = tfidf(texts, fitted)
        if found is not None:
            matrices.append(scipy.sparse.csr_array(found, dtype=np.float32))
    if not matrices:
        raise KgrecError(
            f"no item that training sees has a text; {_there_is(graph)}; declare a text column in the recipe "
            "(`features: {description: text}`), or leave out the setting `words`"
        )
    return _beside(matrices, len(items))


def columns_of(graph: Graph) -> scipy.sparse.csr_array:
    """Items' columns except texts: float32 [I, *]. A category is 0 or 1, a number is spread over bins (see
    `spread_over_bins`), a vector is divided by the mean length of the vectors; what is missing is 0. Raises KgrecError
    where no item that training sees has any value."""
    items, fitted = _fitted(graph)
    matrices = [_of_column(feature, fitted) for feature in _columns(graph, texts=False).values()]
    if not any(matrix.nnz for matrix in matrices):
        raise KgrecError(
            "no item that training sees has a value in a column of categories, numbers or vectors; "
            f"{_there_is(graph)}; declare such columns in the recipe (`features:`), or leave out the setting `columns`"
        )
    return _beside(matrices, len(items))


def multi_hot(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> scipy.sparse.csr_array:
    """A 0-1 matrix, float32 of this shape; repeated pairs count once. row, column: int64 [n]."""
    matrix = scipy.sparse.csr_array((np.ones(len(row), np.float32), (row, column)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def _fitted(graph: Graph) -> tuple[range, np.ndarray]:
    """The items, and which of them training sees: bool [I]."""
    items = graph.range(graph.target[2])
    return items, fitted_nodes(graph.only(graph.target))[items.start : items.stop].numpy()


def _columns(graph: Graph, *, texts: bool) -> dict[str, Feature]:
    columns = graph.features.get(graph.target[2], {})
    return {name: one for name, one in columns.items() if (one.schema.kind == "text") == texts}


def _there_is(graph: Graph) -> str:
    columns = graph.features.get(graph.target[2], {})
    return f"its columns are {some(columns, 20)}" if columns else "items have no columns"


def _beside(matrices: list[scipy.sparse.csr_array], height: int) -> scipy.sparse.csr_array:
    """Matrices [I, *] side by side."""
    ends = np.cumsum([0, *(matrix.shape[1] for matrix in matrices)])
    row = np.concatenate([np.repeat(np.arange(height), np.diff(matrix.indptr)) for matrix in matrices])
    column = np.concatenate([matrix.indices + start for matrix, start in zip(matrices, ends)])
    data = np.concatenate([matrix.data for matrix in matrices]).astype(np.float32)
    return scipy.sparse.csr_array((data, (row, column)), shape=(height, int(ends[-1])))


def _of_column(feature: Feature, fitted: np.ndarray) -> scipy.sparse.csr_array:
    """One column as numbers [I, *]."""
    count, there = len(feature), ~feature.missing.numpy()
    infinite = feature.infinite.numpy()
    if infinite.any():
        raise KgrecError(
            f"a {feature.schema.kind} column of items has {int(infinite.sum()):,} infinite values; correct them, leave "
            "the column out of the recipe, or leave out the setting `columns`"
        )
    match feature.schema.kind:
        case "categorical":
            row = np.flatnonzero(there)
            return multi_hot(row, feature.values.numpy()[row], (count, max(1, len(feature.schema.categories))))
        case "multi":
            assert feature.ptr is not None
            row = np.repeat(np.arange(count), feature.ptr.diff().numpy())
            return multi_hot(row, feature.values.numpy(), (count, max(1, len(feature.schema.categories))))
        case "numeric":
            return scipy.sparse.csr_array(spread_over_bins(feature.values.numpy(), fitted & there))
        case _:
            values = feature.values.numpy().astype(np.float64)
            length = np.linalg.norm(values[fitted & there], axis=1)
            values = values / length.mean() if len(length) else values * 0
    return scipy.sparse.csr_array(np.where(there[:, None], values, 0).astype(np.float32))


def spread_over_bins(values: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Numbers as rows of length 1 whose products fall with their distance: float32 [I, 65]. Bins lie an eighth
    of a standard deviation apart, up to 4 deviations from the mean, and a number is in each bin with the weight
    exp(-d^2 / 2), d bins away. So products are those of a Gaussian kernel that is 2^.5 bins wide. values: float [I],
    NaN is missing and gives a row of zeros; fitted: bool [I], the values that mean and deviation are of.

    >>> rows = spread_over_bins(np.array([1.0, 1.0, 3.0, np.nan]), np.array([True, True, True, False]))
    >>> [round(float(rows[0] @ row), 3) for row in rows]
    [1.0, 1.0, 0.0, 0.0]
    """
    own = values[fitted].astype(np.float64)
    if not len(own) or not own.std():
        return np.zeros((len(values), 8 * BINS + 1), np.float32)
    place = np.clip((values - own.mean()) / own.std(), -4, 4) * BINS
    weight = np.exp(-((place[:, None] - np.arange(-4 * BINS, 4 * BINS + 1)) ** 2) / 2)
    weight = np.nan_to_num(weight / np.linalg.norm(weight, axis=1, keepdims=True))
    return np.where(weight > 1e-4, weight, 0).astype(np.float32)


def counts_of(graph: Graph) -> scipy.sparse.csr_array:
    """How much is known of each item: logarithms of the numbers of its facts by relation, of all of them and of its
    words, standardised over the items that training sees: float32 [I, *]."""
    items, fitted = _fitted(graph)
    facts = graph.facts()
    numbers = list[np.ndarray]()
    for edge in facts.edge_types:
        one = facts.only(edge)
        for end, node_type in ((one.head, edge[0]), (one.tail, edge[2])):
            if node_type == graph.target[2]:
                numbers.append(np.bincount(end.cpu().numpy() - items.start, minlength=len(items)))
    numbers.append(np.sum(numbers, axis=0) if numbers else np.zeros(len(items)))
    texts = (feature.values.to_pylist() for feature in _columns(graph, texts=True).values())
    numbers += [np.array([len((text or "").split()) for text in column]) for column in texts]
    logs = np.log1p(np.stack(numbers, 1))
    own = logs[fitted] if fitted.any() else logs
    return scipy.sparse.csr_array(((logs - own.mean(0)) / np.maximum(own.std(0), 1e-6)).astype(np.float32))
