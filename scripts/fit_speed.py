"""How long models without epochs take to be fitted to all interactions of a graph, beside other libraries."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.models import build as build_model
from kgrec.models.ease import EASE
from kgrec.models.itemknn import ItemKNN
from kgrec.run import peak_mb
from racing.contestants import SCRIPTS, NotInstalled, environment_of, python_of

ROUNDS = 4  #: the first of them compiles kernels
WAIT = 900.0  #: seconds after which another library is ended that does not answer


def fit(benchmark: Mapping[str, Any], graph: Graph, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a fit, the least of three after one that compiles kernels. Each of the benchmark's `peers` is run
    before kgrec and after it, the least of both counts. `*_differs` is the largest difference between what they have
    fitted: the similarities of an item's neighbors, falling, or EASE's weights."""
    peers, found, missing = benchmark.get("peers", {}), dict[str, Any](), []
    rounds: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in peers}
    with tempfile.TemporaryDirectory() as folder:
        pairs = save_pairs(graph, Path(folder))

        def run_peers() -> None:
            for name, peer in peers.items():
                try:
                    rounds[name].append(fit_peer(peer, pairs, graph, options))
                except NotInstalled as error:
                    missing.append(name)
                    print(error, file=sys.stderr)

        run_peers()
        seconds = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            model = build_model(benchmark["model"], graph, benchmark.get("set", {}))
            seconds.append(time.perf_counter() - begun)
        found |= {"seconds": min(seconds[1:]), "peak_mb": peak_mb()}
        run_peers()
    mine = values_of(model)
    for name, runs in rounds.items():
        if runs:
            found[f"{name}_seconds"] = float(min(one["seconds"].min() for one in runs))
            found[f"{name}_peak_mb"] = float(runs[0]["peak_mb"])
            theirs = runs[0]["values"]
            if mine is not None and theirs.size:
                most = min(mine.shape[1], theirs.shape[1])
                found[f"{name}_differs"] = float(np.abs(mine[:, :most] - theirs[:, :most]).max())
    return {"test": found, "not_run": sorted(set(missing))}


def fit_large(benchmark: Mapping[str, Any], graph: Graph) -> dict[str, Any]:
    """Seconds of one fit to a graph, the most memory of the process in MB, and by how much the fit has raised it."""
    before, begun = peak_mb(), time.perf_counter()
    build_model(benchmark["model"], graph, benchmark.get("set", {}))
    seconds = time.perf_counter() - begun
    return {"test": {"seconds": seconds, "peak_mb": peak_mb(), "fit_mb": peak_mb() - before}}


def save_pairs(graph: Graph, folder: Path) -> Path:
    """The distinct pairs of a graph's users and items, as a file of numbers from 0."""
    user, item = graph.only(graph.target).edge_index.unique(dim=1).numpy()
    np.savez(folder / "pairs.npz", user=user, item=item)
    return folder / "pairs.npz"


def fit_peer(peer: Mapping[str, Any], pairs: Path, graph: Graph, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """What racing/peer_fit.py finds for a peer: its program, model and settings. Raises NotInstalled, and KgrecError
    where it fails."""
    import torch

    threads = torch.get_num_threads()
    python, environment = python_of(peer["program"], options.peers), environment_of(threads)
    environment["PYTHONPATH"] = str(SCRIPTS)
    if peer["program"] == "implicit":  # it asks for that: it has threads of its own
        environment["OPENBLAS_NUM_THREADS"] = "1"
    job, result = pairs.parent / "job.json", pairs.parent / "result.npz"
    how = {"pairs": str(pairs), "result": str(result), "num_items": len(graph.range(graph.target[2]))}
    job.write_text(json.dumps({**peer, **how, "threads": threads}), encoding="utf-8")
    command = [python, "-m", "racing.peer_fit", str(job)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT)
    if done.returncode:
        raise KgrecError(f"{peer['program']} failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    with np.load(result) as found:
        return dict(found)


def values_of(model: Recommender) -> np.ndarray | None:
    """What a peer's values are compared with; None: a model that is fitted from random values."""
    match model:
        case ItemKNN():
            found: np.ndarray = -np.sort(-model.similarity.numpy(), axis=1)
            return found
        case EASE():
            return model.weight.numpy()
    return None
