"""The JSON Schema of recipes: what `kgrec` reads, an editor accepts, and what has a wrong key, both refuse."""

from __future__ import annotations

import ast
import copy
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

import kgrec
from kgrec import KgrecError, cli
from kgrec.sources.recipe import Recipe
from kgrec.sources.recipe.recipe_schema import recipe_schema

ROOT = Path(__file__).parent.parent
SHIPPED = sorted(path for path in (ROOT / "graphs").rglob("*.yaml") if "settings" not in path.parts)
VALIDATOR = jsonschema.Draft202012Validator(recipe_schema())


def faults(recipe: Any) -> list[str]:
    """What the schema finds. Keys are texts there, as in JSON."""
    return [f"{fault.json_path}: {fault.message}" for fault in VALIDATOR.iter_errors(json.loads(json.dumps(recipe)))]


def is_read(recipe: Any) -> bool:
    try:
        Recipe.model_validate(recipe)
    except (ValidationError, KgrecError):
        return False
    return True


def in_tests() -> Iterator[Any]:
    """The recipes that stand as texts in tests."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "interactions:" in node.value:
                try:
                    found = yaml.safe_load(node.value)
                except yaml.YAMLError:
                    continue
                if isinstance(found, dict) and "name" in found:
                    yield found


def test_the_schema_itself_is_one_and_the_file_beside_the_code_is_it(capsys, monkeypatch):
    jsonschema.Draft202012Validator.check_schema(recipe_schema())
    monkeypatch.setattr(sys, "argv", ["kgrec", "schema"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    file = Path(kgrec.__file__).parent / "recipe.schema.json"
    assert capsys.readouterr().out == file.read_text(encoding="utf-8"), f"run `kgrec schema > {file}`"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_names_the_schema_and_fits_it(path):
    text = path.read_text(encoding="utf-8")
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", text.splitlines()[0])
    assert named and (path.parent / named[1]).resolve() == ROOT / "kgrec/recipe.schema.json"
    assert faults(yaml.safe_load(text)) == []


def test_recipes_of_the_tests_that_are_read_fit_too():
    recipes = [recipe for recipe in in_tests() if is_read(recipe)]
    assert len(recipes) > 20
    assert [found for recipe in recipes if (found := faults(recipe))] == []


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where mappings stand."""
    if isinstance(value, dict):
        yield path
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(one, (*path, key))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_wrong_key_is_refused_where_kgrec_refuses_it(path):
    recipe, refused = yaml.safe_load(path.read_text(encoding="utf-8")), 0
    for place in places(recipe):
        changed = copy.deepcopy(recipe)
        here = changed
        for key in place:
            here = here[key]
        here["no_such_key"] = {"no_such_key": 1}
        assert bool(faults(changed)) == (not is_read(changed)), place
        refused += not is_read(changed)
    assert refused >= 2


SHORT = {
    "a file alone": {"interactions": {"file": "a.csv"}},
    "a list of files": {"interactions": [{"file": ["a.csv", "b.csv"]}]},
    "columns that are numbers": {
        "interactions": {"file": "a.csv", "user": 1, "item": 2, "relation": 3, "missing": [-1]}
    },
    "a time alone": {"interactions": {"file": "a.csv", "time": "when"}},
    "a session in seconds": {"interactions": {"file": "a.csv", "time": "t", "session": {"by": "user", "gap": 1800}}},
    "a session in words": {"interactions": {"file": "a.csv", "time": "t", "session": {"by": "user", "gap": "30m"}}},
    "a table alone": {"nodes": {"item": {"file": "i.csv", "id": "id", "complete": True}}},
    "a list of tables": {"nodes": {"item": [{"file": "i.csv", "id": "id"}]}},
    "tables in full": {"nodes": {"item": {"tables": [{"file": "i.csv", "id": "id"}], "iri": "x"}}},
    "a kind alone": {"nodes": {"item": {"file": "i.csv", "id": "id", "features": {"year": "numeric"}}}},
    "one RDF source": {"rdf": {"files": "f.ttl"}},
    "RDF sources": {"rdf": [{"files": ["f.ttl"], "classes": {"to": "category"}}]},
    "one edge list": {"edges": {"cast": {"file": "c.csv", "between": ["item", "person"]}}},
    "edge lists": {"edges": {"cast": [{"file": "c.csv", "between": ["item", "person"]}]}},
    "a target in full": {"target": ["user", "interacted", "item"]},
}
WRONG = {
    "no kind": {"nodes": {"item": {"file": "i.csv", "id": "id", "features": {"year": "number"}}}},
    "no name": {"nodes": {"an item": {"file": "i.csv", "id": "id"}}},
    "no span of time": {"interactions": {"file": "a.csv", "time": "t", "session": {"by": "user", "gap": "30 years"}}},
    "no unit": {"interactions": {"file": "a.csv", "time": {"column": "t", "unit": "hours"}}},
    "one end": {"edges": {"cast": {"file": "c.csv", "between": ["item"]}}},
    "a negative count": {"interactions": {"file": "a.csv", "skip_rows": -1}},
    "a class without a type": {"rdf": {"files": "f.ttl", "classes": {"relation": "is_a"}}},
    "no id": {"nodes": {"item": {"file": "i.csv"}}},
}


@pytest.mark.parametrize("part", SHORT.values(), ids=SHORT)
def test_a_short_form_is_accepted(part):
    recipe = {"name": "short", "interactions": {"file": "a.csv"}, **part}
    assert is_read(recipe) and faults(recipe) == []


@pytest.mark.parametrize("part", WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_refused(part):
    recipe = {"name": "wrong", "interactions": {"file": "a.csv"}, **part}
    assert not is_read(recipe) and faults(recipe)
