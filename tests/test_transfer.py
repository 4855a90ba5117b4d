"""Starting a model from another run: by external id, by role and name, and what is said of it."""

import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.settings import configure
from kgrec.training import TrainingConfig
from kgrec.transfer import initialise


def graph_of(*pairs: tuple[str, str], item: str = "item") -> Graph:
    rated = pd.DataFrame(pairs, columns=["source", "target"])
    return Graph.from_frames(edges={("user", "rated", item): rated})


THERE = graph_of(("ann", "a"), ("bob", "b"), ("cem", "c"))
HERE = graph_of(("cem", "d"), ("ann", "c"), ("dan", "a"), item="film")


def test_vectors_go_by_id_and_role() -> None:
    """Users ann and cem, and items a and c, are known there; films are items here."""
    torch.manual_seed(0)
    trained, model = models.build("mf", THERE, {"dim": 4}), models.build("mf", HERE, {"dim": 4})
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    taken = initialise(model, HERE, trained, THERE)
    assert taken.vectors == {
        "user": {"from": "user", "found": 2, "nodes": 3},
        "item": {"from": "item", "found": 2, "nodes": 3},
    }
    assert torch.equal(model.user.weight[0], trained.user.weight[2])  # cem
    assert torch.equal(model.user.weight[1], trained.user.weight[0])  # ann
    assert torch.equal(model.user.weight[2], before["user.weight"][2])  # dan
    assert torch.equal(model.item.weight[1:3], trained.item.weight[[2, 0]])  # c, a
    assert torch.equal(model.item.weight[0], before["item.weight"][0])  # d
    assert (taken.layers, taken.left) == ((), ())


def test_a_table_of_all_nodes_is_filled_type_by_type() -> None:
    trained, model = models.build("mf", THERE, {"dim": 4}), models.build("kgat", THERE, {"dim": 4})
    taken = initialise(model, THERE, trained, THERE)
    table = model.encoder.node.weight
    assert torch.equal(table[:3], trained.user.weight[:3]) and torch.equal(table[3:6], trained.item.weight[:3])
    assert set(taken.vectors) == {"encoder.node/user", "encoder.node/item"}
    assert "encoder.aggregators.0.first.weight" in taken.left
    assert not any(name.startswith("encoder.node") for name in taken.left)


def test_layers_that_fit_are_taken_and_the_others_named() -> None:
    trained = models.build("neumf", THERE, {"dim": 4, "mlp_dim": 8, "layers": (6, 5)})
    model = models.build("neumf", THERE, {"dim": 4, "mlp_dim": 8, "layers": (6, 7)})
    taken = initialise(model, THERE, trained, THERE)
    assert taken.vectors["mlp_user"]["from"] == "mlp_user"
    assert torch.equal(model.mlp_item.weight[:-1], trained.mlp_item.weight[:-1])
    assert "weight" in taken.layers and torch.equal(model.weight, trained.weight)
    theirs = dict(trained.named_parameters())
    for name, parameter in model.named_parameters():
        if name in taken.layers:
            assert torch.equal(parameter, theirs[name])
    assert taken.left and all(theirs[name].shape != dict(model.named_parameters())[name].shape for name in taken.left)


def test_nothing_to_take_is_an_error() -> None:
    with pytest.raises(KgrecError, match=r"vectors of 5 numbers.*set the same `dim`"):
        initialise(models.build("mf", HERE, {"dim": 4}), HERE, models.build("mf", THERE, {"dim": 5}), THERE)
    other = graph_of(("x", "y"))
    with pytest.raises(KgrecError, match="ids such as item 'y'"):
        initialise(models.build("mf", HERE, {"dim": 4}), HERE, models.build("mf", other, {"dim": 4}), other)


def test_vectors_that_a_model_made_start_users_that_it_has_no_table_of() -> None:
    """A gan has a table of items, and of users what it made of their histories."""
    torch.manual_seed(0)
    trained, model = models.build("gan", THERE, {"dim": 4}), models.build("mf", HERE, {"dim": 4})
    trained.generator.user_vector.normal_()
    taken = initialise(model, HERE, trained, THERE)
    assert taken.vectors == {
        "user": {"from": "generator.user_vector", "found": 2, "nodes": 3},
        "item": {"from": "generator.item", "found": 2, "nodes": 3},
    }
    assert torch.equal(model.user.weight[:2], trained.generator.user_vector[[2, 0]])  # cem, ann
    assert torch.equal(model.item.weight[1:3], trained.generator.item.weight[[2, 0]])  # c, a


def test_tables_are_taken_before_what_was_made_of_them() -> None:
    """A layer of LightGCN makes vectors as wide as its tables; those of KGAT are wider, and fit a wider model."""
    trained, model = models.build("lightgcn", THERE, {"dim": 4}), models.build("mf", THERE, {"dim": 4})
    assert not initialise(model, THERE, trained, THERE).vectors["user"]["from"].endswith("user_vector")
    trained = models.build("kgat", THERE, {"dim": 4})
    trained.user_vector.normal_()
    model = models.build("mf", THERE, {"dim": trained.user_vector.shape[1]})
    assert initialise(model, THERE, trained, THERE).vectors["user"]["from"] == "user_vector"
    assert torch.equal(model.user.weight[:-1], trained.user_vector[:-1])


def test_a_part_alone_is_taken() -> None:
    trained = models.build("gan", THERE, {"dim": 4, "d_hidden": (4,)})
    model = models.build("mf", THERE, {"dim": 4})
    taken = initialise(model, THERE, trained, THERE, part="discriminator")
    assert taken.vectors == {"item": {"from": "discriminator.item", "found": 3, "nodes": 3}}
    assert taken.left == ("user.weight",)
    assert torch.equal(model.item.weight, trained.discriminator.item.weight)
    again = models.build("gan", THERE, {"dim": 4, "d_hidden": (5,)})
    taken = initialise(again, THERE, trained, THERE, part="generator")
    assert "generator.noise.weight" in taken.layers
    assert not any(name.startswith("discriminator") for name in taken.layers)
    assert torch.equal(again.generator.condition.table.weight, trained.generator.condition.table.weight)


def test_a_part_that_is_not_there_is_refused_with_those_that_are() -> None:
    trained, model = models.build("gan", THERE, {"dim": 4}), models.build("mf", THERE, {"dim": 4})
    with pytest.raises(UnknownName, match=r"no part 'generato' of GAN; did you mean 'generator'\? .*discriminator"):
        initialise(model, THERE, trained, THERE, part="generato")
    with pytest.raises(KgrecError, match=r"nothing of GAN's discriminator can start MF: it has vectors of 64 numbers"):
        initialise(model, THERE, trained, THERE, part="discriminator")


def test_a_table_of_features_alone_has_no_vectors_of_ids() -> None:
    rated = pd.DataFrame({"source": ["ann", "bob"], "target": ["a", "b"]})
    graph = Graph.from_frames(
        nodes={"user": pd.DataFrame({"id": ["ann", "bob"], "age": [1.0, 2.0]})},
        edges={("user", "rated", "item"): rated},
        features={"user": {"age": "numeric"}},
    )
    told = models.build("gan", graph, {"dim": 4, "condition": "features", "features": "age"})
    model = models.build("mf", graph, {"dim": 4})
    assert initialise(model, graph, told, graph).vectors["user"]["from"] == "generator.user_vector"
    assert "generator.item" in initialise(told, graph, model, graph).vectors


def quick(**fields: object) -> TrainingConfig:
    return configure(TrainingConfig, {"epochs": 2, "device": "cpu", **fields})


def test_a_run_starts_from_another(planted: Graph, tmp_path) -> None:
    config = {"dim": 8, "batch_size": 32, "lr": 0.01}
    first = train("mf", planted, split="last_n:1,valid=1", config=config, training=quick(), out=tmp_path / "mf.run")
    still = {**config, "lr": 1e-12}
    run = train(
        "mf", planted, split="last_n:1,valid=1", config=still, training=quick(epochs=1), init=tmp_path / "mf.run"
    )
    torch.testing.assert_close(run.model.user.weight, first.model.user.weight)
    assert run.metrics["init"]["model"] == "mf"
    assert run.metrics["init"]["vectors"]["item"] == {"from": "item", "found": 40, "nodes": 40}
    assert Run.load(tmp_path / "mf.run").metrics.get("init") is None


def test_a_run_that_may_have_seen_the_test_edges_is_refused(planted: Graph, tmp_path) -> None:
    config = {"dim": 8, "batch_size": 32}
    train("mf", planted, split="ratio:0.2,seed=1", config=config, training=quick(), out=tmp_path / "mf.run")
    with pytest.raises(KgrecError, match=r"trained by the split ratio:0.2,seed=1, and this is last_n:1"):
        train("mf", planted, split="last_n:1", config=config, training=quick(), init=tmp_path / "mf.run")


def test_a_run_that_was_refit_cannot_start_one_that_valid_chooses(planted: Graph, tmp_path) -> None:
    config, split = {"dim": 8, "batch_size": 32}, "last_n:1,valid=1"
    train("mf", planted, split=split, config=config, training=quick(), refit=True, out=tmp_path / "mf.run")
    with pytest.raises(KgrecError, match="was refit on train"):
        train("mf", planted, split=split, config=config, training=quick(), init=tmp_path / "mf.run")
    again = train("mf", planted, split="last_n:1", config=config, training=quick(), init=tmp_path / "mf.run")
    assert again.metrics["init"]["vectors"]["user"]["found"] == 60


def test_a_part_of_a_run_is_taken_by_name(planted: Graph, tmp_path) -> None:
    config, split = {"dim": 8, "batch_size": 32, "pretrain_epochs": 1}, "last_n:1"
    first = train("irgan", planted, split=split, config=config, training=quick(), out=tmp_path / "irgan.run")
    still = {"dim": 8, "batch_size": 32, "lr": 1e-12}
    for part in ("generator", "discriminator"):
        run = train(
            "mf", planted, split=split, config=still, training=quick(epochs=1), init=tmp_path / "irgan.run",
            init_part=part,
        )  # fmt: skip
        torch.testing.assert_close(run.model.user.weight, getattr(first.model, part).user.weight)
        assert run.metrics["init"]["part"] == part
    with pytest.raises(KgrecError, match="give --init RUN too"):
        train("mf", planted, split=split, config=still, init_part="generator")


def test_a_run_of_another_graph_is_mapped_by_ids_whatever_its_split(planted: Graph, tmp_path) -> None:
    config = {"dim": 8, "batch_size": 32}
    some = planted.where(planted.edge_index[0] < 30) if len(planted.edge_types) == 1 else None
    other = some if some is not None else planted.only(planted.target)
    train("mf", other, split="ratio:0.2,seed=1", config=config, training=quick(), out=tmp_path / "mf.run")
    run = train("mf", planted, split="last_n:1", config=config, training=quick(), init=tmp_path / "mf.run")
    assert run.metrics["init"]["other_graph"] is True
    assert run.metrics["init"]["vectors"]["item"]["found"] == 40


def test_the_command_says_what_was_taken(planted: Graph, tmp_path, capsys) -> None:
    from kgrec.cli import app

    planted.save(tmp_path / "graph")
    how = ["--epochs", "1", "--set", "dim=8", "--split", "last_n:1"]
    app(["train", "mf", str(tmp_path / "graph"), "--out", str(tmp_path / "mf.run"), *how], standalone_mode=False)
    start = ["--init", str(tmp_path / "mf.run")]
    app(["train", "lightgcn", str(tmp_path / "graph"), *how, *start], standalone_mode=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert "(mf): vectors: user 60 of 60 from user, item 40 of 40 from item; layers: none; not taken: none" in shown
