"""Benchmarks of explanations: whether paths hold where their edges are masked, and how soon one pair is explained."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kgrec import models
from kgrec.graph import Graph
from kgrec.model import scoring
from kgrec.run import Run


def faithfulness(benchmark: Mapping[str, Any], folder: Path, quick: bool) -> dict[str, Any]:
    """In which share of pairs the strongest path lowers the score more than a random path like it, by attention and by
    drop. folder: of a run that is trained."""
    users = 20 if quick else benchmark["users"]
    found = Run.load(folder).measure_explanations(users=users, k=benchmark["k"])
    measured: dict[str, Any] = dict(found["metrics"])
    for by, one in found["faithfulness"].items():
        measured |= {f"faithful_{by}": one["mean"], f"faithful_{by}_low": one["interval"][0]}
        measured |= {f"faithful_{by}_high": one["interval"][1], f"pairs_{by}": one["pairs"]}
    return {"test": measured, "explain_seconds": found["seconds"]}


def explain_speed(benchmark: Mapping[str, Any], graph: Graph, quick: bool) -> dict[str, Any]:
    """Seconds to explain one pair by five paths, the first time (with what is made once) and after that, the median and
    the longest of 20 pairs. The model is not trained, as that makes no difference to the time."""
    torch.manual_seed(0)
    model = models.build(benchmark["model"], graph, benchmark.get("set", {})).eval()
    with scoring(model):
        model.refresh()
    run, seconds = Run(benchmark["model"], model, graph), list[float]()
    source = graph.target[0]
    users = graph.vocabulary[source].ids(np.random.default_rng(0).permutation(len(graph.vocabulary[source]))[:21])
    listed = run.recommend(users, k=1)
    pairs = list(zip(listed["user"], listed["item"]))
    for user, item in pairs[: 4 if quick else 21]:
        begun = time.perf_counter()
        run.explain(user, item)
        seconds.append(time.perf_counter() - begun)
    first, *later = seconds
    measured = {"first_seconds": first, "seconds": float(np.median(later)), "longest_seconds": max(later)}
    return {"test": measured, "edges": graph.num_edges, "nodes": graph.num_nodes}
