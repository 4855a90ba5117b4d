"""What a run says of its model: how many numbers it learned, how much room they take, how long the fit took."""

import csv
import json

import pandas as pd
import pytest

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.run import train
from kgrec.run_files import RunFiles, read_json, read_metrics
from kgrec.training.config import TrainingConfig

MIB = 2**20


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Three users, four items and two makers."""
    rated = [("u", "a"), ("u", "b"), ("v", "a"), ("v", "c"), ("w", "c"), ("w", "d")]
    made = [("a", "m"), ("b", "m"), ("c", "n"), ("d", "n")]
    edges = {("user", "rated", "item"): rated, ("item", "made_by", "maker"): made}
    return Graph.from_frames(
        edges={edge: pd.DataFrame(pairs, columns=["source", "target"]) for edge, pairs in edges.items()},
        target=("user", "rated", "item"),
    )


@pytest.mark.parametrize(
    ("name", "config", "numbers", "size"),
    [
        ("popularity", {}, 4, 4 * 4),  # a count an item, four bytes each
        ("ease", {"l2": 1.0}, 4 * 4, 16 * 4),  # a weight from each item to each
        ("itemknn", {"neighbors": 2}, 4 * 2, 8 * 4 + 8 * 8),  # similarities; their items take eight bytes each
        ("ials", {"dim": 3}, 4 * 3 + 3 * 3, 21 * 4),  # items' vectors, and the products of their columns
        ("link-frequency", {}, 4 + 2 + 3 + 4, 13 * 4),  # items, makers, users, items: the tails of each relation
        ("mf", {"dim": 3}, (3 + 1) * 3 + (4 + 1) * 3, 27 * 4 + 4),  # vectors, one for the unknown; and a mean
    ],
)
def test_numbers_and_room_by_hand(graph, tmp_path, name, config, numbers, size):
    split = "ratio:0.3,seed=0" if name == "link-frequency" else "last_n:1"
    few = TrainingConfig(epochs=2, device="cpu")
    run = train(name, graph, split=split, config=config, training=few, out=tmp_path / "run")
    assert run.metrics["num_parameters"] == numbers
    assert run.metrics["model_mb"] == size / MIB
    stored = (tmp_path / "run" / "model.safetensors").stat().st_size
    assert size <= stored  # and the names of the tensors
    log = tmp_path / "run" / "log.csv"
    epochs = [float(row["seconds"]) for row in csv.DictReader(log.read_text().splitlines())] if log.exists() else []
    assert len(epochs) == (2 if name == "mf" else 0)
    assert run.metrics["fit_seconds"] > sum(epochs)  # and the building


def test_a_run_of_before_says_nothing_of_it_and_one_that_was_altered_is_refused(graph, tmp_path):
    train("popularity", graph, split="last_n:1", out=tmp_path / "run")
    folder, before = tmp_path / "run", read_json(tmp_path / "run" / "metrics.json")
    config = read_json(folder / "config.json")
    (folder / "config.json").write_text(json.dumps({**config, "format": 1}))
    old = {name: value for name, value in before.items() if name not in ("fit_seconds", "model_mb")}
    (folder / "metrics.json").write_text(json.dumps(old))
    assert read_metrics(RunFiles.open(folder)) == old
    (folder / "metrics.json").write_text(json.dumps({**old, "fit_seconds": "long"}))
    with pytest.raises(KgrecError, match="fit_seconds is the text 'long'"):
        read_metrics(RunFiles.open(folder))
