"""What README shows is true: its Python runs, its recipe is one, its commands and benchmarks exist."""

import re
from pathlib import Path

import yaml

from kgrec import cli
from kgrec.sources.recipe import Recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_library_example_runs(capsys):
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert "HeteroData(" in capsys.readouterr().out


def test_the_recipe_is_read_as_it_says():
    (text,) = blocks("yaml")
    recipe = Recipe.model_validate(yaml.safe_load(text))
    assert recipe.target_type == ("user", "rated", "item") and recipe.standard.split == "last_n:1,valid=1"


def test_the_commands_exist():
    known = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    shown = set(re.findall(r"kgrec ([a-z]+) ", "\n".join(blocks("console"))))
    assert shown <= known and {"check", "build", "info", "train", "evaluate", "recommend"} <= shown


def test_the_results_are_of_benchmarks_that_exist():
    benchmarks = yaml.safe_load((ROOT / "scripts/benchmarks.yaml").read_text(encoding="utf-8"))
    rows = re.findall(r"^\| `([a-z0-9-]+)` (?:† )?\|", README.split("## Results")[1], re.MULTILINE)
    assert rows and set(rows) <= set(benchmarks)
