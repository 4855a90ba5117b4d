"""A run or graph folder from a stranger: it runs no code, reads nothing outside itself, takes no memory beyond its own
size, and what is wrong with it is said with file and key."""

import contextlib
import dataclasses
import json
import os
import resource
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from kgrec import models
from kgrec.cli.entry import main
from kgrec.errors import BadData, KgrecError
from kgrec.files import file_hash
from kgrec.graph import Graph
from kgrec.json_files import read_object
from kgrec.run import Run, train
from kgrec.serving.numpy_scorer import load_scores
from kgrec.settings import configure
from kgrec.sources.checking.graph_check import check_graph
from kgrec.studies.comparison import compare
from kgrec.training.config import TrainingConfig
from kgrec.training.run_folder import Artifact, save_artifact

FOREIGN = "evil_module.inner"  #: leaves a trace when it is imported
USERS, ITEMS = 6, 5
MEGABYTES = 400  #: that the peak of memory may grow by while what asks for too much is refused


@pytest.fixture(scope="module")
def graph() -> Graph:
    rated = [(f"u{u}", f"i{(u + step) % ITEMS}", step + 1, 1.0) for u in range(USERS) for step in range(3)]
    items = pd.DataFrame({"id": [f"i{i}" for i in range(ITEMS)], "label": [f"Item {i}" for i in range(ITEMS)]})
    items["price"] = np.arange(ITEMS) / 2
    items["colour"] = [["red", "blue"][i % 2] for i in range(ITEMS)]
    items["tags"] = [["new"] if i % 2 else ["old", "new"] for i in range(ITEMS)]
    items["picture"] = [[float(i), 1.0] for i in range(ITEMS)]
    made_by = pd.DataFrame({"source": items["id"], "target": [f"b{i % 2}" for i in range(ITEMS)]})
    return Graph.from_frames(
        nodes={"item": items},
        edges={
            ("user", "rated", "item"): pd.DataFrame(rated, columns=["source", "target", "time", "weight"]),
            ("item", "made_by", "brand"): made_by,
        },
        target=("user", "rated", "item"),
    )


def save(name: str, graph: Graph, folder: Path, **config: object) -> None:
    """An untrained run of a model."""
    known = {field.name for field in dataclasses.fields(models.find(name).Config)}
    small = {"dim": 4, "relation_dim": 4, "layer_dims": (4,), "hidden": (4,), "mlp_dim": 4}
    built = models.build(name, graph, {key: value for key, value in small.items() if key in known} | config)
    settings = dataclasses.asdict(built.config)
    save_artifact(Artifact(name, settings, graph, built.state_dict(), behaviours=built.behaviours), folder)


@pytest.fixture
def run(graph, tmp_path) -> Path:
    save("mf", graph, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def folder(graph, tmp_path) -> Path:
    graph.save(tmp_path / "graph")
    return tmp_path / "graph"


@pytest.fixture
def evil(tmp_path, monkeypatch) -> Path:
    """The file that a foreign module leaves where it is imported."""
    trace = tmp_path / "trace"
    (tmp_path / "path" / "evil_module").mkdir(parents=True)
    for name in ("__init__", "inner"):
        (tmp_path / "path" / "evil_module" / f"{name}.py").write_text(f"open({str(trace)!r}, 'w').close()")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    return trace


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def listed_again(run: Path, name: str) -> None:
    """A stranger who alters a file writes its size and hash into config.json as well."""
    files = json.loads((run / "config.json").read_text())["files"]
    files[name] = {"bytes": (run / name).stat().st_size, "sha256": file_hash(run / name)}
    change(run / "config.json", files=files)


# ---------------------------------------------------------------------- code


@pytest.mark.parametrize("name", models.builtin_names())
def test_no_field_of_any_model_imports_what_it_names(graph, tmp_path, evil, name):
    save(name, graph, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    fields = [field.name for field in dataclasses.fields(models.find(name).Config)]
    dotted = (FOREIGN, f"{FOREIGN}:Model", "evil_module")
    for field in [*fields, "base", "model"]:
        for value in (
            *dotted,
            {"base": FOREIGN},
            {"model": FOREIGN},
            {FOREIGN: FOREIGN},
            [FOREIGN],
            [{"base": FOREIGN}],
        ):
            file.write_text(json.dumps(config | {"config": config["config"] | {field: value}}))
            with contextlib.suppress(KgrecError):  # most fields take no such value; where one does, the run is loaded
                Run.load(tmp_path / "run")
            assert not evil.exists() and "evil_module" not in sys.modules, (field, value)
    for key in ("model", "split", "candidates", "graph", "training", "versions", "package", "behaviours"):
        for value in (FOREIGN, {"name": FOREIGN}, [FOREIGN]):
            file.write_text(json.dumps(config | {key: value}))
            with contextlib.suppress(KgrecError):  # most fields take no such value; where one does, the run is loaded
                Run.load(tmp_path / "run")
            assert not evil.exists() and "evil_module" not in sys.modules, (key, value)


def test_the_trace_is_left_where_the_module_is_imported(evil):
    with pytest.raises(KgrecError, match="must define exactly one model"):
        models.find(FOREIGN)
    assert evil.exists()
    for name in ("evil_module", FOREIGN):
        sys.modules.pop(name)


@pytest.mark.parametrize("name", ["irgan", "dnen"])
def test_a_foreign_base_is_refused_everywhere(graph, tmp_path, evil, name, capsys, monkeypatch):
    save(name, graph, tmp_path / "run")
    graph.save(tmp_path / "graph")
    pd.DataFrame({"user": ["u0"], "item": ["i0"]}).to_csv(tmp_path / "pairs.csv", index=False)
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    deep = {"base": "irgan", "base_config": {"base": "dnen", "base_config": {"base": FOREIGN}}}
    for settings in ({"base": FOREIGN}, {"base": f"{FOREIGN}:Any"}, deep, {"d_config": {"base": FOREIGN}}):
        file.write_text(json.dumps(config | {"config": config["config"] | settings}))
        with pytest.raises(KgrecError):
            Run.load(tmp_path / "run")
        with pytest.raises(KgrecError):
            train("mf", graph, split="last_n:1", init=str(tmp_path / "run"), config={"dim": 4})
    run, shop = str(tmp_path / "run"), str(tmp_path / "graph")
    file.write_text(json.dumps(config | {"config": config["config"] | {"base": FOREIGN}}))
    for arguments in (
        ["recommend", run, "--user", "u0"],
        ["evaluate", run, shop],
        ["predict", run, str(tmp_path / "pairs.csv")],
        ["train", "mf", shop, "--split", "last_n:1", "--init", run],
        ["generate", run],
    ):
        monkeypatch.setattr(sys, "argv", ["kgrec", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code in (1, 2) and "Traceback" not in capsys.readouterr().err
    assert not evil.exists() and "evil_module" not in sys.modules


OWN = """
from kgrec.models.mf import MF, MFConfig


class Own(MF):
    Config = MFConfig
"""


def test_a_base_of_ones_own_is_trusted_by_its_name(graph, tmp_path, monkeypatch):
    (tmp_path / "own_models").mkdir()
    (tmp_path / "own_models" / "mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    save("irgan", graph, tmp_path / "run", base="own_models.mine")
    with pytest.raises(KgrecError, match=r"model 'own_models\.mine' is not built in, and a saved run"):
        Run.load(tmp_path / "run")
    with pytest.raises(KgrecError, match=r"model 'own_models\.mine' is not built in"):
        Run.load(tmp_path / "run", trust="own_models")
    for trust in ("own_models.mine", "other.one, own_models.mine", ["own_models.mine"]):
        again = Run.load(tmp_path / "run", trust=trust)
        assert type(again.model.generator).__name__ == "Own"
    assert models.find("own_models.mine").__name__ == "Own"  # outside of a folder the user names what there is
    settings = configure(TrainingConfig, {"epochs": 1, "device": "cpu"})
    started = {"split": "last_n:1", "training": settings, "init": str(tmp_path / "run")}
    with pytest.raises(KgrecError, match=r"model 'own_models\.mine' is not built in"):
        train("mf", graph, config={"dim": 4}, **started)
    named = {"dim": 4, "base": "own_models.mine", "pretrain_epochs": 0}
    assert train("irgan", graph, config=named, **started).metrics["init"]["vectors"]


# ---------------------------------------------------------------------- nothing outside


def links(place: Path, outside: Path) -> list[tuple[str, bool]]:
    """Each file and folder of a folder, and whether it is a folder."""
    return [(str(path.relative_to(place)), path.is_dir()) for path in sorted(place.rglob("*"))]


def test_a_link_in_a_run_or_graph_folder_is_refused(run, folder, tmp_path):
    shutil.copytree(run, tmp_path / "other")
    for place in (run, folder):
        for name, _ in links(place, tmp_path):
            path, away = place / name, tmp_path / "away"
            path.rename(away)
            path.symlink_to(away)
            for load in (Run.load, load_scores) if place == run else (Graph.load,):
                with pytest.raises(KgrecError, match="no file but a link, pipe or device, and may lead out"):
                    load(place)
            if place == run:
                with pytest.raises(KgrecError, match="no file but a link"):
                    compare([place, tmp_path / "other"])
            else:
                assert "no file but a link" in str(check_graph(place)[0])
            path.unlink()
            away.rename(path)
    Run.load(run), Graph.load(folder)  # as before
    (run / "extra").symlink_to("/nowhere")
    (folder / "splits" / "last.parquet").symlink_to("/etc/passwd")
    for load, place in ((Run.load, run), (Graph.load, folder)):
        with pytest.raises(KgrecError, match="no file but a link"):
            load(place)


def test_a_pipe_is_not_waited_for(run, folder):
    os.mkfifo(run / "recipe.json")
    os.mkfifo(folder / "splits" / "last.parquet")
    for load, place in ((Run.load, run), (Graph.load, folder)):
        with pytest.raises(KgrecError, match=r"holds '.*', which is no file but a link, pipe or device"):
            load(place)


def test_the_folder_itself_may_be_reached_by_a_link(run, folder, tmp_path):
    (tmp_path / "a").symlink_to(run)
    (tmp_path / "b").symlink_to(folder)
    assert Run.load(tmp_path / "a").name == "mf" and Graph.load(tmp_path / "b").num_edges > 0


OUTSIDE = ["../secret", "/etc/passwd", "nodes/../../secret", "..", ".", "", "nodes\\..\\secret", "C:/secret", "a\x00b"]
OUTSIDE += ["nodes//item.parquet", "./nodes/item.parquet", "x" * 5000, "a/" * 3000 + "b", "\ud800"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_list_of_files_names_nothing_outside(run, folder, name, tmp_path):
    (tmp_path / "secret").write_text("secret")
    digest = file_hash(tmp_path / "secret")
    files = json.loads((folder / "graph.json").read_text())["files"]
    change(folder / "graph.json", files=files | {name: digest})
    with pytest.raises(
        KgrecError, match=r"graph\.json lists the file .*, which is outside of this folder, so it was altered"
    ):
        Graph.load(folder)
    assert any("lists the file" in str(problem) for problem in check_graph(folder))
    files = json.loads((run / "config.json").read_text())["files"]
    change(run / "config.json", files=files | {name: {"bytes": 6, "sha256": digest}})
    with pytest.raises(
        KgrecError, match=r"config\.json lists the file .*, which is none of this folder; it is altered"
    ):
        Run.load(run)


def test_names_in_a_schema_lead_nowhere(run, folder):
    for name in ("../x", "/etc/passwd", "a/b", "a" * 5000):
        for file, load, place in ((run / "schema.json", Run.load, run), (folder / "graph.json", Graph.load, folder)):
            held = file.read_text()
            document = json.loads(held)
            document["nodes"][name] = {"count": 1}
            file.write_text(json.dumps(document))
            if place == run:
                listed_again(run, "schema.json")
            with pytest.raises(KgrecError):
                load(place)
            file.write_text(held)


# ---------------------------------------------------------------------- sizes


def peak_megabytes() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def refused_cheaply(load, place: Path, **match: str) -> None:
    peak = peak_megabytes()
    with pytest.raises(KgrecError, **match):
        load(place)
    assert peak_megabytes() - peak < MEGABYTES


HUGE = [10**6, 10**9, 10**12, 1 << 62, 10**30]


@pytest.mark.parametrize("name", models.builtin_names())
def test_settings_ask_for_no_more_than_the_weights_have(graph, tmp_path, name):
    save(name, graph, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    shaped = {"dim", "relation_dim", "mlp_dim", "noise_dim", "draws", "length", "layers", "blocks", "feedforward"}
    for field, value in config["config"].items():
        wide = isinstance(value, list) and field in ("hidden", "d_hidden", "layer_dims")
        if (field in shaped and not (name in ("irgan", "dnen") and field == "draws")) or wide:
            for size in HUGE:
                huge = [size] if wide else size
                file.write_text(json.dumps(config | {"config": config["config"] | {field: huge}}))
                peak = peak_megabytes()
                try:
                    Run.load(tmp_path / "run")
                except KgrecError as error:
                    assert str(tmp_path / "run") in str(error) or field in str(error)
                else:
                    assert field in ("length", "layers", "hidden")  # of no stored shape in this model
                assert peak_megabytes() - peak < MEGABYTES, (field, size)


def test_a_model_of_models_of_models_is_refused_cheaply(graph, tmp_path):
    save("irgan", graph, tmp_path / "run")
    nested: dict[str, object] = {"base": "mf"}
    for _ in range(25):  # each holds two of the next: 2 ** 25 tables
        nested = {"base": "irgan", "base_config": nested}
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    change(tmp_path / "run" / "config.json", config=config | nested)
    refused_cheaply(Run.load, tmp_path / "run")


@pytest.mark.parametrize("name", ["ease", "itemknn", "popularity", "mf", "gan", "kgat", "sasrec"])
def test_counts_of_a_schema_are_those_of_the_ids(graph, tmp_path, name):
    save(name, graph, tmp_path / "run")
    for count in (10**6, 2**31 - 1, 2**31, 10**12, 10**30, -1):
        schema = json.loads((tmp_path / "run" / "schema.json").read_text())
        schema["nodes"]["item"]["count"] = count
        (tmp_path / "run" / "schema.json").write_text(json.dumps(schema))
        listed_again(tmp_path / "run", "schema.json")
        refused_cheaply(Run.load, tmp_path / "run", match=r"item|nodes is \d")


@pytest.mark.parametrize("features", [("picture", "dim"), ("tags", "entries")])
@pytest.mark.parametrize("size", [10**6, 10**9, 10**12, 10**30])
def test_sizes_of_features_are_those_of_the_weights(graph, tmp_path, features, size):
    save("mf", graph, tmp_path / "run", features=("all",))
    column, key = features
    schema = json.loads((tmp_path / "run" / "schema.json").read_text())
    schema["nodes"]["item"]["features"][column][key] = size
    (tmp_path / "run" / "schema.json").write_text(json.dumps(schema))
    listed_again(tmp_path / "run", "schema.json")
    refused_cheaply(Run.load, tmp_path / "run")


def test_many_ids_do_not_make_a_square_of_weights(tmp_path):
    """EASE has a weight for each pair of items: 40,000 ids of 4 bytes would be 6.4 GB."""
    many = 40_000
    items = pd.DataFrame({"id": [str(number) for number in range(many)]})
    rated = pd.DataFrame({"source": ["a"], "target": ["0"]})
    graph = Graph.from_frames(nodes={"item": items}, edges={("user", "rated", "item"): rated})
    few = Artifact("ease", {"l2": 1.0, "facts": 0.0}, graph, {"weight": torch.zeros(2, 2)})
    save_artifact(few, tmp_path / "run")
    refused_cheaply(Run.load, tmp_path / "run", match="would take more than .* bytes")


def test_a_folder_that_asks_for_terabytes_takes_little_memory(graph, tmp_path, megabytes_of):
    save("mf", graph, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    for width in (3 * 10**6, 10**9):
        change(tmp_path / "run" / "config.json", config=config | {"dim": width})
        step = f"try:\n    Run.load({str(tmp_path / 'run')!r})\nexcept KgrecError as error:\n    print(error)\n"
        setup = "from kgrec.run import Run\nfrom kgrec.errors import KgrecError\nimport os\nprint = lambda *_: None"
        setup = setup.replace("print = lambda *_: None", "")
        step = step.replace("print(error)", "refused = error")
        assert megabytes_of(setup, step) < 500


def test_a_header_of_weights_that_lies_is_refused(run):
    for shape, end in (([10**12], 4), ([10**12], 4 * 10**12), ([1 << 62, 1 << 62], 16), ([-1], 4), (["9"], 4), ({}, 4)):
        header = json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
        (run / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 16)
        listed_again(run, "model.safetensors")
        refused_cheaply(Run.load, run, match=r"model\.safetensors")
    for length in (1 << 63, 10**9, 17):
        (run / "model.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}" * 8)
        listed_again(run, "model.safetensors")
        refused_cheaply(Run.load, run, match=r"model\.safetensors")


# ---------------------------------------------------------------------- types


WRONG = [None, True, 7, -7, 1.5, 10**40, "text", [], [1], ["a", ["b"]], {}, {"a": {"b": 1}}, float("nan"), float("inf")]


def paths(value: object, above: tuple = ()) -> list[tuple]:
    """The place of every value in a JSON document, of the first entry of each list."""
    found = [above] if above else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += paths(inner, (*above, key))
    if isinstance(value, list) and value:
        found += paths(value[0], (*above, 0))
    return found


def replaced(document: object, path: tuple, value: object) -> object:
    changed = json.loads(json.dumps(document))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize("file", ["config.json", "schema.json", "metrics.json"])
def test_values_of_a_wrong_type_in_a_run_are_said(graph, tmp_path, file):
    settings = configure(TrainingConfig, {"epochs": 1, "device": "cpu"})
    few = {"metrics": ["ndcg@10"], "config": {"dim": 4}}  # each metric is a place of its own
    train("mf", graph, split="last_n:1,valid=1", training=settings, **few, out=tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    document, refused = json.loads((tmp_path / "run" / file).read_text()), 0
    for path in paths(document):
        if path[0] == "files" and len(path) > 1 and path[1] != "schema.json":
            continue  # one file stands for all
        for value in WRONG:
            (tmp_path / "run" / file).write_text(json.dumps(replaced(document, path, value)))
            if file != "config.json":
                listed_again(tmp_path / "run", file)
            reads = [lambda run: Run.load(run).recommend(["u0"], k=1)]
            if path[0] not in ("config", "training"):  # which only a load reads
                reads += [lambda run: compare([run, tmp_path / "other"]), load_scores]
            for read in reads:
                try:
                    read(tmp_path / "run")
                except KgrecError:
                    refused += 1
    assert refused > 100


def test_values_of_a_wrong_type_in_a_graph_are_said(folder):
    document, refused = json.loads((folder / "graph.json").read_text()), 0
    for path in paths(document):
        for value in WRONG:
            (folder / "graph.json").write_text(json.dumps(replaced(document, path, value)))
            check_graph(folder)
            try:
                Graph.load(folder)
            except KgrecError:
                refused += 1
    assert refused > 300


@pytest.mark.parametrize(
    ("change_of", "message"),
    [
        ({"model": {"name": "mf"}}, r"config\.json .*: model is an object, \{'name': 'mf'\}, and a text is wanted"),
        ({"model": ["mf"]}, r"config\.json .*: model is a list, \['mf'\], and a text is wanted"),
        ({"config": ["dim"]}, r"config\.json .*: config is a list, .* and an object is wanted"),
        ({"behaviours": "rated"}, r"config\.json .*: behaviours is the text 'rated', and a list is wanted"),
        ({"behaviours": [1]}, r"config\.json .*: behaviours\.0 is 1, and a text is wanted"),
        ({"lean": "no"}, r"config\.json .*: lean is the text 'no', and true or false is wanted"),
        ({"split": 7}, r"config\.json .*: split is 7, and a text or null is wanted"),
        ({"graph": True}, r"config\.json .*: graph is True, and a text is wanted"),
        ({"config": {"dim": float("nan")}}, r"config\.json .*: config\.dim is nan, and a finite number is wanted"),
    ],
)
def test_a_wrong_value_of_config_json_is_named(run, change_of, message):
    change(run / "config.json", **change_of)
    with pytest.raises(KgrecError, match=message):
        Run.load(run)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("nodes", "item", "count"), 5.0, r"nodes\.item\.count is 5\.0, and a whole number from 0 to"),
        (("nodes", "item", "count"), "5", r"nodes\.item\.count is the text '5', and a whole number"),
        (("nodes", "item", "count"), -1, r"nodes\.item\.count is -1, and a whole number"),
        (("nodes", "item", "count"), True, r"nodes\.item\.count is True, and a whole number"),
        (("nodes", "item", "features"), [], r"nodes\.item\.features is a list, \[\], and an object is wanted"),
        (
            ("nodes", "item", "features", "colour", "categories"),
            "red",
            r"nodes\.item\.features\.colour\.categories is the text",
        ),
        (
            ("nodes", "item", "features", "picture", "dim"),
            1e3,
            r"nodes\.item\.features\.picture\.dim is 1000\.0, and a whole",
        ),
        (("nodes",), [], r"nodes is a list, \[\], and an object is wanted"),
        (("edges", 0, "source"), {}, r"edges\.0\.source is an object, \{\}, and a text is wanted"),
        (("target",), {"user": 1}, r"target is an object, .* and a list is wanted"),
        (("target",), ["user"], r"target is a list, \['user'\], and a list of source, relation and target is wanted"),
        (("files",), ["nodes/item.parquet"], r"files is a list, .* and an object is wanted"),
        (("files", "nodes/item.parquet"), 7, r"files\.nodes/item\.parquet is 7, and a text is wanted"),
        (("format",), {}, r"format is an object, \{\}, and a whole number from 1 to"),
        (("format",), True, r"format is True, and a whole number"),
    ],
)
def test_a_wrong_value_of_graph_json_is_named(folder, path, value, message):
    document = json.loads((folder / "graph.json").read_text())
    (folder / "graph.json").write_text(json.dumps(replaced(document, path, value)))
    with pytest.raises(KgrecError, match=rf"graph\.json is not of the form that kgrec writes: {message}"):
        Graph.load(folder)


ODD_JSON = {
    "deep list": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "deep and open": "[" * 100_000,
    "deep in a key": '{"config": ' + "[" * 100 + "]" * 100 + "}",
    "twice": '{"format": 1, "format": 2}',
    "twice below": '{"nodes": {"a": 1, "a": 2}}',
    "many digits": '{"format": ' + "9" * 10_000 + "}",
    "a list": "[1]",
    "a number": "7",
    "nothing": "",
    "cut": '{"format": 1',
    "not UTF-8": b"\xff\xfe{}",
}


@pytest.mark.parametrize("text", ODD_JSON.values(), ids=list(ODD_JSON))
def test_json_of_an_odd_form_is_said(run, folder, text):
    content = text if isinstance(text, bytes) else text.encode()
    for name in ("schema.json", "metrics.json", "config.json"):
        held = (run / name).read_bytes()
        (run / name).write_bytes(content)
        if name != "config.json":
            listed_again(run, name)
        refused_cheaply(Run.load, run, match=rf"{name} .*train again")
        (run / name).write_bytes(held)
        if name != "config.json":
            listed_again(run, name)
    (folder / "graph.json").write_bytes(content)
    refused_cheaply(Graph.load, folder, match=r"graph\.json .*build the graph again")
    assert len(check_graph(folder)) == 1


def test_a_json_file_is_not_read_beyond_its_limit(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"a": "b" * 1000}))
    assert len(read_object(tmp_path / "x.json")["a"]) == 1000
    with pytest.raises(KgrecError, match=r"x\.json has 1,009 bytes, and at most 1,000 are read"):
        read_object(tmp_path / "x.json", longest=1000)


# ---------------------------------------------------------------------- numbers in tables


def rewrite(folder: Path, name: str, column: str, values: pa.Array) -> None:
    table = pq.read_table(folder / name, partitioning=None)
    place = table.column_names.index(column) if column in table.column_names else table.num_columns
    table = table.drop_columns([column]) if column in table.column_names else table
    pq.write_table(table.add_column(min(place, table.num_columns), column, values), folder / name)
    files = json.loads((folder / "graph.json").read_text())["files"]
    change(folder / "graph.json", files=files | {name: file_hash(folder / name)})


@pytest.mark.parametrize("weight", [1e301, -1e301, float("inf"), 1e39])
def test_a_weight_that_no_float_holds_is_said(graph, folder, run, weight):
    edges = graph.only("rated").num_edges
    rewrite(folder, "edges/user__rated__item.parquet", "weight", pa.array([weight] + [1.0] * (edges - 1)))
    with pytest.raises(BadData, match=r"1 edges of relation 'rated' have a weight that is infinite or above 3\.4e38"):
        Graph.load(folder)
    history = pq.read_table(run / "history.parquet")
    place = history.column_names.index("weight")
    pq.write_table(
        history.set_column(place, "weight", pa.array([weight] * len(history), pa.float64())), run / "history.parquet"
    )
    listed_again(run, "history.parquet")
    with pytest.raises(BadData, match="have a weight that is infinite or above"):
        Run.load(run)


@pytest.mark.parametrize("value", [1e301, float("inf")])
def test_a_feature_that_no_float_holds_is_said_where_it_is_read(folder, value):
    rewrite(folder, "nodes/item.parquet", "price", pa.array([value] + [1.0] * (ITEMS - 1)))
    graph = Graph.load(folder)
    with pytest.raises(KgrecError, match=r"feature 'price' of item has an infinite value at 1 nodes: 'i0'"):
        models.build("mf", graph, {"dim": 4, "features": ("price",)})
    assert any("infinite" in str(problem) for problem in check_graph(folder))


def test_a_vector_is_not_made_room_for_where_none_is_there(folder):
    rewrite(folder, "nodes/item.parquet", "picture", pa.nulls(ITEMS, pa.list_(pa.float32())))
    for dim in (1 << 24, 1 << 30, 10**12):
        document = json.loads((folder / "graph.json").read_text())
        document["nodes"]["item"]["features"]["picture"]["dim"] = dim
        (folder / "graph.json").write_text(json.dumps(document))
        refused_cheaply(Graph.load, folder, match=r"picture\.dim is .*, and a whole number from 0 to 1,048,576")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("source", pa.array(["u0"])),
        ("source", pa.array([None], pa.int32())),
        ("target", pa.array([[1]])),
        ("target", pa.array([1 << 40])),
        ("target", pa.array([-1])),
        ("time", pa.array(["yesterday"])),
        ("time", pa.array([[1]])),
        ("weight", pa.array(["much"])),
        ("weight", pa.array([None], pa.float32())),
    ],
)
def test_a_history_of_wrong_types_is_said(run, column, values):
    history = pq.read_table(run / "history.parquet").slice(0, 1)
    history = history.set_column(history.column_names.index(column), column, values)
    pq.write_table(history, run / "history.parquet")
    listed_again(run, "history.parquet")
    with pytest.raises(KgrecError):
        Run.load(run)


def test_a_table_that_is_made_to_fill_the_memory_is_refused(run, folder):
    """A text of a megabyte that the file keeps once, for 4,000 rows."""
    texts = pa.array(["x" * 1_000_000], pa.string())
    label = pa.DictionaryArray.from_arrays(pa.array([0] * 4_000, pa.int32()), texts)
    table = pa.table({"id": pa.array([str(row) for row in range(4_000)]), "label": label})
    for place, name in ((folder, "nodes/item.parquet"), (run, "vocabulary/item.parquet")):
        pq.write_table(table, place / name)
        assert (place / name).stat().st_size < 200_000
        if place == run:
            listed_again(run, name)
        else:
            files = json.loads((folder / "graph.json").read_text())["files"]
            change(folder / "graph.json", files=files | {name: file_hash(folder / name)})
        with pytest.raises(
            KgrecError, match=r"item\.parquet is truncated or altered: says that it has 4,0.*fill the memory"
        ):
            (Run.load if place == run else Graph.load)(place)
    assert "fill the memory" in str(check_graph(folder)[0])
