"""Starting a model from another run: by external id, by role and name, and what is said of it."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.run import Run, train
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig
from kgrec.training.transfer import initialise


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
    trained = models.build("neumf", THERE, {"dim": 4, "mlp_dim": 8, "hidden": (6, 5)})
    model = models.build("neumf", THERE, {"dim": 4, "mlp_dim": 8, "hidden": (6, 7)})
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
    with pytest.raises(KgrecError, match=r"vectors of size 5 .*the same `dim`"):
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
    with pytest.raises(
        KgrecError, match=r"MF cannot start from GAN's discriminator, as nothing in it fits: it has vectors of size 64"
    ):
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
    with pytest.raises(KgrecError, match=r"trained with split ratio:0.2,seed=1, but this training uses last_n:1"):
        train("mf", planted, split="last_n:1", config=config, training=quick(), init=tmp_path / "mf.run")


def test_a_run_of_another_valid_may_have_seen_this_one(planted: Graph, tmp_path) -> None:
    """Where valid chooses nothing, only what is test must be the same."""
    config = {"dim": 8, "batch_size": 32}
    stored = replace(planted, splits={"given": (torch.arange(planted.only(planted.target).num_edges) % 9 == 0) * 2})
    first = "given,valid=0.1,seed=1"
    train("mf", stored, split=first, config=config, training=quick(), out=tmp_path / "mf.run")
    for spec in ("given,valid=0.1", "given,valid=0.2,users=0.4,seed=1"):
        with pytest.raises(KgrecError, match=f"with split {first}, but this training uses {spec}, so .* may have seen"):
            train("mf", stored, split=spec, config=config, training=quick(), init=tmp_path / "mf.run")
    for spec in (first, "given,seed=1,valid=0.1", "given"):
        run = train("mf", stored, split=spec, config=config, training=quick(), init=tmp_path / "mf.run")
        assert run.metrics["init"]["vectors"]["user"]["found"] == 60


def test_a_run_that_was_refit_cannot_start_one_that_valid_chooses(planted: Graph, tmp_path) -> None:
    config, split = {"dim": 8, "batch_size": 32}, "last_n:1,valid=1"
    train("mf", planted, split=split, config=config, training=quick(), refit=True, out=tmp_path / "mf.run")
    with pytest.raises(KgrecError, match="was trained with --refit on train"):
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
    with pytest.raises(KgrecError, match="but no run is named; add --init RUN"):
        train("mf", planted, split=split, config=still, init_part="generator")


def test_a_checkpoint_goes_on_from_the_same_start_alone(planted: Graph, tmp_path) -> None:
    """Its refit begins at the start again."""
    how = {"split": "last_n:1", "config": {"dim": 8, "batch_size": 32}, "training": quick()}
    init, out = tmp_path / "mf.run", tmp_path / "r"
    train("mf", planted, out=init, **how)

    def stop(epoch, metrics) -> None:
        if epoch.number == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train("mf", planted, init=init, init_part="user", out=out, report=stop, **how)
    with pytest.raises(KgrecError, match="was made with another init and init_part"):
        train("mf", planted, out=out, resume=True, **how)
    with pytest.raises(KgrecError, match="was made with another init_part"):
        train("mf", planted, init=init, init_part="item", out=out, resume=True, **how)
    run = train("mf", planted, init=init, init_part="user", out=out, resume=True, **how)
    assert set(run.metrics["init"]["vectors"]) == {"user"}


def others(*users: int) -> Graph:
    """Users who have three items each of the planted graph's 40 and of 20 more, backwards."""
    rows = [(f"u{user}", f"i{59 - (user + step) % 60}") for user in users for step in (0, 20, 40)]
    return graph_of(*rows)


def test_a_run_over_another_graph_starts_one_by_ids_whatever_its_split(planted: Graph, tmp_path, capsys) -> None:
    """Users 40 to 79 there, 0 to 59 here: 20 in common; and all of the 40 items."""
    from kgrec.cli.entry import app

    there, config = others(*range(40, 80)), {"dim": 8, "batch_size": 32}
    first = train(
        "mf", there, split="ratio:0.2,seed=1", config=config, training=quick(), refit=True, out=tmp_path / "r"
    )
    still = {**config, "lr": 1e-12}
    split = "last_n:1,valid=1"
    run = train("mf", planted, split=split, config=still, training=quick(epochs=1), init=tmp_path / "r")
    assert run.metrics["init"]["other_graph"] is True
    assert run.metrics["init"]["vectors"]["user"] == {"from": "user", "found": 20, "nodes": 60}
    assert run.metrics["init"]["vectors"]["item"] == {"from": "item", "found": 40, "nodes": 40}
    theirs, ours = there.vocabulary["item"].numbers(["i7"]), planted.vocabulary["item"].numbers(["i7"])
    torch.testing.assert_close(run.model.item.weight[ours], first.model.item.weight[theirs])

    planted.save(tmp_path / "graph")
    how = ["--epochs", "1", "--set", "dim=8", "--split", "last_n:1", "--init", str(tmp_path / "r")]
    app(["train", "mf", str(tmp_path / "graph"), *how, "--init-part", "item"], standalone_mode=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert "(mf, its item): vectors: item 40 of 40 from item" in shown and "not taken: user.weight" in shown
    assert "it was trained on another graph, so it may have seen edges that are held out here" in shown


def test_a_run_over_other_edges_of_the_same_ids_is_one_over_another_graph(planted: Graph, tmp_path) -> None:
    """Its hash is asked for where the splits differ; by the same split nothing more is known, and nothing said."""
    config = {"dim": 8, "batch_size": 32}
    later = planted.where(torch.arange(planted.num_edges) != 0)
    train("mf", later, split="last_n:2", config=config, training=quick(), out=tmp_path / "mf.run")
    for split, found in (("last_n:1", True), ("last_n:2", None)):
        run = train("mf", planted, split=split, config=config, training=quick(), init=tmp_path / "mf.run")
        assert run.metrics["init"].get("other_graph") is found


def test_a_run_over_a_graph_without_a_common_id_is_refused(planted: Graph, tmp_path) -> None:
    config = {"dim": 8, "batch_size": 32}
    strangers = graph_of(("x", "p"), ("x", "q"), ("y", "p"))
    train("mf", strangers, split="last_n:1", config=config, training=quick(), out=tmp_path / "mf.run")
    with pytest.raises(KgrecError, match=r"MF cannot start from MF, .* for ids such as item 'p', 'q', and the"):
        train("mf", planted, split="last_n:1", config=config, training=quick(), init=tmp_path / "mf.run")


def test_biases_go_by_id_too() -> None:
    """As many users and items there as here, in another order."""
    trained, model = models.build("svdpp", THERE, {"dim": 4}), models.build("svdpp", HERE, {"dim": 4})
    with torch.no_grad():
        trained.item_bias.weight[:3] = torch.tensor([[1.0], [2.0], [3.0]])
    taken = initialise(model, HERE, trained, THERE)
    assert model.item_bias.weight.flatten().tolist() == [0, 3, 1, 0]  # d, c, a
    assert taken.vectors["item_bias"] == {"from": "item_bias", "found": 2, "nodes": 3} and taken.layers == ()
    strangers = graph_of(("x", "p"), ("y", "q"), ("z", "r"))
    with pytest.raises(KgrecError, match="it has vectors of size 4 for ids"):
        initialise(models.build("svdpp", strangers, {"dim": 4}), strangers, trained, THERE)


def test_biases_of_a_part_go_to_those_of_the_same_name() -> None:
    """The generator's, which stands first; a part may be named."""
    fields = {"dim": 4, "base_config": {"biases": True}}
    trained, model = models.build("irgan", THERE, fields), models.build("mf", HERE, {"dim": 4, "biases": True})
    with torch.no_grad():
        trained.generator.item_bias.weight[:3] = torch.tensor([[1.0], [2.0], [3.0]])
        trained.discriminator.item_bias.weight[:3] = torch.tensor([[4.0], [5.0], [6.0]])
    for part, expected in ((None, [0, 3, 1, 0]), ("discriminator", [0, 6, 4, 0])):
        taken = initialise(model, HERE, trained, THERE, part)
        assert model.item_bias.weight.flatten().tolist() == expected  # d, c, a
        assert taken.vectors["item_bias"]["from"] == f"{part or 'generator'}.item_bias"


def test_neumf_starts_as_the_product_that_its_vectors_had() -> None:
    """From MF; from a NeuMF, whose h is taken too, as that is."""
    graph = THERE
    query, items = Query(torch.tensor([0, 1]), torch.empty(2, 0, dtype=torch.long)), torch.tensor([3, 4, 5])
    for name in ("mf", "neumf"):
        of_neumf = {"dim": 4, "mlp_dim": 4, "dropout": 0.0}
        model = models.build("neumf", graph, of_neumf)
        trained = models.build(name, graph, of_neumf if name == "neumf" else {"dim": 4})
        initialise(model, graph, trained, graph)
        torch.testing.assert_close(model.score(query, items), trained.score(query, items))
    assert not (model.weight == 1).any()


@pytest.mark.parametrize("name", ["transe", "complex", "transr"])
def test_models_of_facts_go_by_id_and_relations_only_where_they_are_the_same(name: str) -> None:
    """HERE, whose items are films, has another relation between other types."""
    same = graph_of(("cem", "d"), ("ann", "c"), ("dan", "a"))
    trained = models.build(name, THERE, {"dim": 4})
    for graph, relations in ((same, True), (HERE, False)):
        model = models.build(name, graph, {"dim": 4})
        taken = initialise(model, graph, trained, THERE)
        for table, other in zip(model.weighed()[0], trained.weighed()[0]):
            assert torch.equal(table[:2], other[[2, 0]])  # cem, ann
            assert torch.equal(table[4:6], other[[5, 3]])  # c, a
        assert bool(taken.layers) is relations
        assert any("rel" in one for one in taken.left) is not relations


def test_vectors_of_facts_start_a_model_of_another_kind() -> None:
    trained, model = models.build("transe", THERE, {"dim": 4}), models.build("mf", HERE, {"dim": 4})
    taken = initialise(model, HERE, trained, THERE)
    assert taken.vectors["item"] == {"from": "kge.node_emb", "found": 2, "nodes": 3}
    assert torch.equal(model.user.weight[:2], trained.kge.node_emb.weight[[2, 0]])


def test_columns_are_taken_where_they_say_the_same() -> None:
    def told(*genres: str) -> Graph:
        items = pd.DataFrame({"id": ["a", "b"], "genre": list(genres), "year": [1.0, 2.0]})
        rated = pd.DataFrame({"source": ["ann", "bob"], "target": ["a", "b"]})
        kinds = {"item": {"genre": "categorical", "year": "numeric"}}
        return Graph.from_frames(edges={("user", "rated", "item"): rated}, nodes={"item": items}, features=kinds)

    there, config = told("drama", "war"), {"dim": 4, "features": ("genre", "year")}
    trained = models.build("mf", there, config)
    for graph, genres in ((there, True), (told("drama", "noir"), False)):
        model = models.build("mf", graph, config)
        taken = initialise(model, graph, trained, there)
        of = {name: index for index, (_, name) in enumerate(model.item.features.names)}
        assert (f"item.features.columns.{of['genre']}.weight" in taken.layers) is genres
        assert f"item.features.columns.{of['year']}.weight" in taken.layers
        column, other = (part.item.features.columns[of["year"]] for part in (model, trained))
        assert torch.equal(column.weight, other.weight)


def test_the_command_says_what_was_taken(planted: Graph, tmp_path, capsys) -> None:
    from kgrec.cli.entry import app

    planted.save(tmp_path / "graph")
    how = ["--epochs", "1", "--set", "dim=8", "--split", "last_n:1"]
    app(["train", "mf", str(tmp_path / "graph"), "--out", str(tmp_path / "mf.run"), *how], standalone_mode=False)
    start = ["--init", str(tmp_path / "mf.run")]
    app(["train", "lightgcn", str(tmp_path / "graph"), *how, *start], standalone_mode=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert "(mf): vectors: user 60 of 60 from user, item 40 of 40 from item; layers: none; not taken: none" in shown


def test_the_command_says_which_relations_went_by_name(planted: Graph, tmp_path, capsys) -> None:
    """Of two relations one has another name there: it and its inverse start anew, the other two of four go by name."""
    from kgrec.cli.entry import app

    names = {"has_genre": "of_kind"}
    edges = {(s, names.get(r, r), t): edge for (s, r, t), edge in planted.schema.edges.items()}
    replace(planted, schema=replace(planted.schema, edges=edges)).save(tmp_path / "graph")
    config = {"dim": 8, "batch_size": 32}
    train("transe", planted, split="last_n:1", config=config, training=quick(epochs=1), out=tmp_path / "there")
    how = ["--epochs", "1", "--set", "dim=8", "--split", "last_n:1", "--init", str(tmp_path / "there")]
    app(["train", "transe", str(tmp_path / "graph"), *how], standalone_mode=False)
    assert "layers: kge.rel_emb.weight (2 of 4 by name); not taken: none" in " ".join(capsys.readouterr().out.split())
