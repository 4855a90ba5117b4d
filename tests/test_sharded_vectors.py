"""Tables of vectors whose rows processes share (`--shard-vectors`): every model learns the same with them, or says
before its first epoch why it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sharded_training import SPLIT, TRAINING, compared, tastes

from kgrec import Graph, Run, TrainingConfig, models, train
from kgrec.errors import KgrecError
from kgrec.nn import NodeEmbedding
from kgrec.nn.row_shards import RowShard, sharded_rows
from kgrec.splits.split import split
from kgrec.training.measuring import measure
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
    "esasrec": {"negatives": 8},
    "bert4rec": SAMPLED,
    "hstu": SAMPLED,
    "svdpp": {"l2": 0.0},
    "kgat": {"fanouts": (4, 3), "layer_dims": (8, 4), "features": ("size",)},
    "cke": {"image": "cover", "hidden": (4,)},
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


@pytest.mark.parametrize(
    ("name", "config", "table"),
    [
        ("kgat", {"fanouts": (4, 3), "layer_dims": (8, 4), "facts_lr": 1e-12}, "encoder.node.weight"),
        ("transe", {"task": "link"}, "kge.node_emb.weight"),
    ],
)
def test_a_run_starts_from_one_of_the_other_kind(
    name: str, config: dict, table: str, graph: Graph, small_blocks: None, tmp_path: Path
) -> None:
    chosen = "ratio:0.2" if config.get("task") == "link" else "last_n:1"

    def trained(out: str, init: str | None, lr: float, shard_vectors: bool) -> Run:
        train(
            name,
            graph,
            split=chosen,
            config={"dim": 8, "batch_size": 64, **config, "lr": lr},
            training=TrainingConfig(epochs=1, device="cpu", shard_vectors=shard_vectors),
            out=tmp_path / out,
            init=None if init is None else str(tmp_path / init),
        )
        return Run.load(tmp_path / out)

    runs = [trained("a", None, 0.1, False), trained("b", "a", 1e-12, True), trained("c", "b", 1e-12, False)]
    one, *others = (run.model.state_dict() for run in runs)
    for other in others:
        assert other.keys() == one.keys()
        torch.testing.assert_close(other[table], one[table], rtol=0, atol=1e-6)
        assert not other[table][-1].any()
    shared = runs[1].metrics
    assert shared["init"]["vectors"] and shared["num_parameters"] == runs[0].metrics["num_parameters"]
    assert measure(runs[1], graph)["test"] == pytest.approx(shared["test"], abs=1e-6)
    assert shared["test"] == pytest.approx(runs[2].metrics["test"], abs=1e-5)


def test_values_that_are_loaded_are_looked_up_anew(graph: Graph) -> None:
    with sharded_rows():
        table = NodeEmbedding(graph, "item", dim=2)
    items = graph.nodes("item")[:3]
    with torch.no_grad():
        before = table(items)
        table.load_state_dict({"shard": table.shard + 1})
        torch.testing.assert_close(table(items), before + 1)


def test_a_table_that_is_no_longer_read_leaves_its_number_to_another() -> None:
    with sharded_rows() as rounds:
        first, second = (RowShard(2, torch.zeros(2, 1)) for _ in range(2))
    rounds.remove(second)
    assert rounds.tables == [first, first]
    third = RowShard(3, torch.zeros(3, 1), rounds=rounds)
    assert third.number == 1 and rounds.tables == [first, third]
