"""An approximate index of items by their vectors, for catalogs of which scoring every item takes too long.

It is a graph of near items (HNSW, Malkov & Yashunin 2020) over vectors in bfloat16, made and searched by usearch (extra
`index`). The items that it finds are scored exactly, so that only which items are found is approximate.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kgrec.errors import KgrecError
from kgrec.files import file_hash, whole, write_json
from kgrec.linear_scores import LinearScores
from kgrec.output_kinds import FolderKind
from kgrec.progress import counted
from kgrec.run_files import RunFiles, read_json
from kgrec.serving.exact_scores import product_of
from kgrec.training.trained_model import TrainedModel

if TYPE_CHECKING:
    from usearch.index import Index

FORMAT = 1
DOCUMENT, VECTORS = "index.json", "items.usearch"
INDEX_FOLDER = FolderKind(
    "index folder", DOCUMENT, {"format": int, "weights": str, "num_items": int, "sha256": str}, (VECTORS,)
)
MAKE_ANEW = "make it anew with `kgrec index`"
#: numbers in the vectors of all items from which an index is advised: 80,000 items of 64 were listed in 3.4 ms exactly
#: and in 0.8 ms by the index; 5,000 took as long in both ways
PAYS = 5_000_000
BATCH = 100_000  #: items that are added at once


@dataclass(frozen=True)
class IndexSettings:
    """How an index is made and searched; more of each finds more items and takes longer."""

    connectivity: int = 16  #: neighbors of an item in the graph of items
    expansion_add: int = 128  #: items that are looked at where one is added
    expansion_search: int = 128  #: items that are looked at in a search
    more: int = 3  #: times as many items are found as are wanted, and scored exactly


class ItemIndex:
    """Finds the items whose vectors have the greatest products with a user's."""

    def __init__(self, scores: LinearScores, index: Index, settings: IndexSettings) -> None:
        self.scores, self.index, self.settings = scores, index, settings
        self._lock = threading.Lock()  # an index has as many places to search in as it has threads

    @staticmethod
    def of(run: TrainedModel, settings: IndexSettings | None = None) -> ItemIndex:
        """Make the index of a run. Raises KgrecError for a model whose scores are no products, and where usearch is not
        installed."""
        settings, scores = settings or IndexSettings(), _scores(run)
        items = _items(scores)
        index = _empty(items.shape[1], settings)
        parts = (items[start : start + BATCH] for start in range(0, len(items), BATCH))
        for start, part in zip(
            itertools.count(0, BATCH), counted("adding to the index", parts, len(items), "items", len)
        ):
            index.add(np.arange(start, start + len(part)), part)
        return ItemIndex(scores, index, settings)

    def save(self, run: TrainedModel, folder: Path, measured: dict[str, Any], *, overwrite: bool = False) -> None:
        """Write the index as a folder, whole or not at all. measured: what is said of it, such as its recall."""
        with whole(folder, overwrite, INDEX_FOLDER) as draft:
            draft.mkdir(parents=True)
            self.index.save(str(draft / VECTORS))
            about = {"format": FORMAT, "weights": _weights_hash(run), "num_items": self.scores.num_items}
            made = {"sha256": file_hash(draft / VECTORS), "settings": asdict(self.settings), "measured": measured}
            write_json(draft / DOCUMENT, {**about, **made})

    @staticmethod
    def load(folder: str | Path, run: TrainedModel) -> ItemIndex:
        """Read the index of a run. Raises KgrecError where it is of another run, truncated or altered."""
        folder = Path(folder)
        if not (folder / DOCUMENT).is_file():
            raise KgrecError(f"{folder} is no index: it has no {DOCUMENT}; make one with `kgrec index RUN`")
        about = read_json(folder / DOCUMENT)
        if about.get("format") != FORMAT:
            raise KgrecError(f"{folder} has format {about.get('format')!r}, {FORMAT} is wanted; {MAKE_ANEW}")
        if about.get("weights") != _weights_hash(run) or about.get("num_items") != _scores(run).num_items:
            raise KgrecError(f"{folder} is the index of another run than {run.path or run.name}; {MAKE_ANEW}")
        vectors = folder / VECTORS
        if not vectors.is_file() or file_hash(vectors) != about.get("sha256"):
            raise KgrecError(f"{vectors} is missing, truncated or altered; {MAKE_ANEW}")
        try:
            settings = IndexSettings(**about["settings"])
        except (KeyError, TypeError) as error:
            raise KgrecError(f"{folder / DOCUMENT} is not as kgrec writes it ({error!r}); {MAKE_ANEW}") from error
        scores = _scores(run)
        index = _empty(_items(scores, 1).shape[1], settings)
        index.load(str(vectors))
        return ItemIndex(scores, index, settings)

    def found(self, users: np.ndarray, k: int, left_out: int) -> tuple[np.ndarray, np.ndarray]:
        """About the best items of some users [B], local numbers, and their exact scores: int64 and float32 [B, C], in
        no order: some times k and as many more as are left out of a list."""
        count = min(self.scores.num_items, self.settings.more * k + left_out)
        with self._lock:
            matches = self.index.search(_users(self.scores, users), count, threads=1)
        keys = np.asarray(matches.keys).astype(np.int64).reshape(len(users), -1)
        return keys, self.scores.of_pairs(users, keys)


def _empty(dim: int, settings: IndexSettings) -> Index:
    try:
        from usearch.index import Index
    except ImportError as error:
        raise KgrecError("an index needs usearch, which is not installed: pip install 'kgrec[index]'") from error
    return Index(
        ndim=dim,
        metric="ip",
        dtype="bf16",
        connectivity=settings.connectivity,
        expansion_add=settings.expansion_add,
        expansion_search=settings.expansion_search,
    )


def _scores(run: TrainedModel) -> LinearScores:
    scores = product_of(run)
    if scores is None:
        raise KgrecError(
            f"{run.name} has no vectors of users and items whose products are its scores; an index is for models that "
            "have, such as mf, lightgcn, kgat"
        )
    return scores


def _items(scores: LinearScores, most: int | None = None) -> np.ndarray:
    """Vectors of items, with the item's bias as one more number: float32 [I, D]. most: of the first ones alone."""
    vectors = np.asarray(scores.arrays["item"][:most], np.float32)
    if "item_bias" not in scores.arrays:
        return vectors
    return np.concatenate([vectors, np.asarray(scores.arrays["item_bias"][:most], np.float32)[:, None]], 1)


def _users(scores: LinearScores, users: np.ndarray) -> np.ndarray:
    """Vectors of users whose products with `_items` rank as the scores do: float32 [B, D]."""
    vectors = np.asarray(scores.arrays["user"][users], np.float32)
    if "item_bias" not in scores.arrays:
        return vectors
    return np.concatenate([vectors, np.ones((len(users), 1), np.float32)], 1)


def _weights_hash(run: TrainedModel) -> str:
    """By what an index knows its run: the hash of its weights. Raises KgrecError for a run without a folder."""
    if run.path is None:
        raise KgrecError("a run that is only in memory has no index in a folder; train it with out=..., or load it")
    return str(RunFiles.open(run.path).listed.get("model.safetensors", {}).get("sha256"))


def index_advice(run: TrainedModel) -> str | None:
    """What to say where an index would pay; None where it would not."""
    scores = product_of(run)
    if scores is None or scores.arrays["item"].size < PAYS:
        return None
    items, dim = scores.arrays["item"].shape
    return f"{items:,} items of {dim} numbers are scored for each request; an index would be faster: see `kgrec index`"
