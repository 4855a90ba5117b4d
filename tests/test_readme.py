"""What README shows is true: its Python runs, its recipe is one. test_docs.py checks its commands."""

import re
from pathlib import Path

import yaml

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
