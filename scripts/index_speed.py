"""How fast lists of a large catalog are, exactly and by an approximate index, and what the index finds of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from kgrec.graph import Graph
from kgrec.models.mf import MF, MFConfig
from kgrec.run import Run
from kgrec.serving.index_quality import measured_index
from kgrec.serving.item_index import ItemIndex

USERS, INTERACTIONS = 5_000, 250_000
TASTES = 2_000  #: around which vectors of users and items lie, as training makes them


def item_index(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    """The recall@10 of an index over a catalog, and milliseconds of a request of one user with and without it."""
    run = catalog_run(benchmark["items"], benchmark["dim"])
    begun = time.perf_counter()
    index = ItemIndex.of(run)
    made = time.perf_counter() - begun
    return {"test": {**measured_index(run, index), "seconds_to_make": made}}


def catalog_run(items: int, dim: int) -> Run:
    """MF over a catalog whose vectors lie around tastes, and differ in length as popular and rare items do."""
    rng = np.random.default_rng(0)
    names = [f"i{number}" for number in range(items)]
    rated = pd.DataFrame(
        {
            "source": [f"u{number}" for number in rng.integers(0, USERS, INTERACTIONS)],
            "target": [f"i{number}" for number in rng.integers(0, items, INTERACTIONS)],
        }
    )
    nodes = {
        "user": pd.DataFrame({"id": [f"u{number}" for number in range(USERS)]}),
        "item": pd.DataFrame({"id": names}),
    }
    graph = Graph.from_frames(nodes=nodes, edges={("user", "rated", "item"): rated})
    model = MF(graph, MFConfig(dim=dim)).eval()
    tastes = rng.normal(size=(TASTES, dim)).astype(np.float32)

    def around(number: int) -> torch.Tensor:
        near = tastes[rng.integers(0, TASTES, number)] + 0.7 * rng.normal(size=(number, dim)).astype(np.float32)
        return torch.from_numpy(near * rng.lognormal(0, 0.3, (number, 1)).astype(np.float32))

    with torch.no_grad():
        model.user.weight[:-1] = around(USERS)
        model.item.weight[:-1] = around(items)
    return Run("mf", model, graph)
