"""How long a filter takes: when it is first asked for in a run from its folder, and then beyond the scoring."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.training.config import TrainingConfig

BRANDS, CATEGORIES = 2_000, 500
FEW = ["of_brand=b0|b1|b2|b3|b4|b5|b6|b7|b8|b9", "in_category/part_of=g0"]  #: some 25 of 100,000 items
MANY = ["of_brand!=b0", "in_category!=c0"]  #: nearly all items, which are scored as without a filter


def catalog(users: int, items: int, edges: int) -> Graph:
    """Random interactions, and of each item a brand and a category, which is in one of twenty groups."""
    rng = np.random.default_rng(0)

    def names(letter: str, numbers: np.ndarray) -> list[str]:
        return [f"{letter}{number}" for number in numbers.tolist()]

    def frame(source: list[str], target: list[str]) -> pd.DataFrame:
        return pd.DataFrame({"source": source, "target": target})

    every, category = names("i", np.arange(items)), names("c", np.arange(CATEGORIES))
    return Graph.from_frames(
        nodes={"item": pd.DataFrame({"id": every})},
        edges={
            ("user", "rated", "item"): frame(
                names("u", rng.integers(0, users, edges)), names("i", (rng.random(edges) ** 2 * items).astype(int))
            ),
            ("item", "of_brand", "brand"): frame(every, names("b", rng.integers(0, BRANDS, items))),
            ("item", "in_category", "category"): frame(every, names("c", rng.integers(0, CATEGORIES, items))),
            ("category", "part_of", "group"): frame(category, names("g", np.arange(CATEGORIES) % 20)),
        },
        target=("user", "rated", "item"),
    )


def filter_requests(benchmark: Mapping[str, Any], options: Any) -> dict[str, Any]:
    """Seconds of the first request with a filter in a run that was just read from its folder, beyond a request without;
    and of later ones, beyond the scoring: the quickest of 100 requests with a filter that leaves nearly all items, less
    the quickest of 100 without one, in turns."""
    graph = catalog(benchmark["users"], benchmark["items"], benchmark["interactions"])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "mf.run"
        train("mf", graph, split="last_n:1", config={"dim": 64}, training=TrainingConfig(epochs=1), out=out)
        run = Run.load(out)

        def seconds(**asked: Any) -> float:
            begun = time.perf_counter()
            run.recommend("u1", k=10, **asked)
            return time.perf_counter() - begun

        seconds()  # what is made once for every request
        without = min(seconds() for _ in range(20))
        first = seconds(where=FEW)
        seconds(where=MANY)
        turns = [(seconds(), seconds(where=MANY), seconds(where=FEW)) for _ in range(100)]
        whole, many, few = map(min, zip(*turns))
    return {
        "test": {
            "first_seconds": first - without,
            "beyond_scoring_seconds": many - whole,
            "whole_catalog_seconds": whole,
            "filtered_seconds": few,
        }
    }
