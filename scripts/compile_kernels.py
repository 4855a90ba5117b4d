"""Compiles the loops that most trainings need, by building the sample shop and training some models for an epoch.

numba keeps them beside kgrec, or in NUMBA_CACHE_DIR. Processes that start together would else each compile them: a
worker, a test, or the first users of a server.
"""

from __future__ import annotations

from pathlib import Path

from kgrec.cli.before_torch import add_up_alike, wait_briefly

SHOP = Path(__file__).resolve().parent.parent / "graphs/shop/shop.yaml"
MODELS = ("mf", "sasrec", "kgat", "neumf")


def main() -> None:
    wait_briefly()
    add_up_alike()
    from kgrec import build, train

    graph, _ = build(SHOP)
    for name in MODELS:
        train(name, graph, split="last_n:1,valid=1", training={"epochs": 1, "device": "cpu"})


if __name__ == "__main__":
    main()
