"""Tables of vectors whose rows processes share (`--shard-vectors`): every model learns the same with them, or says
before its first epoch why it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from sharded_training import SPLIT, TRAINING, compared, tastes

from kgrec import Graph, TrainingConfig, models, train
from kgrec.errors import KgrecError
from kgrec.splits.split import split
from kgrec.training.processes import make_fabric

SAMPLED = {"loss": "sampled_softmax", "negatives": 8}
#: of each model, the settings with which it is trained
WORKS: dict[str, dict[str, Any]] = {
    "mf": {"biases": True},
    "ncf": {},
    "neumf": {"pretrain_epochs": 1},
    "gru4rec": SAMPLED,
    "gruatt": SAMPLED,
    "sasrec": SAMPLED,
    "svdpp": {"l2": 0.0},
    "kgat": {"fanouts": (4, 3), "layer_dims": (8, 4), "features": ("size",)},
    "cke": {},
    "transe": {"l2": 0.1},
    "transr": {"l2": 0.1},
    "distmult": {"l2": 0.1},
    "complex": {"l2": 0.1},
    "rotate": {"l2": 0.1},
    "irgan": {"pretrain_epochs": 1, "g_l2": 0.01, "d_start": "pretrained"},
    "dnen": {"pretrain_epochs": 1, "draws": 0, "g_lr": 0.1},
}
WHOLE = "propagation over the whole graph"
NO_TABLES = "no tables of node vectors"
#: models that cannot, or not with these settings or options, and what they say
REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("kgat", {}, {}, rf"{WHOLE}.* --set fanouts=\[10,5,5\]"),
    ("kgatseq", {}, {}, f"{WHOLE}.* use kgat with sampled neighborhoods"),
    ("lightgcn", {}, {}, f"{WHOLE}.* use kgat with sampled neighborhoods"),
    ("xsimgcl", {}, {}, f"{WHOLE}.* use kgat with sampled neighborhoods"),
    ("gan", {}, {}, "the vectors of all nodes at once"),
    ("irgan", {"base": "kgat", "base_config": {"fanouts": (5, 5, 5)}}, {}, WHOLE),
    ("sasrec", {}, {}, "loss=softmax"),
    ("cke", {"loss": "softmax"}, {}, "loss=softmax"),
    ("sasrec", {"loss": "bce", "l2": 0.1}, {}, "AdamW with weight decay"),
    ("mf", {"task": "rating"}, {}, "set l2=0"),
    ("mf", {}, {"clip_norm": 1.0}, "clip_norm is 1"),
    ("mf", {"id_embedding": False, "features": ("all",)}, {}, NO_TABLES),
    *((name, {}, {}, NO_TABLES) for name in ("bias", "ease", "ials", "itemknn", "link-frequency", "popularity")),
]


@pytest.fixture(scope="module")
def graph() -> Graph:
    return tastes()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, nodes and edges."""
    for module in ("row_shards", "sharded_tables", "sharded_propagation"):
        monkeypatch.setattr(f"kgrec.nn.{module}.BLOCK", 16)
    monkeypatch.setattr("kgrec.nn.sharded_propagation.EDGES", 16)
    monkeypatch.setattr("kgrec.evaluation.link_evaluation.BLOCK", 16)


def test_every_model_works_or_says_why_not() -> None:
    assert {*WORKS, *(name for name, *_ in REFUSED)} == {*models.names()}


@pytest.mark.parametrize("name", WORKS)
def test_one_process_learns_what_it_does_with_whole_tables(name: str, graph: Graph, small_blocks: None) -> None:
    config = {"dim": 8, "batch_size": 64, **WORKS[name]}
    found = compared(make_fabric(TRAINING), name, split(graph, SPLIT), config)
    assert found["begun"] and found["again"] and found["started"]
    assert found["apart"] < 1e-5 and max(1e-6, 10 * found["apart"]) < found["moved"]
    assert found["losses"] < 1e-5 and found["metrics"] < 1e-5


@pytest.mark.parametrize(("name", "config", "fields", "message"), REFUSED)
def test_what_needs_whole_tables_is_refused(
    name: str, config: dict, fields: dict, message: str, graph: Graph, tmp_path
) -> None:
    training, reported = TrainingConfig(epochs=30, device="cpu", shard_vectors=True, **fields), []
    chosen = "ratio:0.2" if name == "link-frequency" else "last_n:1"
    with pytest.raises(KgrecError, match=message):
        train(
            name,
            graph,
            split=chosen,
            config=config,
            training=training,
            out=tmp_path / "run",
            report=lambda *epoch: reported.append(epoch),
        )
    assert not reported and list(tmp_path.iterdir()) == []
