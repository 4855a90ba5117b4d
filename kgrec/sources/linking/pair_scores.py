"""How likely an item and an entity are one thing: pairs that share words, what speaks for each, and a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from kgrec.sources.linking.entity_names import Entities
from kgrec.sources.linking.names import Name
from kgrec.sources.linking.text_likeness import TextLikeness

CANDIDATES = 12  #: entities that each item is held against
ROWS = 512  #: names of items that are held against all entities at once
FOLDS = 5  #: of known items, each scored by what the others teach
LEAST_SHARED = 0.35  #: of the words of two names, by their weight
NOT_SURE, SURE = 0.99, 0.999  #: the most for names that are not equal, and what those have that are
COMMON, COMMON_SHARE = 2000, 0.01  #: words that more names have, and more than a share of them, are not looked for
#: what speaks for a pair, with the weight that it has where no known pairs teach another one
WEIGHTS: Mapping[str, float] = {
    "constant": -7.0,
    "words": 3.0,  #: cosine of the words, by how rare they are
    "letters": 5.0,  #: cosine of the groups of three letters
    "equal": 2.0,  #: 1 if the names are equal
    "same year": 3.0,
    "next year": 1.5,
    "other year": -5.0,
    "kind": 0.7,  #: log-odds of what the entity is among entities that are surely items, against all
    "text": 2.0,  #: by how many standard deviations z the descriptions are liker than by chance: log(1 + z)
    "rivals": -1.5,  #: how many more entities have an equal name and no other year: log(1 + n)
}


MOST_FOR, MOST_AGAINST = 3.0, 6.0  #: of the log-odds of a kind


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of an item and an entity. n pairs, sorted by item."""

    item: np.ndarray  #: int64 [n]
    entity: np.ndarray  #: int64 [n]
    features: np.ndarray  #: float64 [n, F], in the order of WEIGHTS

    def column(self, name: str) -> np.ndarray:
        """One of the features: float64 [n]."""
        found: np.ndarray = self.features[:, list(WEIGHTS).index(name)]
        return found


def pairs_of(
    items: Sequence[Sequence[Name]], years: Sequence[frozenset[int]], entities: Entities, texts: TextLikeness
) -> Pairs:
    """The pairs that may be one thing, and what speaks for them. items: the names of each; years: of each; texts: of
    items and entities."""
    item, entity, words, letters = _with_nearest(*_candidates(items, entities.names), *texts.nearest(), len(entities))
    same, near, other = _years(item, entity, items, years, entities)
    equal = (letters >= SURE).astype(float)
    rivals = np.bincount(item, (equal > 0) & (other == 0), minlength=len(items))[item] - ((equal > 0) & (other == 0))
    sure = (equal > 0) & (other == 0) & (rivals == 0) & _only_one(entity, equal > 0, len(entities))
    columns = {
        "constant": np.ones(len(item)),
        "words": words,
        "letters": letters,
        "equal": equal,
        "same year": same,
        "next year": near,
        "other year": other,
        "kind": _likeness_of_kind(entities, entity, np.unique(entity[sure])),
        "text": texts.of(item, entity),
        "rivals": np.log1p(np.maximum(rivals, 0)) * (same == 0),
    }
    return Pairs(item, entity, np.stack([columns[name] for name in WEIGHTS], axis=1))


def scores_of(pairs: Pairs, known: np.ndarray | None = None) -> np.ndarray:
    """The probability that each pair is one thing: float64 [n]. known: int64 [items], the entity of each item whose
    entity is known, less than 0 for others; None: none is. It then learns the weights; else they are WEIGHTS. The pairs
    of a known item are scored by what others teach."""
    features = pairs.features
    if known is not None and (known >= 0).any():
        taught = known[pairs.item] >= 0
        is_true = known[pairs.item[taught]] == pairs.entity[taught]
        if 10 <= is_true.sum() < len(is_true):
            model = LogisticRegression(C=10.0, fit_intercept=False, max_iter=1000)
            found: np.ndarray = model.fit(features[taught], is_true).predict_proba(features)[:, 1]
            groups = pairs.item[taught]
            folds = GroupKFold(min(FOLDS, len(np.unique(groups))))
            by_others = cross_val_predict(
                model, features[taught], is_true, groups=groups, cv=folds, method="predict_proba"
            )
            found[taught] = by_others[:, 1]
            return found
    return 1 / (1 + np.exp(-features @ np.array([*WEIGHTS.values()])))


def _candidates(
    items: Sequence[Sequence[Name]], entities: Sequence[Sequence[Name]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs that share words of some weight, the most alike ones of each item: item, entity, and how alike the words
    and the letters of their names are, each [n]."""
    item_keys, item_of = _keys(items)
    entity_keys, entity_of = _keys(entities)
    number = len(item_keys) + len(entity_keys)
    common = max(COMMON, int(COMMON_SHARE * number))  # words that more names have find nothing, and take memory
    words = TfidfVectorizer(
        token_pattern=r"\S+", lowercase=False, dtype=np.float32, max_df=common if common < number else 1.0
    )
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), lowercase=False, dtype=np.float32)
    words.fit([*item_keys, *entity_keys])
    letters.fit([*item_keys, *entity_keys])
    of_words = [csr_matrix(words.transform(keys)) for keys in (item_keys, entity_keys)]
    of_letters = [csr_matrix(letters.transform(keys)) for keys in (item_keys, entity_keys)]
    row, column, likeness = _sharing(*of_words)
    alike = np.asarray(of_letters[0][row].multiply(of_letters[1][column]).sum(1)).ravel()
    same_row, same_column = _equal(item_keys, entity_keys)
    row, column = np.concatenate([row, same_row]), np.concatenate([column, same_column])
    likeness, alike = (np.concatenate([part, np.ones(len(same_row))]) for part in (likeness, alike.clip(0, NOT_SURE)))
    item, entity = item_of[row], entity_of[column]
    order = np.lexsort((-(alike + likeness), entity, item))  # of several names of a pair the most alike ones
    item, entity, likeness, alike = (part[order] for part in (item, entity, likeness, alike))
    first = np.append(True, (item[1:] != item[:-1]) | (entity[1:] != entity[:-1]))[: len(item)]
    item, entity, likeness, alike = (part[first] for part in (item, entity, likeness, alike))
    order = np.lexsort((-(alike + likeness), item))
    item, entity, likeness, alike = (part[order] for part in (item, entity, likeness, alike))
    start = np.searchsorted(item, item)
    kept = (np.arange(len(item)) - start < CANDIDATES) | (alike >= SURE)
    return item[kept], entity[kept], likeness[kept].astype(float), alike[kept].astype(float)


def _with_nearest(
    item: np.ndarray,
    entity: np.ndarray,
    words: np.ndarray,
    letters: np.ndarray,
    more_items: np.ndarray,
    more_entities: np.ndarray,
    entities: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Candidates, and more pairs whose names are not alike."""
    new = ~np.isin(more_items * entities + more_entities, item * entities + entity)
    item, entity = np.concatenate([item, more_items[new]]), np.concatenate([entity, more_entities[new]])
    words, letters = (np.concatenate([part, np.zeros(new.sum())]) for part in (words, letters))
    order = np.argsort(item, kind="stable")
    return item[order], entity[order], words[order], letters[order]


def _keys(names: Sequence[Sequence[Name]]) -> tuple[list[str], np.ndarray]:
    """All different keys of all nodes, and whose each is."""
    pairs = [
        (key, place)
        for place, found in enumerate(names)
        for key in dict.fromkeys(key for name in found for key in name.keys)
    ]
    return [key for key, _ in pairs], np.array([place for _, place in pairs], np.int64)


def _equal(keys: Sequence[str], others: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The places of equal texts."""
    places: dict[str, list[int]] = {}
    for place, key in enumerate(others):
        places.setdefault(key, []).append(place)
    found = [(place, other) for place, key in enumerate(keys) for other in places.get(key, ())]
    row, column = np.array(found, np.int64).reshape(-1, 2).T
    return row, column


def _sharing(rows: csr_matrix, others: csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of rows that share words of some weight, the best ones of each row, and their cosine."""
    turned, found = others.T.tocsr(), []
    for start in range(0, rows.shape[0], ROWS):
        part = (rows[start : start + ROWS] @ turned).tocoo()
        enough = part.data >= LEAST_SHARED
        row, column, value = part.row[enough], part.col[enough], part.data[enough]
        order = np.lexsort((-value, row))
        row, column, value = row[order], column[order], value[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        best = (place < 4 * CANDIDATES) | (value >= SURE)
        found.append((row[best].astype(np.int64) + start, column[best].astype(np.int64), value[best]))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    row, column, value = (np.concatenate(part) for part in zip(*found))
    return row, column, value


def _years(
    item: np.ndarray,
    entity: np.ndarray,
    names: Sequence[Sequence[Name]],
    years: Sequence[frozenset[int]],
    entities: Entities,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether each pair has the same year, years that follow each other, or other years: float64 [n] each. Where one
    has no year, all are 0. A year in a name counts before those of facts."""
    of_item = [{name.year for name in found if name.year} or set(known) for found, known in zip(names, years)]
    in_name = [{name.year for name in found if name.year} for found in entities.names]
    columns = np.zeros((3, len(item)))
    for place, (one, other) in enumerate(zip(item.tolist(), entity.tolist())):
        mine, theirs = of_item[one], in_name[other] or entities.years[other]
        if mine and theirs:
            apart = min(abs(a - b) for a in mine for b in theirs)
            columns[min(apart, 2), place] = 1
    return columns[0], columns[1], columns[2]


def _only_one(entity: np.ndarray, chosen: np.ndarray, number: int) -> np.ndarray:
    """Whether each pair's entity is in only one of the chosen pairs."""
    found: np.ndarray = np.bincount(entity[chosen], minlength=number)[entity] == 1
    return found


def _likeness_of_kind(entities: Entities, entity: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """For each pair, by how much more often entities that are surely items are of the kind of this entity than all
    entities are: the logarithm of the ratio, 3 at
    most, and -6 at least, for many entities are of the right kind. sure: int64 [n]."""
    if len(sure) < 5:
        return np.zeros(len(entity))
    of, kind = entities.is_of
    words = sorted({word for names in entities.names for name in names for word in name.words})
    place = {word: len(entities.kinds) + number for number, word in enumerate(words)}
    said = [
        (number, place[word])
        for number, names in enumerate(entities.names)
        for word in {word for name in names for word in name.words}
    ]
    if said:
        more = np.array(said, np.int64)
        of, kind = np.concatenate([of, more[:, 0]]), np.concatenate([kind, more[:, 1]])
    number, kinds = len(entities), len(entities.kinds) + len(words)
    is_sure = np.zeros(number, bool)
    is_sure[sure] = True
    in_sure = (np.bincount(kind[is_sure[of]], minlength=kinds) + 0.5) / (len(sure) + 1)
    in_all = (np.bincount(kind, minlength=kinds) + 0.5) / (number + 1)
    there, missing = np.log(in_sure / in_all), np.log((1 - in_sure).clip(1e-6) / (1 - in_all).clip(1e-6))
    total = np.bincount(of, (there - missing)[kind], minlength=number) + missing[: len(entities.kinds)].sum()
    found: np.ndarray = total.clip(-MOST_AGAINST, MOST_FOR)[entity]
    return found
