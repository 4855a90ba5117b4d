"""An index of a run's items, made, measured against exact lists, and written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from kgrec.files import refuse_existing
from kgrec.progress import counted
from kgrec.serving.item_index import INDEX_FOLDER, IndexSettings, ItemIndex
from kgrec.serving.list_options import ListOptions
from kgrec.serving.recommendation import Recommendations
from kgrec.serving.service import Service
from kgrec.serving.wanted import Wanted
from kgrec.training.trained_model import TrainedModel

USERS = 500  #: whose lists are held against the exact ones
K = 10  #: items of each


def written_index(
    run: TrainedModel, out: Path, settings: IndexSettings | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Make the index of a run, and write it with what was measured of it: see `measured_index`. Raises what
    `ItemIndex.of` raises, and KgrecError where `out` is there."""
    refuse_existing(out, overwrite, INDEX_FOLDER)
    begun = time.perf_counter()
    index = ItemIndex.of(run, settings)
    measured = {"seconds_to_make": round(time.perf_counter() - begun, 2), **measured_index(run, index)}
    index.save(run, out, measured, overwrite=overwrite)
    return measured


def measured_index(run: TrainedModel, index: ItemIndex) -> dict[str, Any]:
    """The share of the ten items of exact lists that the lists by an index have, of 500 users drawn at random, and the
    median and the slowest of a hundred requests of one user with and without it, in milliseconds."""
    vocabulary = run.graph.vocabulary[run.graph.target[0]]
    drawn = np.random.default_rng(0).permutation(len(vocabulary))[:USERS]
    k = min(K, len(run.graph.range(run.graph.target[2])))
    asked = [Wanted(user, options=ListOptions(k=k)) for user in vocabulary.ids(drawn)]
    found, seconds = {}, {}
    for name, service in (("exact", Service(run)), ("index", Service(run, index=index))):
        service.recommend(asked[:1])  # what is made once
        lists, taken = [], []
        for one in counted(f"lists, {name}", asked, len(asked), "users"):
            begun = time.perf_counter()
            (answer,) = service.recommend([one])
            taken.append(1000 * (time.perf_counter() - begun))
            assert isinstance(answer, Recommendations)
            lists.append(set(answer.items))
        found[name], seconds[name] = lists, taken
    shares = [len(near & exact) / len(exact) for near, exact in zip(found["index"], found["exact"]) if exact]
    times = {
        f"{name}_{said}_ms": round(float(np.quantile(taken, share)), 3)
        for name, taken in seconds.items()
        for said, share in (("p50", 0.5), ("p99", 0.99))
    }
    return {f"recall@{K}": round(float(np.mean(shares)), 4), "users": len(asked), **times}
