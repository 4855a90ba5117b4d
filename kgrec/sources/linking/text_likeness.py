"""How alike the descriptions of items and entities are, beside descriptions that were paired by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from kgrec.text_vectors import sentence_vectors, tfidf

TFIDF = "tfidf"  #: the encoder that counts words
NEAREST = 3  #: entities whose texts are the likest, which are held against an item though their names share no word
LEAST_NEAREST = 4.0  #: deviations above chance that such a text must be
LEAST_DEVIATION = 0.02  #: of the likeness of texts by chance
BY_CHANCE = 5000  #: pairs of an item and an entity by which chance is measured
CELLS = 1 << 24  #: likenesses of items and entities that are in memory at once
MOST_COMPARED = 2_000_000_000  #: pairs of texts, above which the nearest texts are not looked for


class TextLikeness:
    """Vectors of the texts of items and entities. I items, E entities.

    items: [I] texts, "" for none; entities: [E]. encoder: `tfidf`, or the name or folder of a sentence-transformers
    model. Raises KgrecError if that is not installed or has no such model.
    """

    def __init__(self, items: Sequence[str], entities: Sequence[str], encoder: str = TFIDF) -> None:
        self._has = [np.array([bool(text.strip()) for text in texts], bool) for texts in (items, entities)]
        self._vectors: tuple[Any, Any] | None = None
        if self._has[0].any() and self._has[1].any():
            self._vectors = self._encoded([*items, *entities], encoder)
        self._middle, self._deviation = self._by_chance()

    def _encoded(self, texts: Sequence[str], encoder: str) -> tuple[Any, Any] | None:
        """Vectors of length 1 (or 0, of a text without words) of all items and of all entities."""
        matrix: Any
        if encoder == TFIDF:
            found = tfidf([*texts], np.ones(len(texts), bool))
            matrix = None if found is None else csr_matrix(found)
        else:
            there = np.concatenate(self._has)
            found = sentence_vectors([text for text, has in zip(texts, there) if has], encoder)
            found /= np.linalg.norm(found, axis=1, keepdims=True).clip(1e-9)
            matrix = np.zeros((len(texts), found.shape[1]), np.float32)
            matrix[there] = found
        return None if matrix is None else (matrix[: len(self._has[0])], matrix[len(self._has[0]) :])

    def _by_chance(self) -> tuple[float, float]:
        """Middle and deviation of the cosine of texts of items and of entities that were drawn by chance. They are the
        median and its median deviation, since of few texts many such pairs are of one thing."""
        if self._vectors is None:
            return 0.0, 1.0
        rng = np.random.default_rng(0)
        item, entity = (rng.choice(np.flatnonzero(has), BY_CHANCE) for has in self._has)
        cosine = self._cosine(item, entity)
        middle = float(np.median(cosine))
        return middle, max(LEAST_DEVIATION, 1.4826 * float(np.median(np.abs(cosine - middle))))

    def _cosine(self, item: np.ndarray, entity: np.ndarray) -> np.ndarray:
        """float64 [n], of pairs of an item and an entity."""
        assert self._vectors is not None
        one, other = self._vectors[0][item], self._vectors[1][entity]
        product = one.multiply(other).sum(1) if isinstance(one, csr_matrix) else (one * other).sum(1)
        return np.asarray(product, np.float64).ravel()

    def of(self, item: np.ndarray, entity: np.ndarray) -> np.ndarray:
        """By how many standard deviations z the texts of each pair are liker than by chance, as log(1 + z), and
        -log(1 - z) where they are less like; 0 where one has no text: float64 [n]. item, entity: int64 [n]."""
        if self._vectors is None or not len(item):
            return np.zeros(len(item))
        apart = (self._cosine(item, entity) - self._middle) / self._deviation
        found = np.sign(apart) * np.log1p(np.abs(apart))
        found[~(self._has[0][item] & self._has[1][entity])] = 0
        return found

    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of an item and one of the three entities whose texts are the likest, where these are much liker than by
        chance: int64 [n] each. None for more than two thousand million pairs, as it would take long."""
        none = np.empty(0, np.int64)
        if self._vectors is None:
            return none, none
        mine, theirs = (np.flatnonzero(has) for has in self._has)
        if len(mine) * len(theirs) > MOST_COMPARED:
            return none, none
        least = self._middle + LEAST_NEAREST * self._deviation
        turned, items, entities = self._vectors[1][theirs].T, [none], [none]
        count = min(NEAREST, len(theirs))
        size = max(1, CELLS // len(theirs))
        for start in range(0, len(mine), size):
            rows = mine[start : start + size]
            cosine = self._vectors[0][rows] @ turned
            cosine = cosine.toarray() if isinstance(cosine, csr_matrix) else cosine
            best = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
            row, place = np.nonzero(np.take_along_axis(cosine, best, 1) >= least)
            items.append(rows[row])
            entities.append(theirs[best[row, place]])
        return np.concatenate(items), np.concatenate(entities)
