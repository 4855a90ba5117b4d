"""Models of somebody else's: they keep the contract of kgrec.testing unedited, and a package registers them by name."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from typer.testing import CliRunner

import kgrec
from kgrec import models
from kgrec.cli.entry import app
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import Objective
from kgrec.rows import RelationRows, rows_of
from kgrec.testing import ModelContract, trained
from kgrec.testing.model_checks import withheld_items_are_left_alone
from kgrec.training.job import TrainingJob

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module", autouse=True)
def on_the_path() -> Iterator[None]:
    """The package's folder, as if it were installed without its entry points."""
    sys.path.insert(0, str(PLUGIN))
    yield
    sys.path.remove(str(PLUGIN))


class TestMultVAE(ModelContract):
    """Mult-VAE has one batch or a few an epoch, so it needs more of them."""

    model = "kgrec_extra.multvae"
    config: ClassVar = {"hidden": 32, "dim": 16, "batch_size": 20, "lr": 0.01}
    epochs = 30


class TestKGIN(ModelContract):
    """Users and entities are passed along relations."""

    model = "kgrec_extra.kgin"
    config: ClassVar = {"dim": 16, "batch_size": 32, "lr": 0.01, "l2": 1e-3}
    epochs = 20


class TestLRURec(ModelContract):
    """A linear recurrence reads the sequence."""

    model = "kgrec_extra.lrurec"
    config: ClassVar = {"dim": 16, "batch_size": 32, "lr": 0.01, "length": 10}
    epochs = 20


def test_kgatseq_has_the_network_of_a_packages_sequence_model(planted: Graph) -> None:
    further = {"encoder": "kgrec_extra.lrurec", "encoder_config": {"units": 3}}
    model = models.build("kgatseq", planted, {"dim": 4, "layer_dims": [4], **further})
    assert type(model.encoder).__name__ == "LinearRecurrence" and len(model.encoder.units) == 3


def test_kgins_relations_are_declared_so_that_another_graphs_are_not_taken_for_them(planted: Graph) -> None:
    rows = rows_of(models.build("kgrec_extra.kgin", planted, {"dim": 4, "intents": 3}))
    both = [("item", "has_genre", "genre"), ("genre", "rev_has_genre", "item")]
    assert rows["relation"] == rows["share"] == RelationRows(both)
    assert list(rows["node.weight"].counts) == ["user", "item", "genre"]


def test_a_multvae_whose_softmax_is_over_withheld_items_breaks_the_contract() -> None:
    """It learns as well as the other, and pushes down what nobody could have had."""
    from kgrec_extra import multvae

    class DrawsWithheld(multvae.MultVAE):
        def objectives(self, graph: Graph) -> list[Objective]:
            return super().objectives(replace(graph, withheld=None))

    multvae.DrawsWithheld = DrawsWithheld
    subject = trained("kgrec_extra.multvae:DrawsWithheld", TestMultVAE.config, TestMultVAE.epochs)
    with pytest.raises(AssertionError, match=r"gradient for entries of \['decoder\.2\.bias', 'decoder\.2\.weight'\]"):
        withheld_items_are_left_alone(subject)


def test_a_model_is_one_file_of_at_most_80_lines() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in PLUGIN.rglob("*.py")}
    assert {"kgin.py", "lrurec.py", "multvae.py"} <= set(lines)
    assert max(lines.values()) <= 80


# ---------------------------------------------------------------- models that a package registers


def installed(folder: Path, name: str, models: dict[str, str], files: dict[str, str] | None = None) -> Path:
    """A folder as pip leaves it: what a package says of itself, with its entry points, and modules by file name."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{model} = {path}" for model, path in models.items()]
    (info / "entry_points.txt").write_text("\n".join(["[kgrec.models]", *lines, ""]))
    for file, text in (files or {}).items():
        (folder / file).write_text(text)
    return folder


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package beside this file, installed: its modules, and the entry points of its pyproject.toml."""
    folder = tmp_path_factory.mktemp("site")
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    installed(folder, project["name"], project["entry-points"]["kgrec.models"])
    shutil.copytree(PLUGIN / "kgrec_extra", folder / "kgrec_extra", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def command(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The kgrec command, or `-c` and Python text, in a new process that sees this folder of packages too."""
    words = ["-c", arguments[1]] if arguments[0] == "-c" else ["-m", "kgrec", *map(str, arguments)]
    folders = [str(Path(kgrec.__file__).parents[1]), *([] if path is None else [str(path)])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)


def test_a_package_that_is_installed_brings_models_by_name(
    extra: Path, planted: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are trained, listed, loaded and asked as the built-in ones, and without the package its name is said."""
    graph, run = tmp_path / "graph", tmp_path / "run"
    planted.save(graph)
    small = ("--set", "dim=8", "--set", "intents=3", "--epochs", 2, "--device", "cpu")
    done = command("train", "kgin", graph, "--split", "last_n:2", *small, "--out", run, path=extra)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "config.json").read_text())["package"] == {"name": "kgrec-extra", "version": "1.0"}
    with pytest.raises(KgrecError) as error:
        kgrec.Run.load(run)
    assert "model 'kgin', which is not installed here" in str(error.value)
    assert "install the package that it was trained with, kgrec-extra 1.0 (pip install kgrec-extra)" in str(error.value)
    monkeypatch.syspath_prepend(extra)
    listed = CliRunner().invoke(app, ["models"])
    assert listed.exit_code == 0 and {"kgin", "lrurec", "mf", "multvae"} <= set(listed.stdout.split())
    fields = json.loads(CliRunner().invoke(app, ["models", "kgin", "--json"]).stdout)["fields"]
    assert {field["name"]: field["meaning"] for field in fields}["intents"] == "number of intents, P"
    loaded = kgrec.Run.load(run)
    assert (type(loaded.model).__name__, loaded.name) == ("KGIN", "kgin")
    assert len(kgrec.recommend(loaded, ["u1"], k=2)) == 1


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Installs packages where this process finds them; their modules are forgotten at the end."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield functools.partial(installed, tmp_path)
    for name in [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


MINE = "from kgrec.models.popularity import Popularity\nclass Mine(Popularity):\n    pass\n"


def test_a_package_that_cannot_be_imported_is_named_and_the_rest_works(packages: Callable[..., Path]) -> None:
    files = {"good_model.py": MINE, "bad_model.py": "import no_such_library"}
    packages("good-models", {"mine": "good_model:Mine", "lost": "good_model:Lost", "ease": "good_model:Mine"}, files)
    packages("bad-models", {"bad": "bad_model:Bad"})
    assert {"mine", "lost", "bad", "ease", "mf"} <= set(models.names())
    assert not {"mine", "lost", "bad"} & set(models.builtin_names())
    assert models.find("mine").__name__ == "Mine" and models.find("mine", builtin_only=True) is models.find("mine")
    assert models.find("ease").__name__ == "EASE"
    with pytest.raises(KgrecError, match=r"'bad' of the package bad-models 1\.0 \(bad_model:Bad\) cannot be imported"):
        models.find("bad")
    broken = models.broken()
    assert set(broken) == {"bad", "lost", "good_model:Mine"}
    assert "ModuleNotFoundError: No module named 'no_such_library'; update or reinstall that package" in broken["bad"]
    assert "no model 'Lost' in module good_model" in broken["lost"]
    assert "good-models 1.0 registers it as 'ease', which is a built-in model" in broken["good_model:Mine"]
    assert models.find("good_model:Mine") is models.find("mine")
    assert set(models.working()) == set(models.names()) - {"bad", "lost"}
    listed = CliRunner().invoke(app, ["models"])
    assert listed.exit_code == 0 and {"mine", "mf"} <= set(listed.stdout.split())
    assert all(f"note: {name}: {reason}" in listed.stderr for name, reason in broken.items())
    with pytest.raises(UnknownName, match="did you mean 'mine'"):
        models.find("mime")
    with pytest.raises(
        KgrecError, match=r"cannot be trained for task 'link', only for ranking; models for this task: .*transe"
    ):
        TrainingJob("mine", task="link")


def test_two_packages_with_a_model_of_one_name_are_both_named(packages: Callable[..., Path]) -> None:
    packages("one-models", {"mine": "one_model:Mine"}, {"one_model.py": MINE})
    packages("two-models", {"mine": "two_model"}, {"two_model.py": MINE})
    wanted = (
        r"one-models 1\.0 \(one_model:Mine\) and two-models 1\.0 \(two_model\); uninstall one, or use a dotted path"
    )
    with pytest.raises(KgrecError, match=wanted):
        models.find("mine")
    assert models.find("two_model:Mine").__module__ == "two_model"


def test_importing_kgrec_or_starting_the_command_reads_no_entry_points() -> None:
    text = (
        "import sys, kgrec.models, kgrec.cli.entry; from kgrec import plugins; print(plugins.read.cache_info().misses)"
    )
    text += "; kgrec.models.names(); print(plugins.read.cache_info().misses, 'torch' in sys.modules)"
    assert command("-c", text).stdout.split() == ["0", "1", "False"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("def f(:\n", "SyntaxError: "),
        (MINE.replace("pass", "Config = dict"), "has no settings class"),
        ("x = 1\n", "no model 'Mine' in module ill_model"),
    ],
)
def test_whatever_is_wrong_with_a_package_the_rest_works(packages: Callable[..., Path], text: str, reason: str) -> None:
    packages("ill-models", {"ill": "ill_model:Mine"}, {"ill_model.py": text})
    assert reason in models.broken()["ill"]
    listed = CliRunner().invoke(app, ["models"])
    assert listed.exit_code == 0 and "mf" in listed.stdout.split() and "note: ill: " in listed.stderr
