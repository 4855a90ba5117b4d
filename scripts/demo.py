"""The whole workflow on the built-in sample: build a graph, train three models, compare test metrics, recommend."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kgrec import Graph, Run, TrainingConfig, recommend, train
from kgrec.sources.building import build_to

SHOP = Path(__file__).parent.parent / "graphs/shop/shop.yaml"
MODELS: dict[str, dict[str, Any]] = {
    "popularity": {},
    "ease": {"l2": 100},
    "mf": {"loss": "bpr", "negatives": 1, "init_std": 0.1, "lr": 5e-3, "l2": 1e-2, "batch_size": 256, "biases": True},
}
METRICS = ("recall@10", "ndcg@10", "hit_rate@10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40, help="at most so many; mf stops by itself where it can")
    epochs = parser.parse_args().epochs
    console, begun = Console(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop.graph"
        build_to(SHOP, None, path)
        graph = Graph.load(path)
        console.print(f"[bold]1. one graph[/] of CSV and RDF files: {graph}\n")
        runs = {}
        for name, config in MODELS.items():
            training = TrainingConfig(epochs=epochs, patience=5, metric="ndcg@10")
            runs[name] = train(name, graph, config=config, training=training, metrics=METRICS)
        console.print(metrics_table(runs))
        best = max(runs.values(), key=lambda run: run.metrics["valid"]["ndcg@10"])
        console.print(f"\n[bold]3. recommendations[/] of {best.name}, the best on validation:")
        for lists in recommend(best, ["u0003", "u0042", "u0123"], k=5):
            console.print(lists.table())
    console.print(f"done in {time.perf_counter() - begun:.0f} s; the same by command: see README")
    console.print("in a browser: .venv/bin/kgrec demo --serve")


def metrics_table(runs: dict[str, Run]) -> Table:
    """A table with a row for each model: its metrics on the test set."""
    protocol = next(iter(runs.values())).metrics["protocol"]
    table = Table(
        "model", *METRICS, "epochs", "seconds", title=f"2. three models on test ({protocol})", title_justify="left"
    )
    for name, run in runs.items():
        seconds = run.metrics["seconds_per_epoch"] * run.metrics["epochs"]
        values = (f"{run.metrics['test'][metric]:.4f}" for metric in METRICS)
        table.add_row(name, *values, str(run.metrics["epochs"]), f"{seconds:.1f}")
    return table


if __name__ == "__main__":
    main()
